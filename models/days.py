"""Days cut out of arrays of days: for each of many windows a series and a first day. NaN outside the array.

Shapes: S series, T days of the array, B windows, N days of a window, K arrays.
"""

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats

Index = NDArray[np.int64]


def take_days(values_ST: Floats, series_B: Index, first_B: Index, count: int) -> Floats:
    """`count` days of each series from the day index `first_B` on; NaN outside the array."""
    return _Days(series_B, first_B, count, values_ST.shape[1]).of(values_ST)


def days_of_each(columns: list[Floats], series_B: Index, first_B: Index, count: int) -> Floats:
    """The same days of several arrays, (B, K, count)."""
    out_BKN = np.empty((len(series_B), len(columns), count), dtype=np.float32)
    if columns:
        days = _Days(series_B, first_B, count, columns[0].shape[1])
        for k, values_ST in enumerate(columns):
            out_BKN[:, k] = days.of(values_ST)
    return out_BKN


class _Days:
    """Where `count` days of each window lie in arrays of a width: found once, used for every array of that width.

    An array of a single row is shared by all series. Windows that all begin with the same day are cut out as a whole.
    """

    def __init__(self, series_B: Index, first_B: Index, count: int, width: int) -> None:
        self.series_B, self.count, self.width = series_B, count, width
        self.first = int(first_B[0]) if len(first_B) and (first_B == first_B[0]).all() else None
        if self.first is None:
            day_BN = first_B[:, None] + np.arange(count)
            self.outside_BN = (day_BN < 0) | (day_BN >= width)
            self.day_BN = np.clip(day_BN, 0, max(width - 1, 0))
            self.at_BN = series_B[:, None] * width + self.day_BN

    def of(self, values_ST: Floats) -> Floats:
        shared = len(values_ST) == 1
        if not self.width:
            return np.full((len(self.series_B), self.count), np.nan, np.float32)
        if self.first is not None:
            return self._span(values_ST, self.first, shared=shared)
        out_BN: Floats = values_ST[0][self.day_BN] if shared else values_ST.reshape(-1)[self.at_BN]
        out_BN[self.outside_BN] = np.nan
        return out_BN

    def _span(self, values_ST: Floats, first: int, *, shared: bool) -> Floats:
        out_BN = np.empty((len(self.series_B), self.count), np.float32)
        begin, end = np.clip((first, first + self.count), 0, self.width).tolist()
        inside = slice(begin - first, end - first) if begin < end else slice(0, 0)
        out_BN[:, : inside.start], out_BN[:, inside.stop :] = np.nan, np.nan
        out_BN[:, inside] = values_ST[0, begin:end] if shared else values_ST[self.series_B, begin:end]
        return out_BN


def side_by_side(rows: Index) -> Index | slice:
    """Rows as a slice where they stand side by side, which is copied twice as fast."""
    if rows.size and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
