"""Climatology: a series' own quantiles and mean of the last year by weekday, from one window of its past.

The least that a forecast must be better than, and what forecasts shrink towards where a series gives no ground for more. A
forecast may also shrink towards the quantiles of all days of a year or of a quarter: they are right where the week, or the level,
is no longer what it was.

Shapes: S series, M memory days, H horizon, Q quantile levels, W weekdays (7), K kinds, X values, R those that lack a weekday.
"""

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats
from models.quantiles import empirical_quantiles
from models.training_config import LEVELS

KINDS = ("weekdays", "year", "quarter")
YEAR, QUARTER = 364, 91


def own_year(window_SM: Floats, horizon: int) -> tuple[Floats, Floats]:
    """Mean (S, H) and quantiles (S, H, Q); a weekday never seen takes those of all days. A series without a day gets NaN."""
    mean_SW, quantiles_SWQ = own_weekdays(window_SM)
    weekday_H = np.arange(horizon) % 7
    return mean_SW[:, weekday_H], quantiles_SWQ[:, weekday_H]


def own_weekdays(window_SM: Floats) -> tuple[Floats, Floats]:
    """The same by weekday, (S, W) and (S, W, Q), the first one that of the first day ahead."""
    series = len(window_SM)
    weekly_SWX = window_SM[:, -YEAR:].reshape(series, 52, 7).transpose(0, 2, 1)
    quantiles_SWQ = empirical_quantiles(weekly_SWX.reshape(series * 7, 52), LEVELS).reshape(series, 7, -1)
    mean_SW = row_mean(weekly_SWX)
    rows = np.flatnonzero(np.isnan(mean_SW).any(axis=1))  # sorting whole windows takes long, and few lack a weekday
    if rows.size:
        overall_RQ, mean_R = empirical_quantiles(window_SM[rows], LEVELS), row_mean(window_SM[rows])
        lacking_RW = np.isnan(mean_SW[rows])
        quantiles_SWQ[rows] = np.where(lacking_RW[..., None], overall_RQ[:, None], quantiles_SWQ[rows])
        mean_SW[rows] = np.where(lacking_RW, mean_R[:, None], mean_SW[rows])
    return mean_SW, quantiles_SWQ


def own_mixture(window_SM: Floats, parts_K: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """The kinds together by weekday, each by its part: mean (S, W) and quantiles (S, W, Q), the first day ahead first."""
    mean_SW = np.zeros((len(window_SM), 7), np.float32)
    quantiles_SWQ = np.zeros((len(window_SM), 7, len(LEVELS)), np.float32)
    for part, kind in zip(parts_K.astype(np.float32), (own_weekdays, _own_year, _own_quarter), strict=True):
        if part > 0:
            own_mean, own_quantiles = kind(window_SM)
            mean_SW += part * own_mean
            quantiles_SWQ += part * own_quantiles
    return mean_SW, quantiles_SWQ


def _own_year(window_SM: Floats) -> tuple[Floats, Floats]:
    """Mean (S, 1) and quantiles (S, 1, Q) of all days of the last year; NaN for a series without one."""
    return _own_days(window_SM[:, -YEAR:])


def _own_quarter(window_SM: Floats) -> tuple[Floats, Floats]:
    """The same of the last quarter; a series without a day in it takes the whole year's."""
    mean_S1, quantiles_S1Q = _own_days(window_SM[:, -QUARTER:])
    rows = np.flatnonzero(np.isnan(mean_S1))
    mean_S1[rows], quantiles_S1Q[rows] = _own_year(window_SM[rows])
    return mean_S1, quantiles_S1Q


def _own_days(days_SX: Floats) -> tuple[Floats, Floats]:
    return row_mean(days_SX)[:, None], empirical_quantiles(days_SX, LEVELS)[:, None]


def capped(window_SM: Floats) -> Floats:
    """The window without absurd days: none above five times the 0.9 quantile of its days with sales."""
    sold_SM = np.where(window_SM > 0, window_SM, np.nan)
    cap_S1 = 5 * empirical_quantiles(sold_SM, (0.9,))
    return np.minimum(window_SM, np.where(np.isnan(cap_S1), np.inf, cap_S1)).astype(np.float32)  # NaN stays NaN


def row_mean(values: Floats) -> Floats:
    """Mean over the last axis, NaN where nothing is observed."""
    count = np.isfinite(values).sum(axis=-1)
    total = np.nansum(values, axis=-1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
