"""Judging the days of a post within its transaction: the rows it wrote, the days they are judged by, and what is held.

Only what a post changed is judged, among the newest PAST_DAYS days of all data, and only in series that knew FEWEST_DAYS days
before: a first load of history is never judged. Rows are judged place by place; locations with fewer than FEWEST_SERIES judged
series are one place together. What costs more to read (a year, the calendar) is read of suspects alone.

Shapes: S series of a group, X = PAST_DAYS + D days of which the last D may be judged, N rows.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.database.copy import copy_out, int_array
from app.quarantine import explained
from app.quarantine.checks import (
    FEWEST_DAYS,
    FEWEST_SERIES,
    PAST_DAYS,
    REPEATED_DAYS,
    YEAR_DAYS,
    Doubles,
    Facts,
    Group,
    Held,
    Index,
    held,
    newest_mean,
    suspected,
)
from app.quarantine.store import Entry, held_days
from app.sales.covariates import Places

_CELLS = 4_000_000
_BESIDE = 20_000  # cells from which judging is worth a thread
_NO_DAY = -(2**31)
_ROW = np.dtype([("series", "<i8"), ("day", "<i8"), ("quantity", "<f8"), ("promo", "<f8")])


class Posted:
    """The rows of a post that may be judged, gathered while it is written: new days and changed quantities, the newest alone."""

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []
        self._floor = _NO_DAY

    def note(self, rows: NDArray[Any]) -> None:
        """Rows with the fields series (an id), day, quantity and promo."""
        if not len(rows):
            return
        self._floor = max(self._floor, int(rows["day"].max()) - PAST_DAYS + 1)
        newest = rows[(rows["day"] >= self._floor) & np.isfinite(rows["quantity"])]
        part = np.empty(len(newest), _ROW)
        for name in _ROW.names or ():
            part[name] = newest[name]
        self._parts.append(part)

    def rows(self) -> NDArray[Any]:
        rows = np.concatenate(self._parts) if self._parts else np.empty(0, _ROW)
        return rows[rows["day"] >= self._floor]


@dataclass(frozen=True)
class _Judged:
    """The judged series of a post in the order of their groups, and the first day that the post changed of each."""

    places: Places
    changed_from: Index
    group: Index

    @property
    def ids(self) -> Index:
        return self.places.ids

    def part(self, rows: slice) -> "_Judged":
        of = self.places
        return _Judged(
            Places(of.ids[rows], of.skus[rows], of.locations[rows]), self.changed_from[rows], self.group[rows]
        )


async def judge(driver: asyncpg.Connection, posted: Posted, ids: Index, changed_from: Index) -> list[Entry]:
    """What must be held of a post's rows, before they are counted in `series`.

    `ids` are all series that it changed, ascending, and `changed_from` the first day that it changed of each. Whether the rows
    are written already makes no difference.
    """
    rows = posted.rows()
    rows, series = await _series(driver, rows, ids, changed_from)
    entries: list[Entry] = []
    for part in _batches(series, rows):
        own = rows[np.isin(rows["series"], part.ids)]
        entries += await _judged(driver, part, own)
    return entries


async def _series(
    driver: asyncpg.Connection, rows: NDArray[Any], ids: Index, changed_from: Index
) -> tuple[NDArray[Any], _Judged]:
    """The rows of series that had FEWEST_DAYS days before, on the newest days of all data; and these series, by place."""
    known = await driver.fetch(
        "SELECT s.id, s.sku, s.location, s.first_day - DATE '1970-01-01' AS first,"
        " (SELECT max(last_day) FROM series) - DATE '1970-01-01' AS newest"
        " FROM series s WHERE s.id = ANY($1::int[]) AND s.rows >= $2 ORDER BY s.location, s.id",
        np.unique(rows["series"]).tolist(),
        FEWEST_DAYS,
    )
    newest = known[0]["newest"] if known else _NO_DAY
    rows = rows[rows["day"] > newest - PAST_DAYS]
    first = {number: int(day) for number, day in zip(ids.tolist(), changed_from.tolist(), strict=True)}
    with_rows = set(rows["series"].tolist())
    kept = [row for row in known if row["id"] in with_rows and row["first"] <= first[row["id"]] - FEWEST_DAYS]
    sizes = Counter(row["location"] for row in kept)
    number = {name: at + 1 for at, name in enumerate(sizes) if sizes[name] >= FEWEST_SERIES}
    group = np.array([number.get(row["location"], 0) for row in kept], np.int64)
    order = np.argsort(group, kind="stable")
    kept = [kept[at] for at in order.tolist()]
    places = Places(
        np.array([row["id"] for row in kept], np.int64),
        [row["sku"] for row in kept],
        [row["location"] for row in kept],
    )
    of = _Judged(places, np.array([first[row["id"]] for row in kept], np.int64), group[order])
    return rows[np.isin(rows["series"], of.ids)], of


def _batches(of: _Judged, rows: NDArray[Any]) -> Iterator[_Judged]:
    """Whole groups, as many as come to a bounded number of cells at a time."""
    if not len(of.ids):
        return
    width = PAST_DAYS + int(rows["day"].max() - rows["day"].min()) + 1
    bounds = [0, *(np.flatnonzero(np.diff(of.group)) + 1).tolist(), len(of.ids)]
    first = 0
    for begin, end in pairwise(bounds):
        if begin > first and (end - first) * width > _CELLS:
            yield of.part(slice(first, begin))
            first = begin
    yield of.part(slice(first, len(of.ids)))


async def _judged(driver: asyncpg.Connection, of: _Judged, rows: NDArray[Any]) -> list[Entry]:
    """The entries of some whole groups."""
    low, high = int(rows["day"].min()), int(rows["day"].max())
    quantity_SX = await quantities(driver, of.ids, low - PAST_DAYS, high + REPEATED_DAYS)
    order = np.argsort(of.ids)
    at_N = order[np.searchsorted(of.ids, rows["series"], sorter=order)]
    column_N = rows["day"] - low
    quantity_SX[at_N, PAST_DAYS + column_N] = rows["quantity"]
    judged_SD = np.zeros((len(of.ids), quantity_SX.shape[1] - PAST_DAYS), np.bool_)
    judged_SD[at_N, column_N] = True
    promo_SD = np.zeros(judged_SD.shape, np.bool_)
    promo_SD[at_N, column_N] = np.nan_to_num(rows["promo"]) > 0
    before_SX = np.arange(low - PAST_DAYS, low - PAST_DAYS + quantity_SX.shape[1]) < of.changed_from[:, np.newaxis]
    settled_S = (np.isfinite(quantity_SX) & before_SX).sum(axis=1) >= FEWEST_DAYS
    bounds = [0, *(np.flatnonzero(np.diff(of.group)) + 1).tolist(), len(of.ids)]
    entries: list[Entry] = []
    for begin, end in pairwise(bounds):
        part = slice(begin, end)
        group = Group(quantity_SX[part], judged_SD[part], settled_S[part], low)
        entries += await _of_group(driver, of.part(part), group, promo_SD[part])
    return entries


async def _of_group(driver: asyncpg.Connection, of: _Judged, group: Group, promo_SD: NDArray[np.bool_]) -> list[Entry]:
    beside = group.quantity_SX.size >= _BESIDE
    suspects = await asyncio.to_thread(suspected, group) if beside else suspected(group)
    if not suspects.series_N:
        return []
    facts = await _facts(driver, of, group, suspects, promo_SD)
    found = await asyncio.to_thread(held, group, facts) if beside else held(group, facts)
    return [
        Entry(
            int(of.ids[series]),
            group.first_day + day,
            float(group.quantity_SX[series, PAST_DAYS + day]),
            None if np.isnan(expected) else expected,
            reason,
            detail,
        )
        for series, day, expected, reason, detail in zip(
            found.series_N, found.day_N, found.expected_N, found.reason_N, found.detail_N, strict=True
        )
    ]


async def _facts(
    driver: asyncpg.Connection, of: _Judged, group: Group, suspects: Held, promo_SD: NDArray[np.bool_]
) -> Facts:
    """What is known of the suspects: their year, and what the calendar, holidays and the rest of the place say of the days."""
    series = np.unique(suspects.series_N)
    year_SW = await quantities(driver, of.ids[series], group.first_day - YEAR_DAYS, group.first_day - 1)
    day_W = np.arange(group.first_day - YEAR_DAYS, group.first_day)
    year_SW[day_W >= of.changed_from[series, np.newaxis]] = np.nan
    seen_S, level_S, peak_S = np.zeros(len(of.ids), np.int64), np.zeros(len(of.ids)), np.zeros(len(of.ids))
    seen_S[series] = np.isfinite(year_SW).sum(axis=1)
    level_S[series] = [newest_mean(row) for row in year_SW]
    peak_S[series] = np.max(year_SW, axis=1, initial=0.0, where=np.isfinite(year_SW))
    special_SD, closed_SD = await explained.by_calendar(driver, of.places, group, suspects)
    facts = Facts(seen_S, level_S, peak_S, special_SD | promo_SD, closed_SD)
    quiet_D = await explained.by_others(driver, of.places, group, suspects)
    return replace(facts, explained_SD=closed_SD | quiet_D)


async def quantities(driver: asyncpg.Connection, ids: Index, first: int, last: int) -> Doubles:
    """What some series sold from `first` to `last`, S x days; NaN where it is missing, or held."""
    order = np.argsort(ids)
    quantity_SX = np.full((len(ids), last - first + 1), np.nan)
    series_N, day_N, quantity_N = await copy_out(
        driver,
        f"SELECT s.series_id, s.day, coalesce(s.quantity, 'NaN') FROM unnest({int_array(ids[order])}) AS r (id)"
        f" JOIN sales s ON s.series_id = r.id AND s.day BETWEEN DATE '1970-01-01' + {first} AND DATE '1970-01-01' + {last}",
        ["int4", "date", "float8"],
    )
    quantity_SX[order[np.searchsorted(ids, series_N, sorter=order)], day_N - first] = quantity_N
    series_N, day_N = await held_days(driver, ids, first, last)
    quantity_SX[order[np.searchsorted(ids, series_N, sorter=order)], day_N - first] = np.nan
    return quantity_SX
