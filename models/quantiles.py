"""Quantile arithmetic: empirical quantiles with missing values, other levels, and quantiles of sums of days.

Quantiles do not add up. The quantiles of a sum are those of sample paths: each day's own marginal, reordered by rows
of ranks of past days (the Schaake shuffle, Clark et al. 2004), so that daily quantiles stay as they are and every
week, month or stretch of days comes from the same paths.

Shapes: S series, H horizon, Q levels of the grid, W wanted levels, N rows of dependence, G groups of days, X values.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats

Doubles = NDArray[np.float64]
SERIES_AT_ONCE = 256
MOST_RANK = 0.9995
TAIL_LEVELS = 4
"""Levels from an end of the grid over which the slope of the tail beyond it is measured (0.01 … 0.1)."""


def empirical_quantiles(values_SX: Floats, levels_Q: Sequence[float] | Doubles) -> Floats:
    """Linear-interpolated quantiles of each row's finite values; NaN for a row without any."""
    ordered_SX = np.sort(values_SX, axis=1)
    count_S = np.isfinite(values_SX).sum(axis=1)
    at_SQ = np.maximum(count_S - 1, 0)[:, None] * np.asarray(levels_Q, np.float64)
    low_SQ = np.floor(at_SQ).astype(np.int64)
    high_SQ = np.minimum(low_SQ + 1, np.maximum(count_S - 1, 0)[:, None])
    below_SQ = np.take_along_axis(ordered_SX, low_SQ, axis=1).astype(np.float64)
    above_SQ = np.take_along_axis(ordered_SX, high_SQ, axis=1)
    mixed_SQ = below_SQ + (above_SQ - below_SQ) * (at_SQ - low_SQ)
    return np.where(count_S[:, None] > 0, mixed_SQ, np.nan).astype(np.float32)


def interpolate_levels(
    quantiles: Floats, grid_Q: Sequence[float] | Doubles, wanted_W: Sequence[float] | Doubles
) -> Floats:
    """Quantiles (…, Q) at the levels of a grid, read at other levels (…, W): linear between, flat beyond its ends.

    Order and sign are kept: nothing crosses that did not cross.
    """
    low_W, high_W, share_W = _places(np.asarray(grid_Q, np.float64), np.asarray(wanted_W, np.float64))
    below, above = quantiles[..., low_W], quantiles[..., high_W]
    out: Floats = (below + (above - below) * share_W).astype(np.float32)
    return out


def sum_quantiles(
    quantiles: Floats,
    levels_Q: Sequence[float] | Doubles,
    dependence_NH: NDArray[np.floating],
    groups: Sequence[slice],
    wanted_W: Sequence[float] | Doubles,
) -> Floats:
    """Quantiles of the sum of each group of days: (H, Q) → (G, W), or (S, H, Q) → (S, G, W).

    `dependence_NH` are ranks in (0, 1), one row a sample path; its horizon may be longer than that of `quantiles`.
    A group of one day gives that day's own quantiles.
    """
    single = quantiles.ndim == 2
    quantiles_SHQ = quantiles[None] if single else quantiles
    horizon = quantiles_SHQ.shape[1]
    if dependence_NH.shape[1] < horizon:
        raise ValueError(f"The dependence covers {dependence_NH.shape[1]} days, the quantiles {horizon}.")
    grid_Q, wanted = np.asarray(levels_Q, np.float64), np.asarray(wanted_W, np.float64)
    rank_HN = np.minimum(dependence_NH[:, :horizon].astype(np.float64), MOST_RANK).T
    out_SGW = np.empty((len(quantiles_SHQ), len(groups), len(wanted)), dtype=np.float32)
    for first in range(0, len(quantiles_SHQ), SERIES_AT_ONCE):
        part = slice(first, first + SERIES_AT_ONCE)
        paths_SHN = _paths(quantiles_SHQ[part], grid_Q, rank_HN)
        for g, days in enumerate(groups):
            if days.stop - days.start == 1:
                out_SGW[part, g] = interpolate_levels(quantiles_SHQ[part, days.start], grid_Q, wanted)
            else:
                out_SGW[part, g] = _hazen(paths_SHN[:, days].sum(axis=1), wanted)
    return out_SGW[0] if single else out_SGW


def ranks(values_NH: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float16]:
    """Each column's ranks as (rank + 0.5) / N, ties broken at random: rows of dependence with uniform columns."""
    shuffled_N = rng.permutation(len(values_NH))
    order_NH = np.argsort(values_NH[shuffled_N], axis=0, kind="stable")
    rank_NH = np.empty_like(order_NH)
    np.put_along_axis(rank_NH, order_NH, np.arange(len(values_NH))[:, None], axis=0)
    return ((rank_NH + 0.5) / max(len(values_NH), 1)).astype(np.float16)


def _paths(quantiles_SHQ: Floats, grid_Q: Doubles, rank_HN: Doubles) -> Floats:
    """One value for each day and rank: linear within the grid, exponential tails beyond it, never below zero."""
    low_HN, high_HN, share_HN = _places(grid_Q, rank_HN)
    day_H1 = np.arange(rank_HN.shape[0])[:, None]
    below_SHN = quantiles_SHQ[:, day_H1, low_HN]
    paths_SHN = below_SHN + (quantiles_SHQ[:, day_H1, high_HN] - below_SHN) * share_HN
    for level_HN, outermost, inner in ((1 - rank_HN, -1, -TAIL_LEVELS), (rank_HN, 0, TAIL_LEVELS - 1)):
        end = min(grid_Q[outermost], 1 - grid_Q[outermost])
        span = min(grid_Q[inner], 1 - grid_Q[inner]) / end
        slope_SH1 = (quantiles_SHQ[:, :, outermost, None] - quantiles_SHQ[:, :, inner, None]) / np.log(span)
        paths_SHN += slope_SH1 * np.log(end / np.minimum(level_HN, end)).astype(np.float32)
    return np.maximum(paths_SHN, 0.0, out=paths_SHN)


def _places(grid_Q: Doubles, wanted: Doubles) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    high = np.clip(np.searchsorted(grid_Q, wanted - 1e-9), 0, len(grid_Q) - 1)
    low = np.maximum(high - 1, 0)
    span = grid_Q[high] - grid_Q[low]
    share = np.where(span > 0, (wanted - grid_Q[low]) / np.where(span > 0, span, 1.0), 0.0)
    return low, high, np.clip(share, 0.0, 1.0).astype(np.float32)


def _hazen(values_SN: Floats, levels_W: Doubles) -> Floats:
    """Quantiles of N equally likely values standing at the levels (i + 0.5) / N."""
    count = values_SN.shape[1]
    ordered_SN = np.sort(values_SN, axis=1)
    return interpolate_levels(ordered_SN, (np.arange(count) + 0.5) / count, levels_W)
