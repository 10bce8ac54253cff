"""Quantile arithmetic: empirical quantiles with missing values, other levels, ranks. Quantiles of sums of days are in sums.py.

Shapes: S series, H days, Q levels of the grid, W wanted levels, N rows, X values.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats

Doubles = NDArray[np.float64]


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
    low_W, high_W, share_W = places(np.asarray(grid_Q, np.float64), np.asarray(wanted_W, np.float64))
    below, above = quantiles[..., low_W], quantiles[..., high_W]
    out: Floats = (below + (above - below) * share_W).astype(np.float32)
    return out


def ranks(values_NH: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float16]:
    """Each column's ranks as (rank + 0.5) / N, ties broken at random: rows of dependence with uniform columns."""
    shuffled_N = rng.permutation(len(values_NH))
    order_NH = np.argsort(values_NH[shuffled_N], axis=0, kind="stable")
    rank_NH = np.empty_like(order_NH)
    np.put_along_axis(rank_NH, order_NH, np.arange(len(values_NH))[:, None], axis=0)
    return ((rank_NH + 0.5) / max(len(values_NH), 1)).astype(np.float16)


def places(grid_Q: Doubles, wanted: Doubles) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Where wanted levels stand on a grid: the one below, the one above, and how far between; the ends for levels beyond."""
    high = np.clip(np.searchsorted(grid_Q, wanted - 1e-9), 0, len(grid_Q) - 1)
    low = np.maximum(high - 1, 0)
    span = grid_Q[high] - grid_Q[low]
    share = np.where(span > 0, (wanted - grid_Q[low]) / np.where(span > 0, span, 1.0), 0.0)
    return low, high, np.clip(share, 0.0, 1.0).astype(np.float32)
