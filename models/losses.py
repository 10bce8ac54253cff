"""Losses, as functions of targets and outputs in scaled units. Missing targets (NaN) weigh nothing.

Each returns one loss a window (B), the mean over its observed days; the caller weighs and averages the windows.

Shapes: B windows, H horizon, Q quantile levels.
"""

import torch
from torch import Tensor

SEASONAL_FLOOR = 0.1


def pinball(target_BH: Tensor, quantiles_BHQ: Tensor, levels_Q: Tensor) -> Tensor:
    """Twice the pinball loss, averaged over levels (Koenker & Bassett 1978)."""
    y_BH, seen_BH = _observed(target_BH)
    error_BHQ = y_BH[..., None] - quantiles_BHQ
    loss_BHQ = 2.0 * torch.maximum(levels_Q * error_BHQ, (levels_Q - 1.0) * error_BHQ)
    return _mean(loss_BHQ.mean(dim=-1), seen_BH)


def mse(target_BH: Tensor, point_BH: Tensor) -> Tensor:
    y_BH, seen_BH = _observed(target_BH)
    return _mean((y_BH - point_BH) ** 2, seen_BH)


def mae(target_BH: Tensor, point_BH: Tensor) -> Tensor:
    y_BH, seen_BH = _observed(target_BH)
    return _mean((y_BH - point_BH).abs(), seen_BH)


def poisson_deviance(target_BH: Tensor, mean_BH: Tensor) -> Tensor:
    """Up to a constant, m - y log m: least at the true mean, and gentler on large sales than a square."""
    y_BH, seen_BH = _observed(target_BH)
    return _mean(mean_BH - y_BH * mean_BH.clamp(min=1e-4).log(), seen_BH)


def window_weights(error_B: Tensor, error_mean: Tensor, scale_B: Tensor) -> Tensor:
    """Weights that turn a loss in scaled units into one between SQL and WQL: 1 / s · (s / mean s)^0.5.

    s is the seasonal-naive error in units; SQL would be the exponent 0, WQL 1. Bounded, so no series rules the rest.
    """
    floored_B = error_B.clamp(min=SEASONAL_FLOOR)
    relative_B = (floored_B * scale_B / error_mean).clamp(1e-3, 1e3)
    return (relative_B**0.5 / floored_B).clamp(max=20.0)


def _observed(target_BH: Tensor) -> tuple[Tensor, Tensor]:
    """Targets with zeros for missing days (a NaN would reach the gradients even when masked), and the mask."""
    seen_BH = ~torch.isnan(target_BH)
    return torch.where(seen_BH, target_BH, 0.0), seen_BH


def _mean(loss_BH: Tensor, seen_BH: Tensor) -> Tensor:
    return torch.where(seen_BH, loss_BH, 0.0).sum(1) / seen_BH.sum(1).clamp(min=1)
