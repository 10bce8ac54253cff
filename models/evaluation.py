"""Judging forecasts: held-out windows, and the scores of several forecasters on the very same ones.

Shapes: S series, H horizon, Q quantile levels.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from models import metrics
from models.days import Index, take_days
from models.forecast import Forecast
from models.panel import Panel
from models.quantiles import interpolate_levels

SCORED_LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 10))
"""Levels over which SQL and WQL average, as in the public tables."""

Source = Callable[[Panel, int], Forecast]
Scores = dict[str, Any]


def window_cutoffs(days: int, *, horizon: int, windows: int, step: int) -> list[int]:
    """Day indices of the newest cutoffs whose horizon lies within `days`, oldest first; fewer when days run out."""
    newest = days - 1 - horizon
    return [newest - k * step for k in range(windows) if newest - k * step >= 0][::-1]


def evaluate(source: Source, panel: Panel, cutoffs: list[int], *, horizon: int, season: int = 7) -> Scores:
    """Scores of one source of forecasts, each computed per window and averaged over windows.

    `source(panel, cutoff)` forecasts all series of the panel from one day index on, at least `horizon` days. Days
    after the panel's last are unmatured and weigh nothing. A score that nothing could be measured for is None.
    """
    rows = [score_window(source(panel, c), panel, c, horizon=horizon, season=season) for c in cutoffs]
    return average_scores(rows)


def score_window(forecast: Forecast, panel: Panel, cutoff: int, *, horizon: int, season: int = 7) -> dict[str, float]:
    """All metrics of one window, flat. Series without an observed day up to the cutoff are left out."""
    past_ST = panel.quantity_ST[:, : cutoff + 1]
    alive = np.flatnonzero(np.isfinite(past_ST).any(axis=1))
    past_ST = past_ST[alive]
    first_S: Index = np.full(len(alive), cutoff + 1, dtype=np.int64)
    y_SH = take_days(panel.quantity_ST, alive, first_S, horizon)
    levels = np.array(SCORED_LEVELS)
    quantiles_SHQ = interpolate_levels(forecast.quantiles_SHQ[alive, :horizon], forecast.levels_Q, levels).astype(
        np.float64
    )
    mean_SH = forecast.mean_SH[alive, :horizon].astype(np.float64)
    median_SH = quantiles_SHQ[:, :, SCORED_LEVELS.index(0.5)]
    error_S = metrics.seasonal_error(past_ST, season)
    below_Q, to_Q = metrics.coverage(y_SH, quantiles_SHQ)
    scores = {
        "mse": metrics.mse(y_SH, mean_SH),
        "mae": metrics.mae(y_SH, median_SH),
        "mase": metrics.mase(y_SH, median_SH, error_S),
        "wape": metrics.wape(y_SH, median_SH),
        "sql": metrics.sql(y_SH, quantiles_SHQ, levels, error_S),
        "wql": metrics.wql(y_SH, quantiles_SHQ, levels),
        "rmsse": metrics.rmsse(y_SH, mean_SH, metrics.squared_step(past_ST)),
        "bias": metrics.bias(y_SH, mean_SH),
    }
    scores |= {f"below {level}": float(b) for level, b in zip(SCORED_LEVELS, below_Q, strict=True)}
    return scores | {f"to {level}": float(t) for level, t in zip(SCORED_LEVELS, to_Q, strict=True)}


def average_scores(rows: list[dict[str, float]]) -> Scores:
    """Mean over windows; `coverage` is the share at or below each level, `below` the share strictly below."""
    flat = average(rows)
    scores: Scores = {name: value for name, value in flat.items() if " " not in name}
    scores["coverage"] = {str(level): flat[f"to {level}"] for level in SCORED_LEVELS}
    scores["below"] = {str(level): flat[f"below {level}"] for level in SCORED_LEVELS}
    return scores


def average(rows: list[dict[str, float]]) -> Scores:
    """Mean over windows of each number, of the windows in which it could be measured; None where there is none."""
    if not rows:
        raise ValueError("There is no window to score.")
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


def _mean(values: list[float]) -> float | None:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else None
