"""Forecasts of series without a past of their own: from the one they replace, or from their siblings.

The one replaced is believed as far as the newcomer's own days agree with it. A sibling is a series of another item that shares
attributes. The newcomer gets the mixture of its siblings' distributions, the more alike the heavier, times what first weeks sold
beside siblings before; its own days pull each sibling to their level.

Shapes: S siblings, H horizon, Q quantile levels, A atoms (S x Q), T days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.forecast import Forecast
from models.panel import Floats, Panel
from models.training_config import LEVELS

Doubles = NDArray[np.float64]
FIRST_WEEKS = 28
SETTLED_DAYS = 56
"""Days from its first one on that make a series a sibling; one that began so long after the first of all was launched."""
MOST_SIBLINGS = 64
"""The most alike of a newcomer's siblings speak for it."""
LIKENESS_POWER = 3
OWN_PRIOR_DAYS = 1.0
"""Days of its own that count as much as what siblings say of a newcomer's level."""
LEVEL_WIDTH = 0.5
"""How unlike in level, as a logarithm, siblings may be before their shape tells little of a newcomer whose level is known."""
SMALLEST_LEVEL = 0.05
LAUNCH_PRIOR = 10.0
"""Items whose launch was seen that are believed by half. Launches of one item at many locations are one piece of news."""
LARGEST_LAUNCH_FACTOR = 3.0


@dataclass(frozen=True)
class OwnDays:
    """A newcomer's own observed days: how many, and what they sold in all."""

    days: int
    sold: float


@dataclass(frozen=True)
class Launch:
    """What a series sold in its first weeks, and what a sibling that was settled by then sold on average in the same days."""

    sku: str
    sold: float
    beside: float


def likeness(own: Mapping[str, str], others: Sequence[Mapping[str, str]], same_location: Sequence[bool]) -> Doubles:
    """Weights (S): attributes shared, and the location as one more, to the third power; 0 where no attribute is shared."""
    shared = np.array([sum(other.get(name) == value for name, value in own.items()) for other in others], np.float64)
    total = shared + np.array(same_location, np.float64)
    return np.where(shared > 0, total**LIKENESS_POWER, 0.0)


def of_siblings(
    siblings: Forecast, weight_S: Doubles, *, factor: float = 1.0, own: OwnDays | None = None
) -> tuple[Floats, Floats]:
    """Mean (H) and quantiles (H, Q) of the mixture of siblings' forecasts times `factor`.

    With own days the siblings that sell as much count most, and each is scaled to the own level but for OWN_PRIOR_DAYS.
    """
    scale_S = np.full(len(weight_S), factor)
    if own is not None and own.days:
        level_S = np.maximum(siblings.mean_SH.mean(axis=1, dtype=np.float64) * factor, 1e-9)
        own_level = own.sold / own.days
        shrunk_S = (own.days * own_level + OWN_PRIOR_DAYS * level_S) / (own.days + OWN_PRIOR_DAYS)
        scale_S = scale_S * shrunk_S / level_S
        weight_S = weight_S * _closeness(level_S, own)
    mean_H = np.average(siblings.mean_SH * scale_S[:, None], axis=0, weights=weight_S)
    quantiles_HQ = _pooled(siblings.quantiles_SHQ * scale_S[:, None, None], weight_S)
    return mean_H.astype(np.float32), quantiles_HQ


def _closeness(level_S: Doubles, own: OwnDays) -> Doubles:
    """1 for a sibling of the newcomer's own level, less the further it is off; few days say little. Never nothing."""
    distance_S = np.log(level_S + SMALLEST_LEVEL) - np.log(own.sold / own.days + SMALLEST_LEVEL)
    closeness_S: Doubles = np.exp(-0.5 * distance_S**2 / (LEVEL_WIDTH**2 + 1 / own.days)) + 1e-12
    return closeness_S


def _pooled(quantiles_SHQ: Floats, weight_S: Doubles) -> Floats:
    """Quantiles of the weighted mixture: each level of a sibling is an atom that stands for the levels nearest to it."""
    levels = np.array(LEVELS)
    bounds = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    weight_A = (weight_S[:, None] * np.diff(bounds)).ravel()
    value_AH = quantiles_SHQ.transpose(0, 2, 1).reshape(len(weight_A), -1)
    out_HQ = np.empty((value_AH.shape[1], len(levels)), np.float32)
    for day, value_A in enumerate(value_AH.T):
        order_A = np.argsort(value_A, kind="stable")
        reached_A = np.cumsum(weight_A[order_A])
        middle_A = (reached_A - weight_A[order_A] / 2) / reached_A[-1]
        out_HQ[day] = np.interp(levels, middle_A, value_A[order_A])
    return np.maximum(out_HQ, 0.0)


def launch_factor(launches: Sequence[Launch]) -> float:
    """What first weeks sell beside siblings, drawn back to 1 where few items were launched."""
    told = [launch for launch in launches if launch.beside > 0]
    if not told:
        return 1.0
    ratio = max(sum(one.sold for one in told) / sum(one.beside for one in told), 1 / LARGEST_LAUNCH_FACTOR)
    items = len({launch.sku for launch in told})
    return float(min(ratio, LARGEST_LAUNCH_FACTOR) ** (items / (items + LAUNCH_PRIOR)))


def launches_of(panel: Panel, siblings: Sequence[int], cutoff: int) -> list[Launch]:
    """The launches that a panel shows up to a cutoff: siblings that began after the first of them."""
    seen_ST = np.isfinite(panel.quantity_ST[list(siblings), : cutoff + 1])
    quantity_ST = np.nan_to_num(panel.quantity_ST[list(siblings), : cutoff + 1])
    first_S = np.where(seen_ST.any(axis=1), seen_ST.argmax(axis=1), cutoff + 1)
    launches = []
    for row, first in enumerate(first_S.tolist()):
        if first < first_S.min() + SETTLED_DAYS or first + FIRST_WEEKS > cutoff + 1:
            continue
        weeks = slice(first, first + FIRST_WEEKS)
        beside = first_S + SETTLED_DAYS <= first
        sold, others = float(quantity_ST[row, weeks].sum()), quantity_ST[beside, weeks].sum(axis=1)
        launches.append(Launch(panel.skus[siblings[row]], sold, float(others.mean())))
    return launches


def replacing(old: Panel, cutoff: int, *, key: tuple[str, str], static: Mapping[str, str], own: Panel | None) -> Panel:
    """A newcomer with the past of the one series it replaces, up to the day index `cutoff` of that panel; one series.

    Its own days, in `own` over the same days, stand before the other's. Covariates likewise.
    """
    days = cutoff + 1
    quantity_ST = _over(None if own is None else own.quantity_ST, old.quantity_ST, days)
    known = {name: _over(None if own is None else own.known[name], v, v.shape[1]) for name, v in old.known.items()}
    past = {name: _over(None if own is None else own.past[name], v, days) for name, v in old.past.items()}
    return replace(
        old,
        skus=[key[0]],
        locations=[key[1]],
        quantity_ST=quantity_ST,
        known=known,
        past=past,
        static={name: [value] for name, value in static.items()},
    )


def trust_in(old: Panel, own: Panel, cutoff: int) -> float:
    """The weight of what a newcomer replaces beside what is said of it without: 1 as long as it has no days of its own.

    Less the further the level of its own days is from what the other sold in the SETTLED_DAYS before them, as with siblings: a
    new pack sells what the old one did, and something merely similar hardly ever.
    """
    own_T, old_T = own.quantity_ST[0, : cutoff + 1], old.quantity_ST[0, : cutoff + 1]
    days = np.flatnonzero(np.isfinite(own_T))
    if not days.size:
        return 1.0
    before_T, told_T = old_T[: days[0]], old_T[np.isfinite(old_T)]
    past_T = before_T[np.isfinite(before_T)][-SETTLED_DAYS:] if np.isfinite(before_T).any() else told_T
    if not past_T.size:
        return 0.0
    level_S = np.array([past_T.mean(dtype=np.float64)])
    return float(_closeness(level_S, OwnDays(days.size, float(own_T[days].sum(dtype=np.float64))))[0])


def mixed(one: tuple[Floats, Floats], other: tuple[Floats, Floats], weight: float) -> tuple[Floats, Floats]:
    """Mean (H) and quantiles (H, Q) of the mixture of two forecasts of the same days; `weight` is that of the first."""
    if weight >= 1:
        return one
    weight_S = np.array([weight, 1 - weight])
    mean_H = np.average(np.stack([one[0], other[0]]), axis=0, weights=weight_S).astype(np.float32)
    return mean_H, _pooled(np.stack([one[1], other[1]]), weight_S)


def _over(own_ST: Floats | None, old_ST: Floats, days: int) -> Floats:
    """The older values wherever there are no own ones, on so many days; NaN where neither are."""
    out_ST = np.full((1, days), np.nan, np.float32)
    for values_ST in (old_ST,) if own_ST is None else (old_ST, own_ST):
        part_ST = values_ST[:, :days]
        out_ST[:, : part_ST.shape[1]] = np.where(np.isnan(part_ST), out_ST[:, : part_ST.shape[1]], part_ST)
    return out_ST


def continued(mean_H: Floats, quantiles_HQ: Floats, days: int) -> tuple[Floats, Floats]:
    """As many days as asked for: past the end the last week (or what there is) repeats."""
    horizon = len(mean_H)
    week = min(7, horizon)
    at = np.arange(days)
    at = np.where(at < horizon, at, horizon - week + (at - horizon) % week)
    return mean_H[at], quantiles_HQ[at]
