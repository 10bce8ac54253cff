"""Prediction: a forecaster, a panel and one cutoff a series in; means and quantiles of the days ahead out.

Shapes: S series, B series in one batch, H horizon, Q quantile levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from models.networks.forecaster import Forecaster, Output
from models.panel import Floats, Panel
from models.windows import Index, WindowSource

MINIMUM_DAYS = 14
"""Observed days a series needs before a network may answer for it."""


@dataclass(frozen=True)
class Forecast:
    """Days ahead of each series' cutoff, in units sold: the mean, and quantiles that never cross nor go below zero."""

    mean_SH: Floats
    quantiles_SHQ: Floats
    levels_Q: NDArray[np.float64]

    def days(self, horizon: int) -> "Forecast":
        """The first `horizon` days."""
        return Forecast(self.mean_SH[:, :horizon], self.quantiles_SHQ[:, :horizon], self.levels_Q)

    def rows(self, series: Sequence[int] | Index | slice) -> "Forecast":
        return Forecast(self.mean_SH[series], self.quantiles_SHQ[series], self.levels_Q)


def predict(
    forecaster: Forecaster,
    panel: Panel,
    cutoffs: ArrayLike,
    *,
    horizon: int | None = None,
    batch_size: int = 1024,
) -> Forecast:
    """Forecast every series of the panel from its own cutoff (the index of its last seen day, an int or one each).

    Only the `context_days` up to the cutoff and known covariates are read. Raises ValueError for a horizon past the
    forecaster's, or for a covariate the panel lacks.
    """
    horizon = forecaster.horizon if horizon is None else horizon
    if not 1 <= horizon <= forecaster.horizon:
        raise ValueError(f"The horizon {horizon} is outside 1 … {forecaster.horizon}, as far as this version goes.")
    cutoff_S = np.broadcast_to(np.asarray(cutoffs, dtype=np.int64), (panel.series,))
    forecast = predict_windows(
        forecaster, forecaster.source(panel), np.arange(panel.series), cutoff_S, batch_size=batch_size
    )
    return forecast.days(horizon)


def predict_windows(
    forecaster: Forecaster, source: WindowSource, series_B: Index, cutoff_B: Index, *, batch_size: int = 1024
) -> Forecast:
    """Forecasts of any (series, cutoff) pairs of a prepared panel, in batches, without gradients."""
    horizon, levels = forecaster.horizon, len(forecaster.levels)
    mean_BH = np.empty((len(series_B), horizon), dtype=np.float32)
    quantiles_BHQ = np.empty((len(series_B), horizon, levels), dtype=np.float32)
    if forecaster.network.training:  # eval() walks all modules: a tenth of a single series' time
        forecaster.network.eval()
    with torch.inference_mode():
        for first in range(0, len(series_B), batch_size):
            part = slice(first, first + batch_size)
            output = forecaster.network(source.windows(series_B[part], cutoff_B[part]))
            mean_BH[part], quantiles_BHQ[part] = in_units(forecaster, output)
    return Forecast(mean_BH, quantiles_BHQ, forecaster.levels)


def in_units(forecaster: Forecaster, output: Output) -> tuple[Floats, Floats]:
    """An output back in units sold. A point head's quantiles are its validation residuals around the point."""
    scale_B11 = output.scale_B.numpy()[:, None, None]
    point_BH = output.mean_BH.numpy()
    if output.quantiles_BHQ is not None:
        quantiles_BHQ = np.maximum(output.quantiles_BHQ.numpy(), 0.0) * scale_B11
        return point_BH * scale_B11[:, 0], quantiles_BHQ
    if forecaster.residuals_HQ is None or forecaster.residual_mean_H is None:
        raise ValueError("This forecaster has a point head and no residuals; its quantiles are unknown.")
    quantiles_BHQ = np.maximum(point_BH[:, :, None] + forecaster.residuals_HQ, 0.0) * scale_B11
    mean_BH = point_BH
    if forecaster.config.loss == "mae":
        mean_BH = np.maximum(point_BH + forecaster.residual_mean_H, 0.0)
    return mean_BH * scale_B11[:, 0], quantiles_BHQ


def answerable(panel: Panel, cutoffs: ArrayLike) -> NDArray[np.bool_]:
    """Which series have at least MINIMUM_DAYS observed days up to their cutoff, so that a network may answer."""
    cutoff_S = np.broadcast_to(np.asarray(cutoffs, dtype=np.int64), (panel.series,))
    seen_ST = np.isfinite(panel.quantity_ST) & (np.arange(panel.days) <= cutoff_S[:, None])
    out: NDArray[np.bool_] = seen_ST.sum(axis=1) >= MINIMUM_DAYS
    return out
