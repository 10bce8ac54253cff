"""The point head: the networks' mean, with what was left over around it on the days held out as its quantiles.

What was left over is measured in the level of each series, so that all series share it (split conformal prediction, Papadopoulos
et al. 2002; Lei et al. 2018, arXiv 1604.04173). It is one candidate beside the quantile and the negative binomial head.

Shapes: B windows, H horizon, L memory days, Q quantile levels, G stretches of the horizon.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats
from models.quantiles import empirical_quantiles
from models.training_config import LEVELS

Doubles = NDArray[np.float64]
RECENT_DAYS = 56
YEAR_WEIGHT_DAYS = 28
LEAST_LEVEL = 1e-6


def left_over(mean_BH: Floats, y_BH: Floats, memory_BL: Floats, groups: Sequence[slice]) -> Doubles:
    """Quantiles (G, Q) of (sold - mean) / level of each stretch of days ahead; zeros for one that was never observed."""
    residual_BH = ((y_BH - mean_BH) / level_of(memory_BL)[:, None]).astype(np.float32)
    found_GQ = np.zeros((len(groups), len(LEVELS)))
    for group, days in enumerate(groups):
        if (residual_1X := residual_BH[:, days].reshape(1, -1)).size:
            found_GQ[group] = np.nan_to_num(empirical_quantiles(residual_1X, LEVELS)[0])
    return found_GQ


def around(mean_BH: Floats, left_over_GQ: Doubles, memory_BL: Floats, groups: Sequence[slice]) -> Floats:
    """Quantiles (B, H, Q) around a mean, not below zero."""
    out_BHQ = np.empty((*mean_BH.shape, len(LEVELS)), np.float32)
    level_B11 = level_of(memory_BL)[:, None, None]
    for days, left_over_Q in zip(groups, left_over_GQ, strict=True):
        out_BHQ[:, days] = np.maximum(mean_BH[:, days, None] + level_B11 * left_over_Q, 0.0)
    return out_BHQ


def level_of(memory_BL: Floats) -> Doubles:
    """What a window sells a day, (B,): the mean of its newest eight weeks, drawn to the year's by four weeks' weight."""
    recent_BL = memory_BL[:, -RECENT_DAYS:].astype(np.float64)
    count_B = np.isfinite(memory_BL).sum(axis=1)
    year_B = np.nansum(memory_BL.astype(np.float64), axis=1) / np.maximum(count_B, 1)
    total_B = np.nansum(recent_BL, axis=1) + YEAR_WEIGHT_DAYS * year_B
    level_B: Doubles = total_B / (np.isfinite(recent_BL).sum(axis=1) + YEAR_WEIGHT_DAYS)
    return np.maximum(level_B, LEAST_LEVEL)
