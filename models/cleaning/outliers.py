"""Outliers: single days that sold so much more than the series' own past that only a mistake explains them.

Only high days are judged. A low day is true until stock or opening days say otherwise; it moves a mean by one usual day
at most, where an impossible one moves it without bound. And only gross ones: a day is suspect when

1. it sold more than RATIO times the second highest of the HISTORY days before it (so a level that has shifted is accepted
   on its third day, what happens twice in 24 weeks is no mistake, and one earlier mistake hides no later one), and
2. it lies more than GROSS robust deviations above its level and its weekday's. The deviation is 1.4826 times the median
   absolute deviation (Rousseeuw and Croux, 1993), at least a quarter of the level, and at least the standard deviation of
   counts with this mean (Poisson), plus one unit: three sold where none or one is usual is no mistake.

A suspect day is acquitted when the year before it knows the like (`acquitted`): that is the season's say.

Everything looks at a day and those before it. Sums are avoided or made in a fixed order, so that a day is judged alike,
to the last bit, within a whole panel and within one window.

Shapes: S series, T days, N judged days, W days of history.
"""

import numpy as np
from numpy.typing import NDArray

from models.climatology import YEAR
from models.panel import Floats

Flags = NDArray[np.bool_]
Index = NDArray[np.int64]

HISTORY = 168
"""Days before a day that it is judged by: 24 weeks."""
LEVEL_DAYS = 56
FEWEST_LEVEL_DAYS = 14
FEWEST_SAME_WEEKDAYS = 4
FEWEST_DAYS = 28
"""Observed days in the history below which no day is called an outlier."""
RATIO = 2.0
GROSS = 8.0
SEASON_DAYS = 14
AT_ONCE = 65_536


def suspects(quantity_ST: Floats, base_ST: Floats, may_ST: Flags) -> tuple[Index, Index]:
    """The days, as row and column indices, that sold impossibly much by the HISTORY days before them.

    `base_ST` is what histories are taken from (NaN where a day tells nothing of demand), `may_ST` which days may be judged.
    """
    second_ST = second_highest(base_ST)
    with np.errstate(invalid="ignore", over="ignore"):
        likely_ST = may_ST & (quantity_ST > GROSS) & (quantity_ST > RATIO * second_ST)
    likely_ST[:, :FEWEST_DAYS] = False
    row_N, day_N = np.nonzero(likely_ST)
    gross_N = np.zeros(len(row_N), dtype=np.bool_)
    for first in range(0, len(row_N), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        history_NW = history(base_ST, row_N[part], day_N[part], HISTORY)
        gross_N[part] = _is_gross(quantity_ST[row_N[part], day_N[part]], history_NW)
    return row_N[gross_N], day_N[gross_N]


def usual(base_ST: Floats, row_N: Index, day_N: Index) -> Floats:
    """What these days would usually have sold: the median of their weekday in the history, else of all its days.

    NaN where the history is empty.
    """
    usual_N = np.full(len(row_N), np.nan, dtype=np.float32)
    for first in range(0, len(row_N), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        level_N, weekday_N = _level(history(base_ST, row_N[part], day_N[part], HISTORY))
        usual_N[part] = np.where(np.isnan(weekday_N), level_N, weekday_N)
    return usual_N


def acquitted(quantity_ST: Floats, base_ST: Floats, row_N: Index, day_N: Index) -> Flags:
    """Which suspect days the year before them explains: one like it in the same four weeks of last year, or two in the year.

    Like it means more than a RATIO-th of it.
    """
    known_N = np.zeros(len(row_N), dtype=np.bool_)
    same = slice(0, 2 * SEASON_DAYS + 1)
    for first in range(0, len(row_N), AT_ONCE // 4):
        part = slice(first, first + AT_ONCE // 4)
        year_NW = history(base_ST, row_N[part], day_N[part], YEAR + SEASON_DAYS)
        with np.errstate(invalid="ignore", over="ignore"):
            like_NW = year_NW * RATIO > quantity_ST[row_N[part], day_N[part]][:, None]
        known_N[part] = like_NW[:, same].any(axis=1) | (like_NW.sum(axis=1) >= 2)
    return known_N


def history(values_ST: Floats, row_N: Index, day_N: Index, days: int) -> Floats:
    """The `days` days before each day, oldest first; NaN before the first column."""
    taken_NW = np.empty((len(row_N), days), dtype=np.float32)
    whole_N = day_N >= days
    if whole_N.any():  # rows of a view are copied as a whole, ten times as fast as day by day
        spans = np.lib.stride_tricks.sliding_window_view(values_ST, days, axis=1)
        taken_NW[whole_N] = spans[row_N[whole_N], day_N[whole_N] - days]
    young = np.flatnonzero(~whole_N)
    at_NW = day_N[young, None] + np.arange(-days, 0)
    taken_NW[young] = np.where(at_NW < 0, np.float32(np.nan), values_ST[row_N[young, None], np.maximum(at_NW, 0)])
    return taken_NW


def second_highest(values_ST: Floats) -> Floats:
    """The second highest value of the HISTORY days before each day; -1 where fewer than two are observed.

    Two highest of disjoint spans are merged: spans of 1, 2, 4 … days by doubling, then those that add up to HISTORY.
    """
    nothing = np.full(values_ST.shape, -1.0, dtype=np.float32)
    span = 1
    doubled = (np.where(np.isnan(values_ST), np.float32(-1.0), values_ST), nothing)
    merged, covered = (nothing, nothing), 0
    while covered < HISTORY:
        if HISTORY & span:
            merged = _merge(merged, _shifted(doubled, covered))
            covered += span
        if covered < HISTORY:
            doubled = _merge(doubled, _shifted(doubled, span))
            span *= 2
    return _shifted(merged, 1)[1]


def _merge(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The two highest of two spans out of the two highest of each."""
    highest = np.maximum(one[0], other[0])
    second = np.minimum(one[0], other[0])
    np.maximum(second, one[1], out=second)
    np.maximum(second, other[1], out=second)
    return highest, second


def _shifted(pair: tuple[Floats, Floats], days: int) -> tuple[Floats, Floats]:
    """Both as they were so many days before; -1 before the first day."""
    if days == 0:
        return pair
    out = tuple(np.full(values.shape, -1.0, dtype=np.float32) for values in pair)
    for shifted, values in zip(out, pair, strict=True):
        shifted[:, days:] = values[:, :-days]
    return out[0], out[1]


def _is_gross(value_N: Floats, history_NW: Floats) -> Flags:
    """Whether values lie more than GROSS robust deviations above what their histories lead to expect."""
    level_N, weekday_N = _level(history_NW)
    seen_N = np.isfinite(history_NW).sum(axis=1)
    centre_N = np.fmax(level_N, weekday_N).astype(np.float64)
    spread_N = 1.4826 * median(np.abs(history_NW - level_N[:, None])).astype(np.float64)
    poisson_N = np.sqrt(np.fmax(centre_N, _capped_mean(history_NW, seen_N)) + 1.0)
    deviation_N = np.fmax(spread_N, np.fmax(poisson_N, 0.25 * centre_N))
    gross_N: Flags = (seen_N >= FEWEST_DAYS) & (value_N - centre_N > GROSS * deviation_N)
    return gross_N


def _level(history_NW: Floats) -> tuple[Floats, Floats]:
    """Medians: of the newest LEVEL_DAYS (of all days where these hold too few), and of the judged day's weekday or NaN."""
    newest_NW = history_NW[:, -LEVEL_DAYS:]
    few_N = np.isfinite(newest_NW).sum(axis=1) < FEWEST_LEVEL_DAYS
    level_N = median(newest_NW)
    if few_N.any():
        level_N[few_N] = median(history_NW[few_N])
    weekday_NW = history_NW[:, HISTORY % 7 :: 7]
    weekday_N = median(weekday_NW)
    weekday_N[np.isfinite(weekday_NW).sum(axis=1) < FEWEST_SAME_WEEKDAYS] = np.nan
    return level_N, weekday_N


def median(values_NW: Floats) -> Floats:
    """Median of each row's observed values; NaN without any. Sorting puts NaN last."""
    ordered_NW = np.sort(values_NW, axis=1)
    seen_N = np.isfinite(values_NW).sum(axis=1)
    row_N = np.arange(len(values_NW))
    low_N = ordered_NW[row_N, np.maximum((seen_N - 1) // 2, 0)]
    high_N = ordered_NW[row_N, np.minimum(seen_N // 2, values_NW.shape[1] - 1)]
    return np.where(seen_N > 0, low_N / 2 + high_N / 2, np.float32(np.nan)).astype(np.float32)


def _capped_mean(history_NW: Floats, seen_N: Index) -> NDArray[np.float64]:
    """Mean of each row with its highest value lowered to the second highest."""
    ordered_NW = np.sort(history_NW, axis=1)
    second_N1 = ordered_NW[np.arange(len(history_NW)), np.maximum(seen_N - 2, 0)][:, None]
    mean_N: NDArray[np.float64] = sums(np.minimum(history_NW, second_N1)) / np.maximum(seen_N, 1)
    return mean_N


def sums(values_NW: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sum of each row's observed values, added one after the other: equal rows have equal sums, whatever stands beside them."""
    total_N: NDArray[np.float64] = np.cumsum(np.nan_to_num(values_NW), axis=1, dtype=np.float64)[:, -1]
    return total_N
