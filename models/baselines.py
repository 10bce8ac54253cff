"""Simple methods: the floor every network is measured against. Vectorised over series, NaN is missing.

`seasonal_naive`, `moving_average`, `exponential_smoothing` and `climatology` read the last MEMORY days up to each
series' cutoff and nothing else. Their quantiles are empirical: the method's own errors on those days, at the same
distance ahead (in weeks, up to eight), added to its point. What the service answers when no network may is in
`fallback.py`.

Shapes: S series, H horizon, M memory days, Q quantile levels, W weekdays (7), A smoothing weights.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.climatology import own_year, row_mean
from models.days import Index, take_days
from models.forecast import Forecast
from models.panel import Floats, Panel
from models.quantiles import empirical_quantiles
from models.training_config import LEVELS
from models.windows import MEMORY

Baseline = Callable[[Panel, ArrayLike, int], Forecast]
AVERAGED_DAYS = 28
SMOOTHING = (0.01, 0.03, 0.1, 0.2, 0.4)
WEEKS_AHEAD = 8
FEWEST_ERRORS = 14
SERIES_AT_ONCE = 4096

LEVELS_Q = np.array(LEVELS)


def seasonal_naive(panel: Panel, cutoffs: ArrayLike, horizon: int) -> Forecast:
    """Each day ahead repeats the newest observed day of its weekday."""

    def forecast(window_SM: Floats) -> Forecast:
        week_SW = _newest_week(window_SM)
        point_SH = np.tile(week_SW, -(-horizon // 7))[:, :horizon]
        return _with_errors(window_SM, point_SH, lambda weeks: _shift(window_SM, 7 * weeks))

    return _in_parts(forecast, panel, cutoffs)


def moving_average(panel: Panel, cutoffs: ArrayLike, horizon: int) -> Forecast:
    """Every day ahead is the mean of the observed ones among the last 28 days."""

    def forecast(window_SM: Floats) -> Forecast:
        average_SM = _trailing_mean(window_SM, AVERAGED_DAYS)
        newest_S = _newest(average_SM)
        point_SH = np.repeat(newest_S[:, None], horizon, axis=1)
        return _with_errors(window_SM, point_SH, lambda weeks: _shift(average_SM, 7 * weeks - 3))

    return _in_parts(forecast, panel, cutoffs)


def exponential_smoothing(panel: Panel, cutoffs: ArrayLike, horizon: int) -> Forecast:
    """A smoothed level times weekday factors; each series takes the weight with the least one-day error."""

    def forecast(window_SM: Floats) -> Forecast:
        factor_SW = _weekday_factors(window_SM)
        factor_SM = np.tile(factor_SW, MEMORY // 7)
        level_SM = _smoothed_level(window_SM / factor_SM)
        point_SH = np.tile(factor_SW, -(-horizon // 7))[:, :horizon] * _newest(level_SM)[:, None]
        return _with_errors(window_SM, point_SH, lambda weeks: _shift(level_SM, 7 * weeks - 3) * factor_SM)

    return _in_parts(forecast, panel, cutoffs)


def climatology(panel: Panel, cutoffs: ArrayLike, horizon: int) -> Forecast:
    """Each series' own quantiles and mean of the last year by weekday; a weekday never seen takes those of all days."""

    return _in_parts(lambda window_SM: _forecast(*own_year(window_SM, horizon)), panel, cutoffs)


BASELINES: dict[str, Baseline] = {
    "seasonal_naive": seasonal_naive,
    "moving_average": moving_average,
    "exponential_smoothing": exponential_smoothing,
}
"""The three every version's metrics stand beside."""


def history(panel: Panel, cutoffs: ArrayLike, series: Index) -> Floats:
    """The last MEMORY days up to each cutoff, aligned at it: (len(series), M), NaN before the panel's start."""
    cutoff_S = np.broadcast_to(np.asarray(cutoffs, dtype=np.int64), (panel.series,))[series]
    return take_days(panel.quantity_ST, series, cutoff_S - MEMORY + 1, MEMORY)


def _in_parts(forecast: Callable[[Floats], Forecast], panel: Panel, cutoffs: ArrayLike) -> Forecast:
    """All series, a few thousand at a time, so that memory stays flat."""
    parts = [
        forecast(history(panel, cutoffs, np.arange(first, min(first + SERIES_AT_ONCE, panel.series))))
        for first in range(0, panel.series, SERIES_AT_ONCE)
    ]
    return Forecast(
        np.concatenate([p.mean_SH for p in parts]), np.concatenate([p.quantiles_SHQ for p in parts]), LEVELS_Q
    )


def _with_errors(window_SM: Floats, point_SH: Floats, said: Callable[[int], Floats]) -> Forecast:
    """The point with the quantiles of the method's own past errors around it, at the same number of weeks ahead.

    `said(weeks)` is what the method would have said for each day of the window so many weeks before it.
    """
    horizon = point_SH.shape[1]
    quantiles_SHQ = np.empty((*point_SH.shape, len(LEVELS)), dtype=np.float32)
    known_SQ = np.zeros((len(window_SM), len(LEVELS)), dtype=np.float32)
    for weeks in range(1, min(-(-horizon // 7), WEEKS_AHEAD) + 1):
        error_SM = window_SM - said(weeks)
        enough_S = np.isfinite(error_SM).sum(axis=1) >= (FEWEST_ERRORS if weeks > 1 else 1)
        error_SQ = empirical_quantiles(error_SM, LEVELS)
        known_SQ = np.where(enough_S[:, None], error_SQ, known_SQ)
        days = slice(7 * (weeks - 1), horizon if weeks == WEEKS_AHEAD else 7 * weeks)
        quantiles_SHQ[:, days] = point_SH[:, days, None] + known_SQ[:, None]
    return _forecast(point_SH, quantiles_SHQ)


def _forecast(mean_SH: Floats, quantiles_SHQ: Floats) -> Forecast:
    """Finite and at least 0 everywhere: a series without an observed day is answered with zeros."""
    mean_SH = np.maximum(np.nan_to_num(mean_SH), 0).astype(np.float32)
    return Forecast(mean_SH, np.maximum(np.nan_to_num(quantiles_SHQ), 0).astype(np.float32), LEVELS_Q)


def _shift(values_SM: Floats, days: int) -> Floats:
    """Every day gets the value of `days` days before."""
    out_SM = np.full_like(values_SM, np.nan)
    out_SM[:, days:] = values_SM[:, :-days]
    return out_SM


def _newest(values_SM: Floats) -> Floats:
    """Each row's last finite value; NaN without one."""
    seen_SM = np.isfinite(values_SM)
    at_S = values_SM.shape[1] - 1 - np.argmax(seen_SM[:, ::-1], axis=1)
    newest_S: Floats = values_SM[np.arange(len(values_SM)), at_S]
    return newest_S


def _newest_week(window_SM: Floats) -> Floats:
    """The newest observed value of each weekday, in the order of the days ahead; the mean where there is none."""
    series = len(window_SM)
    weekly = window_SM.reshape(series, MEMORY // 7, 7).transpose(0, 2, 1).reshape(series * 7, MEMORY // 7)
    week_SW = _newest(weekly).reshape(series, 7)
    return np.where(np.isnan(week_SW), row_mean(window_SM)[:, None], week_SW)


def _trailing_mean(window_SM: Floats, days: int) -> Floats:
    """Mean of the observed ones among the last `days` days up to each day; NaN where there is none."""
    seen_SM = np.isfinite(window_SM)
    padding = ((0, 0), (days, 0))
    total = np.pad(np.cumsum(np.nan_to_num(window_SM), axis=1, dtype=np.float64), padding)
    count = np.pad(np.cumsum(seen_SM, axis=1), padding)
    total_SM, count_SM = total[:, days:] - total[:, :-days], count[:, days:] - count[:, :-days]
    return np.where(count_SM > 0, total_SM / np.maximum(count_SM, 1), np.nan).astype(np.float32)


def _weekday_factors(window_SM: Floats) -> Floats:
    """Sales of each weekday relative to the mean, shrunk to 1 by four weeks' weight; at least 0.05."""
    weekly_SWX = window_SM.reshape(len(window_SM), MEMORY // 7, 7).transpose(0, 2, 1)
    count_SW = np.isfinite(weekly_SWX).sum(axis=2)
    mean_S1 = np.nan_to_num(row_mean(window_SM))[:, None]
    mean_SW = np.nan_to_num(row_mean(weekly_SWX))
    factor_SW = np.ones_like(mean_SW)
    np.divide(mean_SW, mean_S1, out=factor_SW, where=mean_S1 > 0)
    shrunk_SW: Floats = np.maximum((count_SW * factor_SW + 4.0) / (count_SW + 4.0), 0.05).astype(np.float32)
    return shrunk_SW


def _smoothed_level(flat_SM: Floats) -> Floats:
    """The level after each day, by the smoothing weight that has the least squared one-day error per series."""
    weight_A1 = np.array(SMOOTHING, np.float32)[:, None]
    seen_SM = np.isfinite(flat_SM)
    filled_SM = np.nan_to_num(flat_SM)
    level_AS = np.zeros((len(SMOOTHING), len(flat_SM)), np.float32)
    started_S = np.zeros(len(flat_SM), bool)
    square_AS = np.zeros(level_AS.shape, np.float64)
    path_MAS = np.empty((flat_SM.shape[1], *level_AS.shape), np.float32)
    for day in range(flat_SM.shape[1]):
        seen_S, value_S = seen_SM[:, day], filled_SM[:, day]
        gap_AS = np.where(seen_S, value_S - level_AS, 0.0).astype(np.float32)
        square_AS += np.where(started_S, gap_AS, 0.0).astype(np.float64) ** 2
        step_AS = np.where(started_S, weight_A1, 1.0).astype(np.float32)
        level_AS = level_AS + step_AS * gap_AS
        started_S |= seen_S
        path_MAS[day] = np.where(started_S, level_AS, np.nan)
    best_S: NDArray[np.int64] = square_AS.argmin(axis=0)
    level_SM: Floats = np.ascontiguousarray(path_MAS[:, best_S, np.arange(len(flat_SM))].T)
    return level_SM
