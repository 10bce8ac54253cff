"""What forecasts said of one day beside what came: sums by series and stretch, from which every score of any part can be had.

A day is forecast from up to as many cutoffs as there are days ahead; each forecast of it counts once. Scores are ratios of sums
(`figures`): a sum kept here never has to be computed again, and sums of days and series add up.

Shapes: S series, J days ahead of which the day was forecast, Q scored levels, K stretches, X sums, M memory days.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation import SCORED_LEVELS
from models.panel import Floats
from models.quantiles import empirical_quantiles
from models.segments import buckets

Doubles = NDArray[np.float64]
SUMS = (
    "days", "sales", "mean", "absolute", "pinball", "scaled_days", "scaled_absolute", "scaled_pinball",
    *(f"below {level}" for level in SCORED_LEVELS), *(f"to {level}" for level in SCORED_LEVELS),
)  # fmt: skip
"""What is added up over the observed days of a stretch, in this order."""
SCORED = np.array(SCORED_LEVELS)
_SCORED_Q = SCORED.astype(np.float32)
_COUNTED = SUMS.index(f"below {SCORED_LEVELS[0]}")
MEDIAN = SCORED_LEVELS.index(0.5)
SEASON = 7
RECENT = 91


def sums_of_day(y_S: Floats, mean_SJ: Floats, quantiles_SJQ: Floats, scale_S: Floats) -> Floats:
    """The sums of each series and stretch, (S, K, X). A day that is not known, or was not forecast, adds nothing."""
    y_S1 = y_S[:, None].astype(np.float32)
    known_SJ = np.isfinite(y_S1) & np.isfinite(mean_SJ)
    unit_S1 = np.where(scale_S > metrics.SMALLEST_SCALE, scale_S, np.nan).astype(np.float32)[:, None]
    sums = np.zeros((len(y_S), len(buckets(mean_SJ.shape[1])), len(SUMS)), np.float32)
    for stretch, days in enumerate(buckets(mean_SJ.shape[1])):
        known_SD = known_SJ[:, days]
        error_SDQ = np.where(known_SD[..., None], y_S1[..., None] - quantiles_SJQ[:, days], np.float32(np.nan))
        pinball_SD = 2 * (error_SDQ @ _SCORED_Q - np.minimum(error_SDQ, 0).sum(axis=2)) / len(_SCORED_Q)
        absolute_SD = np.abs(error_SDQ[..., MEDIAN])
        usual = [known_SD, np.where(known_SD, y_S1, 0), mean_SJ[:, days], absolute_SD, pinball_SD]
        scaled = [known_SD & np.isfinite(unit_S1), absolute_SD / unit_S1, pinball_SD / unit_S1]
        for number, values_SD in enumerate([*usual, *scaled]):
            sums[:, stretch, number] = np.where(np.isfinite(values_SD) & known_SD, values_SD, 0).sum(axis=1)
        reached = [(error_SDQ < -metrics.TIE).sum(axis=1), (error_SDQ <= metrics.TIE).sum(axis=1)]
        sums[:, stretch, _COUNTED:] = np.concatenate(reached, axis=1)
    return sums


def naive_of_day(memory_SM: Floats, days_ahead: int) -> tuple[Floats, Floats]:
    """What the seasonal naive had said of the day after a memory, from each of so many cutoffs before it, the latest first: mean
    (S, J) and quantiles (S, J, Q). The same weekday of the last week that a cutoff had seen, and around it how far such values
    lay off in the RECENT days before all of these cutoffs, as far as the memory reaches; nothing around it where it does not."""
    days = memory_SM.shape[1]
    week_J = -(-np.arange(1, days_ahead + 1) // SEASON)
    value_SJ = memory_SM[:, days - SEASON * week_J]
    seen_SM = memory_SM[:, : days - days_ahead]
    lacking = max(RECENT + SEASON * int(week_J[-1]) - seen_SM.shape[1], 0)
    seen_SM = np.pad(seen_SM, ((0, 0), (lacking, 0)), constant_values=np.nan)
    quantiles_SJQ = np.empty((*value_SJ.shape, len(SCORED_LEVELS)), np.float32)
    for week in np.unique(week_J).tolist():
        off_SM = seen_SM[:, -RECENT:] - seen_SM[:, -RECENT - SEASON * week : -SEASON * week]
        around_SQ = np.nan_to_num(empirical_quantiles(off_SM, SCORED_LEVELS))
        at = week_J == week
        quantiles_SJQ[:, at] = np.maximum(value_SJ[:, at, None] + around_SQ[:, None], 0.0)
    return value_SJ, quantiles_SJQ


def figures(sums_X: Doubles) -> dict[str, Any]:
    """WAPE, WQL, MASE, SQL, bias, coverage (share at or below each level) of added-up sums; None: nothing was measured."""
    total = dict(zip(SUMS, sums_X.tolist(), strict=True))

    def ratio(above: str, below: str) -> float | None:
        return total[above] / total[below] if total[below] > 0 else None

    bias = None if total["sales"] <= 0 else (total["mean"] - total["sales"]) / total["sales"]
    return {
        "n": int(total["days"]),
        "wape": ratio("absolute", "sales"),
        "wql": ratio("pinball", "sales"),
        "mase": ratio("scaled_absolute", "scaled_days"),
        "sql": ratio("scaled_pinball", "scaled_days"),
        "bias": bias,
        "coverage": {str(level): ratio(f"to {level}", "days") for level in SCORED_LEVELS},
    }


def missed(sums_X: Doubles, level: float) -> float:
    """How far a level is from being reached: 0 where it lies between the shares strictly below and at most, else the distance."""
    total = dict(zip(SUMS, sums_X.tolist(), strict=True))
    if total["days"] <= 0:
        return math.nan
    below, to = total[f"below {level}"] / total["days"], total[f"to {level}"] / total["days"]
    return float(max(below - level, level - to, 0.0))
