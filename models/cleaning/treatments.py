"""Values for missing days of the inputs, each from the FILL_DAYS days before it and nothing else.

`mean` is their mean; `seasonal` the mean of the same weekday among them; `linear` their least-squares line, continued to the
day (interpolation would look ahead), held between 0 and the most they sold. A day without an observed one among them stays
missing: a gap of half a year is not made up. Values that were filled fill no others.

Shapes: S series, T days, N days to fill, W = FILL_DAYS.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.cleaning.outliers import AT_ONCE, Flags, history, sums
from models.panel import Floats

FILL_DAYS = 28

Doubles = NDArray[np.float64]


def filled(values_ST: Floats, known_ST: Floats, closed_ST: Flags | None, treatment: str) -> Floats:
    """`values_ST` with its missing days filled from `known_ST` by the treatment of this name. Closed days stay missing."""
    missing_ST = np.isnan(values_ST) & _seen_lately(known_ST)
    if closed_ST is not None:
        missing_ST &= ~closed_ST
    row_N, day_N = np.nonzero(missing_ST)
    filled_ST = values_ST.copy()
    for first in range(0, len(row_N), AT_ONCE):
        row, day = row_N[first : first + AT_ONCE], day_N[first : first + AT_ONCE]
        filled_ST[row, day] = TREATMENTS[treatment](history(known_ST, row, day, FILL_DAYS))
    return filled_ST


def _seen_lately(known_ST: Floats) -> Flags:
    """Whether any of the FILL_DAYS days before a day is observed."""
    day_T = np.arange(known_ST.shape[1], dtype=np.int32)
    seen_ST = np.where(np.isfinite(known_ST), day_T, np.int32(-FILL_DAYS - 1))
    newest_ST = np.maximum.accumulate(seen_ST, axis=1)
    lately_ST: Flags = day_T - newest_ST <= FILL_DAYS
    return lately_ST


def _mean(history_NW: Floats) -> Floats:
    total_N, count_N = _sums(history_NW)
    return (total_N / count_N).astype(np.float32)


def _seasonal(history_NW: Floats) -> Floats:
    total_N, count_N = _sums(history_NW[:, ::7])
    overall_N = _mean(history_NW)
    return np.where(count_N > 0, total_N / np.maximum(count_N, 1), overall_N).astype(np.float32)


def _linear(history_NW: Floats) -> Floats:
    """The least-squares line through the observed days, at the day after the last; their mean where there is but one."""
    total_N, count_N = _sums(history_NW)
    seen_NW = np.isfinite(history_NW)
    ago_W = np.arange(-history_NW.shape[1], 0, dtype=np.float64)
    at_N = _sums(np.where(seen_NW, ago_W, np.nan))[0] / count_N
    off_NW = ago_W - at_N[:, None]
    mean_N = total_N / count_N
    square_N = _sums(np.where(seen_NW, off_NW**2, np.nan))[0]
    product_N = _sums(off_NW * (history_NW - mean_N[:, None]))[0]
    slope_N = np.where(count_N > 1, product_N / np.where(square_N > 0, square_N, 1.0), 0.0)
    highest_N = np.fmax.reduce(history_NW, axis=1)
    return np.clip(mean_N - slope_N * at_N, 0.0, highest_N).astype(np.float32)


def _sums(values_NW: NDArray[np.floating]) -> tuple[Doubles, NDArray[np.int64]]:
    """Sum and number of each row's observed values."""
    return sums(values_NW), np.isfinite(values_NW).sum(axis=1)


TREATMENTS: dict[str, Callable[[Floats], Floats]] = {"linear": _linear, "mean": _mean, "seasonal": _seasonal}
