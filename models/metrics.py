"""Accuracy and honesty of forecasts, as plain functions of arrays. Days without an observed quantity are skipped.

Definitions of the public fev-bench tables; bias, RMSSE and coverage beside them. A metric that has nothing to measure
(no observed day, no sale, no scale above zero) is NaN.

Shapes: S series, H horizon, Q quantile levels, T days of history up to the cutoff.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Values = NDArray[np.floating[Any]]
SMALLEST_SCALE = 1e-9
SMALLEST_STEP = 1e-8
TIE = 1e-6
"""Sales and a quantile that differ by no more, in units, count as equal."""


def mse(y_SH: Values, mean_SH: Values) -> float:
    """Mean squared error of the mean, in squared units."""
    return _mean((_wide(y_SH) - mean_SH) ** 2)


def mae(y_SH: Values, median_SH: Values) -> float:
    """Mean absolute error of the median, in units."""
    return _mean(np.abs(_wide(y_SH) - median_SH))


def mase(y_SH: Values, median_SH: Values, scale_S: Doubles) -> float:
    """Absolute error of the median over the in-sample seasonal-naive error; series of scale zero are left out."""
    return _mean(np.abs(_wide(y_SH) - median_SH) / _usable(scale_S)[:, None])


def sql(y_SH: Values, quantiles_SHQ: Values, levels_Q: Doubles, scale_S: Doubles) -> float:
    """Scaled quantile loss: twice the pinball loss over the seasonal-naive error, averaged over levels."""
    return _mean(pinball(y_SH, quantiles_SHQ, levels_Q) / _usable(scale_S)[:, None, None])


def wape(y_SH: Values, median_SH: Values) -> float:
    """Sum of absolute errors of the median over the sum of sales."""
    y = _wide(y_SH)
    return _ratio(np.nansum(np.abs(y - median_SH)), np.nansum(np.abs(y)))


def wql(y_SH: Values, quantiles_SHQ: Values, levels_Q: Doubles) -> float:
    """Weighted quantile loss: twice the pinball loss, summed, over the sum of sales, averaged over levels."""
    loss_Q = np.nansum(pinball(y_SH, quantiles_SHQ, levels_Q), axis=(0, 1))
    return _ratio(float(loss_Q.mean()), np.nansum(np.abs(_wide(y_SH))))


def rmsse(y_SH: Values, mean_SH: Values, step_S: Doubles) -> float:
    """Root of the squared error of the mean over `step_S`, averaged over series (the M5 measure)."""
    square_SH = (_wide(y_SH) - mean_SH) ** 2
    count_S = np.isfinite(square_SH).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_S = np.where(count_S > 0, np.nansum(square_SH, axis=1) / count_S, np.nan)
    return _mean(np.sqrt(mean_S / np.maximum(step_S, SMALLEST_STEP)))


def bias(y_SH: Values, mean_SH: Values) -> float:
    """(Sum of means - sum of sales) / sum of sales, over observed days."""
    y = _wide(y_SH)
    seen = np.isfinite(y)
    return _ratio(float(np.asarray(mean_SH, np.float64)[seen].sum() - y[seen].sum()), float(y[seen].sum()))


def coverage(y_SH: Values, quantiles_SHQ: Values) -> tuple[Doubles, Doubles]:
    """Share of sales strictly below, and at or below, each level's quantile; the level should lie between."""
    seen = np.isfinite(y_SH)
    y_N, q_NQ = _wide(y_SH)[seen], np.asarray(quantiles_SHQ, np.float64)[seen]
    if not len(y_N):
        nothing = np.full(q_NQ.shape[1], np.nan)
        return nothing, nothing
    below_NQ, to_NQ = hits(y_N, q_NQ)
    return below_NQ.mean(axis=0), to_NQ.mean(axis=0)


def hits(y: Values, quantiles: Values) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether sales (…) lie strictly below, and at or below, each level's quantile (…, Q); never for a missing day."""
    q = _wide(quantiles)
    return _wide(y)[..., None] < q - TIE, _wide(y)[..., None] <= q + TIE


def pinball(y_SH: Values, quantiles_SHQ: Values, levels_Q: Doubles) -> Doubles:
    """Twice the pinball loss of every day and level; NaN where the day is missing."""
    error_SHQ = _wide(y_SH)[:, :, None] - quantiles_SHQ
    out: Doubles = 2.0 * np.maximum(levels_Q * error_SHQ, (levels_Q - 1.0) * error_SHQ)
    return out


def seasonal_error(past_ST: Values, season: int = 7) -> Doubles:
    """In-sample seasonal-naive error: mean |x(t) - x(t - season)| over days where both are observed; NaN without."""
    return _in_parts(past_ST, lambda past: _mean_rows(np.abs(past[:, season:] - past[:, :-season])))


def squared_step(past_ST: Values) -> Doubles:
    """Mean squared difference of neighbouring days from the first sale on (the scale of RMSSE)."""

    def of_part(past: Doubles) -> Doubles:
        started_ST = np.cumsum(np.nan_to_num(past) > 0, axis=1) > 0
        return _mean_rows(np.diff(np.where(started_ST, past, np.nan), axis=1) ** 2)

    return _in_parts(past_ST, of_part)


def _in_parts(past_ST: Values, statistic: Callable[[Doubles], Doubles]) -> Doubles:
    """A statistic of each series, some thousand at a time: five years of 30,000 series would fill gigabytes."""
    parts = [statistic(_wide(past_ST[i : i + 2048])) for i in range(0, len(past_ST), 2048)]
    return np.concatenate(parts) if parts else np.empty(0)


def _wide(values: Values) -> Doubles:
    return np.asarray(values, dtype=np.float64)


def _usable(scale_S: Doubles) -> Doubles:
    return np.where(scale_S > SMALLEST_SCALE, scale_S, np.nan)


def _mean(values: Doubles) -> float:
    seen = np.isfinite(values)
    return float(values[seen].mean()) if seen.any() else float("nan")


def _mean_rows(values_SN: Doubles) -> Doubles:
    count_S = np.isfinite(values_SN).sum(axis=1)
    total_S = np.nansum(values_SN, axis=1)
    return np.where(count_S > 0, total_S / np.maximum(count_S, 1), np.nan)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")
