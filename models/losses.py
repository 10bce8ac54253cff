"""Losses, as functions of targets and outputs in scaled units, and how days and windows weigh in them.

Each loss returns one number a window (B): the mean over its days by `weight_BH`, which is zero where a day is missing.

Shapes: B windows, H horizon, Q quantile levels.
"""

import torch
from torch import Tensor

from models.negative_binomial import deviance

SEASONAL_FLOOR = 0.1


def pinball(
    target_BH: Tensor, quantiles_BHQ: Tensor, levels_Q: Tensor, weight_BH: Tensor, unit_B: Tensor | None = None
) -> Tensor:
    """Twice the pinball loss, averaged over levels (Koenker & Bassett 1978).

    `unit_B` is the size of one unit for series that sell whole units, 0 for others. A whole number stands for all amounts that
    round to it: the loss is the expected one when up to half a unit is added or taken at random (after Machado & Santos Silva
    2005, here without drawing). Quantiles then move smoothly between counts, and rounded are the counts' own.
    """
    error_BHQ = _present(target_BH)[..., None] - quantiles_BHQ
    distance_BHQ = error_BHQ.abs()
    if unit_B is not None:
        half_B11 = 0.5 * unit_B[:, None, None]
        inside_BHQ = (error_BHQ.square() / half_B11.clamp(min=1e-9) + half_B11) * 0.5
        distance_BHQ = torch.where(distance_BHQ < half_B11, inside_BHQ, distance_BHQ)
    loss_BHQ = (2.0 * levels_Q - 1.0) * error_BHQ + distance_BHQ
    return _mean(loss_BHQ.mean(dim=-1), weight_BH)


def mse(target_BH: Tensor, point_BH: Tensor, weight_BH: Tensor) -> Tensor:
    return _mean((_present(target_BH) - point_BH) ** 2, weight_BH)


def mae(target_BH: Tensor, point_BH: Tensor, weight_BH: Tensor) -> Tensor:
    return _mean((_present(target_BH) - point_BH).abs(), weight_BH)


def negative_binomial(target_BH: Tensor, mean_BH: Tensor, dispersion_BH: Tensor, weight_BH: Tensor) -> Tensor:
    """-log likelihood, in units: least at the true mean, and the gentler on a large count the more sales spread."""
    return _mean(deviance(_present(target_BH), mean_BH, dispersion_BH), weight_BH)


def day_weights(target_BH: Tensor, *, by_maturity: bool = False) -> Tensor:
    """1 for an observed day, 0 for a missing one.

    `by_maturity` divides by how many windows of the batch have that day of the horizon (at most tenfold): of the
    newest windows only the first days have come in, and would rule the later ones.
    """
    seen_BH = (~torch.isnan(target_BH)).float()
    if not by_maturity:
        return seen_BH
    count_H = seen_BH.sum(0)
    return seen_BH * (count_H.max() / count_H.clamp(min=1.0)).clamp(max=10.0)


def window_weights(error_B: Tensor, error_mean: Tensor, scale_B: Tensor) -> Tensor:
    """Weights that turn a loss in scaled units into one between SQL and WQL: 1 / s · (s / mean s)^0.5.

    s is the seasonal-naive error in units; SQL would be the exponent 0, WQL 1. Bounded, so no series rules the rest.
    """
    floored_B = error_B.clamp(min=SEASONAL_FLOOR)
    relative_B = (floored_B * scale_B / error_mean).clamp(1e-3, 1e3)
    return (relative_B**0.5 / floored_B).clamp(max=20.0)


def _present(target_BH: Tensor) -> Tensor:
    """Zeros for missing days: a NaN would reach the gradients even at weight zero."""
    return torch.nan_to_num(target_BH, nan=0.0)


def _mean(loss_BH: Tensor, weight_BH: Tensor) -> Tensor:
    return (loss_BH * weight_BH).sum(1) / weight_BH.sum(1).clamp(min=1e-9)
