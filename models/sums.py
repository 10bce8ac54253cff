"""Quantiles of sums of days: of weeks, months, any stretch.

Quantiles do not add up. The quantiles of a sum are those of sample paths: each day's own marginal, reordered by rows
of ranks of past days (the Schaake shuffle, Clark et al. 2004), so that daily quantiles stay as they are and every
week, month or stretch of days comes from the same paths. Which level of the paths' sums is read for a level asked is
learned from sums of past weeks (dependence.py).

Shapes: S series, H horizon, Q levels of the grid, W wanted levels, N rows of dependence, G groups of days.
"""

from collections.abc import Sequence

import numpy as np

from models.dependence import Dependence
from models.panel import Floats
from models.quantiles import Doubles, interpolate_levels, places

WEEK = 7
PATHS_AT_ONCE = 4_000
"""Series times days whose sample paths are held at once, so that a year of days needs no more memory than a month."""
MOST_RANK = 0.9995
TAIL_LEVELS = 4
"""Levels from an end of the grid over which the slope of the tail beyond it is measured (0.01 … 0.1)."""


def whole_weeks(horizon: int) -> list[slice]:
    """The days 1–7, 8–14, … of a horizon; none for one shorter than a week."""
    return [slice(first, first + WEEK) for first in range(0, horizon - WEEK + 1, WEEK)]


def sum_quantiles(
    quantiles: Floats,
    levels_Q: Sequence[float] | Doubles,
    dependence: Dependence,
    groups: Sequence[slice],
    wanted_W: Sequence[float] | Doubles,
) -> Floats:
    """Quantiles of the sum of each group of days: (H, Q) → (G, W), or (S, H, Q) → (S, G, W).

    The horizon of `dependence` may be longer than that of `quantiles`. A group of one day gives that day's own quantiles.
    """
    single = quantiles.ndim == 2
    quantiles_SHQ = quantiles[None] if single else quantiles
    horizon = quantiles_SHQ.shape[1]
    if dependence.rows_NH.shape[1] < horizon:
        raise ValueError(f"The dependence covers {dependence.rows_NH.shape[1]} days, the quantiles {horizon}.")
    grid_Q, wanted = np.asarray(levels_Q, np.float64), np.asarray(wanted_W, np.float64)
    read_W = dependence.read_at(wanted)
    rank_HN = np.minimum(dependence.rows_NH[:, :horizon].astype(np.float64), MOST_RANK).T
    out_SGW = np.empty((len(quantiles_SHQ), len(groups), len(wanted)), dtype=np.float32)
    at_once = max(PATHS_AT_ONCE // horizon, 1)
    for first in range(0, len(quantiles_SHQ), at_once):
        part = slice(first, first + at_once)
        paths_SHN = _paths(quantiles_SHQ[part], grid_Q, rank_HN)
        for g, days in enumerate(groups):
            if days.stop - days.start == 1:
                out_SGW[part, g] = interpolate_levels(quantiles_SHQ[part, days.start], grid_Q, wanted)
            else:
                out_SGW[part, g] = _hazen(paths_SHN[:, days].sum(axis=1), read_W)
    return out_SGW[0] if single else out_SGW


def _paths(quantiles_SHQ: Floats, grid_Q: Doubles, rank_HN: Doubles) -> Floats:
    """One value for each day and rank: linear within the grid, exponential tails beyond it, never below zero."""
    low_HN, high_HN, share_HN = places(grid_Q, rank_HN)
    day_H1 = np.arange(rank_HN.shape[0])[:, None]
    below_SHN = quantiles_SHQ[:, day_H1, low_HN]
    paths_SHN = below_SHN + (quantiles_SHQ[:, day_H1, high_HN] - below_SHN) * share_HN
    for level_HN, outermost, inner in ((1 - rank_HN, -1, -TAIL_LEVELS), (rank_HN, 0, TAIL_LEVELS - 1)):
        end = min(grid_Q[outermost], 1 - grid_Q[outermost])
        span = min(grid_Q[inner], 1 - grid_Q[inner]) / end
        slope_SH1 = (quantiles_SHQ[:, :, outermost, None] - quantiles_SHQ[:, :, inner, None]) / np.log(span)
        paths_SHN += slope_SH1 * np.log(end / np.minimum(level_HN, end)).astype(np.float32)
    return np.maximum(paths_SHN, 0.0, out=paths_SHN)


def _hazen(values_SN: Floats, levels_W: Doubles) -> Floats:
    """Quantiles of N equally likely values standing at the levels (i + 0.5) / N."""
    count = values_SN.shape[1]
    ordered_SN = np.sort(values_SN, axis=1)
    return interpolate_levels(ordered_SN, (np.arange(count) + 0.5) / count, levels_W)
