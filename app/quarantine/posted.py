"""What of a post may be judged: the rows it wrote, their series by place, and those of them that are looked at first.

Beside them lie rows that it did not write, where what was held of a place's day is to be judged again (again.py).

Shapes: S series, N rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.quarantine.checks import FEWEST_DAYS, FEWEST_SERIES, FEWEST_UNITS, PAST_DAYS, Flags, Index
from app.sales.covariates import Places

SAMPLE = 256
"""Series by which a larger place is looked at; its others are read once these say that something is wrong."""
_CELLS = 4_000_000
_NO_DAY = -(2**31)
_ROW = np.dtype([("series", "<i8"), ("day", "<i8"), ("quantity", "<f8"), ("promo", "<f8")])


class Posted:
    """The rows of a post that may be judged, gathered while it is written: new days and changed quantities, the newest alone.

    What is known of a series ends before the first of its days that is told here, however old.
    """

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []
        self._series: list[Index] = []
        self._first: list[Index] = []
        self._floor = _NO_DAY

    def note(self, rows: NDArray[Any]) -> None:
        """Rows with the fields series (an id), day, quantity and promo."""
        if not len(rows):
            return
        self._floor = max(self._floor, int(rows["day"].max()) - PAST_DAYS + 1)
        rows = rows[np.isfinite(rows["quantity"])]
        if not len(rows):
            return
        begins = np.flatnonzero(np.r_[True, np.diff(rows["series"]) != 0])
        self._series.append(rows["series"][begins].astype(np.int64))
        self._first.append(np.minimum.reduceat(rows["day"].astype(np.int64), begins))
        newest = rows[rows["day"] >= self._floor]
        part = np.empty(len(newest), _ROW)
        for name in _ROW.names or ():
            part[name] = newest[name]
        self._parts.append(part)

    def rows(self) -> NDArray[Any]:
        rows = np.concatenate(self._parts) if self._parts else np.empty(0, _ROW)
        return rows[rows["day"] >= self._floor]

    def changed_from(self, ids: Index) -> Index:
        """The first day told of each of these series, which ascend and are among those of `rows`."""
        first = np.full(len(ids), 2**31)
        if len(ids):
            series = np.concatenate(self._series)
            known = np.isin(series, ids)
            np.minimum.at(first, np.searchsorted(ids, series[known]), np.concatenate(self._first)[known])
        return first


@dataclass(frozen=True)
class Candidates:
    """Rows that may be held, and their S series in the order of groups, each with the first day that the post changed."""

    places: Places
    changed_from_S: Index
    group_S: Index
    rows_N: NDArray[Any]

    @property
    def ids(self) -> Index:
        return self.places.ids

    def of(self, series: Index) -> "Candidates":
        """Some of the series, by their places in the order, with their rows."""
        ids, skus, locations = self.places.ids, self.places.skus, self.places.locations
        places = Places(ids[series], [skus[i] for i in series], [locations[i] for i in series])
        rows_N = self.rows_N[np.isin(self.rows_N["series"], places.ids)]
        return Candidates(places, self.changed_from_S[series], self.group_S[series], rows_N)

    def groups(self) -> list[Index]:
        """The series of each group."""
        return np.split(np.arange(len(self.ids)), np.flatnonzero(np.diff(self.group_S)) + 1)

    def place_of_rows(self) -> Index:
        """Where in the order the series of each row is."""
        order = np.argsort(self.ids)
        found: Index = order[np.searchsorted(self.ids, self.rows_N["series"], sorter=order)]
        return found

    def batches(self) -> Iterator["Candidates"]:
        """Whole groups, as many as come to a bounded number of cells at a time."""
        if not len(self.ids):
            return
        width = PAST_DAYS + int(np.ptp(self.rows_N["day"])) + 1
        together: list[Index] = []
        for group in self.groups():
            if together and sum(map(len, [*together, group])) * width > _CELLS:
                yield self.of(np.concatenate(together))
                together = []
            together.append(group)
        yield self.of(np.concatenate(together))

    def looked_at(self) -> Index:
        """The series that are looked at first: those with a day that could be a `factor`, and of each group a sample.

        Half of a sample sold most, half are spread evenly: what is wrong with a whole place shows in both.
        """
        most_S = np.zeros(len(self.ids))
        np.maximum.at(most_S, self.place_of_rows(), self.rows_N["quantity"])
        looked_S: Flags = most_S > FEWEST_UNITS
        for group in self.groups():
            if len(group) <= SAMPLE:
                looked_S[group] = True
            else:
                looked_S[group[np.argsort(most_S[group])[-SAMPLE // 2 :]]] = True
                looked_S[group[np.linspace(0, len(group) - 1, SAMPLE // 2).astype(np.int64)]] = True
        return np.flatnonzero(looked_S)

    def told_of_places(self) -> NDArray[Any]:
        """The rows of days of which a group has FEWEST_SERIES rows or more: of others nothing is said as a whole."""
        day_N = (self.group_S[self.place_of_rows()] << 32) | (self.rows_N["day"] + 2**31)
        _, inverse, count = np.unique(day_N, return_inverse=True, return_counts=True)
        return self.rows_N[count[inverse] >= FEWEST_SERIES]


async def candidates(driver: asyncpg.Connection, posted: Posted) -> Candidates:
    """Rows on the newest days of all data, of series that had FEWEST_DAYS days before the post's first change of them.

    Locations with fewer than FEWEST_SERIES such series are one group together.
    """
    rows_N = posted.rows()
    known = await driver.fetch(
        "SELECT s.id, s.sku, s.location, s.first_day - DATE '1970-01-01',"
        " (SELECT max(last_day) FROM series) - DATE '1970-01-01' AS newest"
        " FROM series s WHERE s.id = ANY($1::int[]) AND s.rows >= $2 ORDER BY s.id",
        np.unique(rows_N["series"]).tolist(),
        FEWEST_DAYS,
    )
    newest = known[0]["newest"] if known else _NO_DAY
    rows_N = rows_N[rows_N["day"] > newest - PAST_DAYS]
    id_S = np.array([row[0] for row in known], np.int64)
    changed_S = posted.changed_from(id_S)
    kept_S = np.isin(id_S, rows_N["series"]) & (np.array([row[3] for row in known]) <= changed_S - FEWEST_DAYS)
    location_S = np.array([row[2] for row in known], object)
    names, number_S = np.unique(location_S[kept_S].astype(str), return_inverse=True)
    size_S = np.bincount(number_S, minlength=len(names))[number_S]
    group_S = np.where(size_S >= FEWEST_SERIES, number_S + 1, 0)
    order = np.argsort(group_S, kind="stable")
    series = np.flatnonzero(kept_S)[order].tolist()
    places = Places(id_S[series], [known[i][1] for i in series], [known[i][2] for i in series])
    return Candidates(places, changed_S[series], group_S[order], rows_N[np.isin(rows_N["series"], places.ids)])
