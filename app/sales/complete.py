"""`complete=true`: a body that names everything that sold makes the absence of the rest a zero.

For each location and day in the body every active series there without a row gets quantity 0; what active means is said in
app/catalog/active.py. Computed on series x days matrices, read by COPY, a bounded number of cells at a time.

Shapes: S series, T days.
"""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.catalog.active import ACTIVE_DAYS
from app.sales import store
from app.sales.store import Ints
from app.sales.validate import ROW, VALUES, SalesRows

_CELLS = 4_000_000
_NEVER = -(2**30)


async def zeros_for_absent(driver: asyncpg.Connection, location: str, days: Ints) -> AsyncIterator[SalesRows]:
    """The zeros that a location lacks on `days` (sorted), once the body's own rows are written. The series are locked."""
    shelf = await store.shelf(driver, location)
    for window in _windows(days):
        first, last = int(window[0]) - ACTIVE_DAYS, int(window[-1])
        width = last - first + 1
        at_once = max(1, _CELLS // width)
        for start in range(0, len(shelf.ids), at_once):
            part = slice(start, start + at_once)
            rows = await store.sold_days(driver, shelf.ids[part], first, last)
            zeros = _zeros(store.Shelf(shelf.ids[part], shelf.ends[part]), window, first, width, rows)
            if len(zeros):
                yield zeros


def _windows(days: Ints) -> Iterator[Ints]:
    """The days in runs that no active series could span the gap between."""
    yield from np.split(days, np.flatnonzero(np.diff(days) > ACTIVE_DAYS) + 1)


def _zeros(
    shelf: store.Shelf,
    days: Ints,
    first: int,
    width: int,
    rows: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]],
) -> SalesRows:
    series, day, sold = rows
    at, column = np.searchsorted(shelf.ids, series), day - first
    has_ST = np.zeros((len(shelf.ids), width), np.bool_)
    has_ST[at, column] = True
    last_sold_ST = np.full(has_ST.shape, _NEVER, np.int32)
    last_sold_ST[at[sold], column[sold]] = column[sold]
    np.maximum.accumulate(last_sold_ST, axis=1, out=last_sold_ST)
    column_T = (days - first).astype(np.int64)
    active_ST = column_T - last_sold_ST[:, column_T] <= ACTIVE_DAYS
    absent_ST = active_ST & ~has_ST[:, column_T] & (days < shelf.ends[:, np.newaxis])
    of_series, of_day = np.nonzero(absent_ST)
    zeros = np.empty(len(of_series), ROW)
    for name in VALUES:
        zeros[name] = 0.0 if name == "quantity" else np.nan
    zeros["series"], zeros["day"] = shelf.ids[of_series], days[of_day]
    return zeros
