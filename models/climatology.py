"""Climatology: a series' own quantiles and mean of the last year by weekday, from one window of its past.

The least that a forecast must be better than, and what forecasts shrink towards where a series gives no ground for more.

Shapes: S series, M memory days, H horizon, Q quantile levels, W weekdays (7), X values.
"""

import numpy as np

from models.panel import Floats
from models.quantiles import empirical_quantiles
from models.training_config import LEVELS


def own_year(window_SM: Floats, horizon: int) -> tuple[Floats, Floats]:
    """Mean (S, H) and quantiles (S, H, Q); a weekday never seen takes those of all days. A series without a day gets NaN."""
    series = len(window_SM)
    weekly_SWX = window_SM[:, -364:].reshape(series, 52, 7).transpose(0, 2, 1)
    quantiles_SWQ = empirical_quantiles(weekly_SWX.reshape(series * 7, 52), LEVELS).reshape(series, 7, -1)
    overall_SQ = empirical_quantiles(window_SM, LEVELS)
    quantiles_SWQ = np.where(np.isnan(quantiles_SWQ), overall_SQ[:, None], quantiles_SWQ)
    mean_SW = row_mean(weekly_SWX)
    mean_SW = np.where(np.isnan(mean_SW), row_mean(window_SM)[:, None], mean_SW)
    weekday_H = np.arange(horizon) % 7
    return mean_SW[:, weekday_H].astype(np.float32), quantiles_SWQ[:, weekday_H]


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
