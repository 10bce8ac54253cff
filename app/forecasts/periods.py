"""Days put together to weeks, months or one stretch: which days ahead belong to which period, and the figures of each.

No SQL and no HTTP. Shapes: S series, H horizon, Q grid levels, W wanted levels, P periods.
"""

from datetime import date, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.dependence import Dependence
from models.quantiles import interpolate_levels
from models.sums import sum_quantiles

Period = Literal["day", "week", "month", "total"]
Doubles = NDArray[np.float64]
SIGNIFICANT_DIGITS = 6
DECIMALS = 6
HEADROOM = 2.0**-20


class Span(NamedTuple):
    """One period within the horizon; `days` are the days ahead that it covers, `complete` when none of its own lacks."""

    start: date
    end: date
    complete: bool
    days: slice


@lru_cache(maxsize=1024)
def spans(cutoff: date, horizon: int, period: Period, lead_days: int = 0) -> tuple[Span, ...]:
    """The periods of the `horizon` days after `cutoff`: days, weeks from Monday to Sunday, calendar months, or all as one.

    The first `lead_days` of them are left out; at least one day must remain.
    """
    tomorrow = cutoff + timedelta(days=1)
    first, last = tomorrow + timedelta(days=lead_days), cutoff + timedelta(days=horizon)
    found = []
    start = first
    while start <= last:
        whole_start, whole_end = (first, last) if period == "total" else _whole(start, period)
        end = min(whole_end, last)
        days = slice((start - tomorrow).days, (end - tomorrow).days + 1)
        found.append(Span(start, end, start == whole_start and end == whole_end, days))
        start = end + timedelta(days=1)
    return tuple(found)


def _whole(day: date, period: Period) -> tuple[date, date]:
    if period == "day":
        return day, day
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=6)
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def figures(
    mean_SH: NDArray[np.float32],
    quantiles_SHQ: NDArray[np.float32],
    grid_Q: tuple[float, ...],
    wanted_W: tuple[float, ...],
    *,
    groups: tuple[Span, ...],
    dependence: Dependence,
) -> tuple[Doubles, Doubles]:
    """Mean (S, P) and quantiles (S, P, W) of every period, rounded, ordered and not negative.

    A period's mean is the sum of its days' means; its quantiles are those of the sum, from sample paths.
    """
    quantiles_SPW: NDArray[np.floating]
    first, horizon = groups[0].days.start, groups[-1].days.stop
    mean_SH, quantiles_SHQ = mean_SH[:, :horizon], quantiles_SHQ[:, :horizon]
    if len(groups) == horizon - first:
        mean_SP, quantiles_SHQ = mean_SH[:, first:].astype(np.float64), quantiles_SHQ[:, first:]
        places = _places(grid_Q, wanted_W)
        on_grid = places is not None
        quantiles_SPW = quantiles_SHQ[:, :, places] if on_grid else interpolate_levels(quantiles_SHQ, grid_Q, wanted_W)
    else:
        starts = [g.days.start for g in groups]
        mean_SP = np.add.reduceat(mean_SH.astype(np.float64), starts, axis=1)
        small_SHQ = quantiles_SHQ * np.float32(HEADROOM)  # a power of two: exact, and no sum of days can overflow
        small_SPW = sum_quantiles(small_SHQ, grid_Q, dependence, [g.days for g in groups], wanted_W)
        quantiles_SPW = small_SPW.astype(np.float64) / HEADROOM
    ordered_SPW = np.maximum.accumulate(quantiles_SPW, axis=2)
    both_SPX = rounded(np.concatenate([mean_SP[:, :, None], ordered_SPW], axis=2))
    return both_SPX[:, :, 0], both_SPX[:, :, 1:]


@lru_cache(maxsize=256)
def _places(grid: tuple[float, ...], wanted: tuple[float, ...]) -> list[int] | None:
    """Where the wanted levels stand on the grid; None when one lies between."""
    return [grid.index(level) for level in wanted] if set(wanted) <= set(grid) else None


def rounded(values: NDArray[np.floating]) -> Doubles:
    """At most 6 significant digits and 6 decimals, never below zero. Rounding never turns an order around."""
    plain = np.maximum(values.astype(np.float64), 0.0)
    magnitude = np.floor(np.log10(plain, where=plain > 0, out=np.zeros_like(plain)))
    places = np.minimum(SIGNIFICANT_DIGITS - 1 - magnitude, DECIMALS)
    fine, coarse = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    out: Doubles = np.round(plain / coarse * fine) / fine * coarse
    return out
