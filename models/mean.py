"""The mean that quantiles speak of: the area under them; and how far to trust it beside the networks' own mean.

Networks learn their quantiles by nearly the whole of the loss and their mean by a tenth of it, so where training was short
the quantiles are right long before the mean is. Where days without sales are out of the question the area is sure, and no mean
stands far from it.

Shapes: B windows, H horizon, L memory days, Q quantile levels.
"""

import numpy as np
from numpy.typing import NDArray

from models.metrics import SMALLEST_STEP, Doubles, rmsse, squared_step
from models.panel import Floats
from models.training_config import LEVELS

AREA_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
GOOD_ENOUGH = 1.002
"""Of shares within 0.2 % of the least error the least is the safest: the mean stays as the networks say it."""
HALF_A_UNIT = 0.5
ROOM = 0.05
"""How far a mean may stand from a sure area: this share of what lies between the 0.1 and the 0.9 level."""


def area_mean(quantiles_BHQ: Floats, whole_B: NDArray[np.bool_]) -> Floats:
    """The mean (B, H) of what the quantiles say, in their units; NaN where the highest of them says that nothing is sold.

    Straight between levels, flat below the lowest; above the highest exponential, as steep as between the two highest. The
    quantiles of `whole_B`, series that sell whole units, are of counts to which up to half a unit was added or taken at random
    (losses.pinball), and were cut at zero: of theirs, what lies below half a unit is none sold. A series that sells on fewer
    days than the highest level leaves out has its mean beyond all levels, so that they say nothing of it.
    """
    levels_Q = np.array(LEVELS)
    floor_B1 = np.where(whole_B, HALF_A_UNIT, 0.0)[:, None]
    heights_BHQ = quantiles_BHQ.astype(np.float64)
    lowest_BH, highest_BH = heights_BHQ[..., 0], heights_BHQ[..., -1]
    area_BH = _above(heights_BHQ, floor_B1[..., None]) @ np.diff(levels_Q)
    area_BH += levels_Q[0] * np.where(lowest_BH >= floor_B1, lowest_BH, 0.0)
    slope_BH = (highest_BH - heights_BHQ[..., -2]) / np.log((1 - LEVELS[-2]) / (1 - LEVELS[-1]))
    area_BH += (1 - LEVELS[-1]) * (highest_BH + slope_BH)
    known_BH = (highest_BH >= floor_B1) & (highest_BH > 0)
    return np.where(known_BH, area_BH, np.nan).astype(np.float32)


def kept_near(mean_BH: Floats, quantiles_BHQ: Floats, whole_B: NDArray[np.bool_]) -> Floats:
    """The mean, at most ROOM from the area where that is sure: where even the lowest level says that something is sold."""
    sure_BH = quantiles_BHQ[..., 0] > np.where(whole_B, np.float32(HALF_A_UNIT), np.float32(0.0))[:, None]
    rows = np.flatnonzero(sure_BH.any(axis=1))
    area_BH = area_mean(quantiles_BHQ[rows], whole_B[rows])
    low, high = LEVELS.index(0.1), LEVELS.index(0.9)
    room_BH = np.float32(ROOM) * (quantiles_BHQ[rows][..., high] - quantiles_BHQ[rows][..., low])
    kept_BH = mean_BH.copy()
    near_BH = np.clip(mean_BH[rows], area_BH - room_BH, area_BH + room_BH)
    kept_BH[rows] = np.where(sure_BH[rows], near_BH, mean_BH[rows])
    return kept_BH


def _above(quantiles_BHQ: Doubles, floor_B11: Doubles) -> Doubles:
    """The mean height between each two neighbouring levels, where what is below the floor counts as zero, (B, H, Q - 1)."""
    low, high = quantiles_BHQ[..., :-1], quantiles_BHQ[..., 1:]
    start = np.maximum(low, floor_B11)
    rise = high - low
    level = high >= floor_B11
    share = np.divide(high - start, rise, out=level.astype(np.float64), where=level & (rise > 0))
    out: Doubles = share * (start + high) / 2
    return out


def area_share(mean_BH: Floats, area_BH: Floats, y_BH: Floats, memory_BL: Floats) -> float:
    """How far the mean is to be drawn to the area's: of AREA_SHARES the least whose RMSSE is as good as the least.

    Each window is measured by its own past's squared step; one that has always sold the same says nothing. Where the area's
    mean is not known (NaN) the mean stays.
    """
    step_B = squared_step(memory_BL)
    says_B = (step_B > SMALLEST_STEP) & np.isfinite(y_BH).any(axis=1)
    if not says_B.any():
        return 0.0
    mean_BH, area_BH, y_BH, step_B = mean_BH[says_B], area_BH[says_B], y_BH[says_B], step_B[says_B]
    further_BH = np.where(np.isnan(area_BH), 0.0, area_BH - mean_BH)
    errors = [rmsse(y_BH, mean_BH + share * further_BH, step_B) for share in AREA_SHARES]
    return min(share for share, error in zip(AREA_SHARES, errors, strict=True) if error <= min(errors) * GOOD_ENOUGH)
