"""The first pass over posted sales: every row checked, nothing written to the database, no connection held.

What is good goes to a spool as rows of fixed width; then the spool is sorted by series and day in buckets of whole series, which
finds two rows for one day. Memory stays flat however long the body is: a piece, a bucket, and one entry per series.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from app.names import wrong_with_location, wrong_with_sku
from app.tabular.fields import BadRows, Field
from app.tabular.reading import Piece, beside, floats, pieces
from app.tabular.spool import Body, disk_full_told, spool

VALUES = ("quantity", "returned", "price", "promo", "in_stock")
ROW = np.dtype([("series", "<i4"), ("day", "<i4"), *((name, "<f8") for name in VALUES)])
ROWS_A_BUCKET = 262_144
_ROWS_A_PIECE = 65_536
_EPOCH = date(1970, 1, 1).toordinal()
_MOST_DAYS = 60_000  # more than a series can have days from 1900 on
_FIRST_DAY = date(1900, 1, 1).toordinal() - _EPOCH

SalesRows = NDArray[Any]  # of ROW


def sales_fields(today: date) -> tuple[Field, ...]:
    """The columns of a body of sales."""
    tomorrow = today.toordinal() - _EPOCH + 1
    returns = "Units that came back belong in `returned`."
    return (
        Field("sku", "text", required=True, nullable=False, check=wrong_with_sku),
        Field("location", "text", check=wrong_with_location, default=""),
        Field("date", "day", required=True, nullable=False, low=_FIRST_DAY, high=tomorrow),
        Field("quantity", "number", required=True, low=0, too_low=returns),
        Field("returned", "number", low=0, too_low="It counts the units that came back."),
        Field("price", "number", low=0),
        Field("promo", "flag", low=0, high=1),
        Field("in_stock", "flag", low=0, high=1),
    )


class CheckedSales:
    """A body's good rows, sorted by series and day, on disk.

    `keys` are its series (sku, location) in order, `received` its rows.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.keys: list[tuple[str, str]] = []
        self.received = 0
        self.file = file
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)

    def buckets(self) -> Iterator[SalesRows]:
        """The rows, whole series at a time; `series` indexes `keys`."""
        for first, last in self.bounds():
            yield _read(self.file, first, last - first)

    def location_days(self) -> dict[str, NDArray[np.int64]]:
        """The days, sorted, that the body has for each of its locations."""
        found: dict[str, NDArray[np.int64]] = {}
        for rows in self.buckets():
            first = int(rows["series"][0])
            places = [location for _, location in self.keys[first : int(rows["series"][-1]) + 1]]
            names = {name: number for number, name in enumerate(dict.fromkeys(places))}
            place = np.array([names[name] for name in places])[rows["series"] - first]
            pairs = np.unique((place << 32) | (rows["day"].astype(np.int64) + 2**31))
            for name, days in zip(names, np.split(pairs, np.flatnonzero(np.diff(pairs >> 32)) + 1), strict=True):
                found[name] = np.union1d(found.get(name, days[:0]), (days & 0xFFFFFFFF) - 2**31)
        return found

    def bounds(self) -> list[tuple[int, int]]:
        """Row ranges of the buckets: as many whole series as come to about ROWS_A_BUCKET rows."""
        ends = np.cumsum(self.counts)
        bounds, first = [], 0
        while first < self.received:
            at = max(int(np.searchsorted(ends, first + ROWS_A_BUCKET, "right")) - 1, 0)
            last = int(ends[at]) if ends[at] > first else int(ends[np.searchsorted(ends, first, "right")])
            bounds.append((first, last))
            first = last
        return bounds


@asynccontextmanager
async def checked_sales(body: Body, folder: Path) -> AsyncIterator[CheckedSales]:
    """The rows of a body, all good. Raises the 422 that names the bad ones."""
    with spool(folder) as file, spool(folder) as raw, disk_full_told():
        checked = CheckedSales(file)
        async for _ in beside(_check(body, raw, checked), body.size):
            pass
        yield checked


def _check(body: Body, raw: IO[bytes], checked: CheckedSales) -> Iterator[None]:
    """Fill `checked` from a body, a step at a time, so that the event loop goes on between steps."""
    bad = BadRows()
    index: dict[tuple[str, str], int] = {}
    counts = np.zeros(0, np.int64)
    for piece in pieces(body, sales_fields(datetime.now(UTC).date()), bad, key="sales"):
        if not bad.any:
            rows = _rows(piece, index)
            raw.write(rows.tobytes())
            grown = np.bincount(rows["series"], minlength=len(index))
            grown[: len(counts)] += counts
            counts = grown
            checked.received += len(rows)
            if counts.max() > _MOST_DAYS:  # some day is there twice; a series of any length would not fit a bucket
                break
        yield
    bad.refuse()
    yield from _sort(raw, list(index), counts, checked)


def _rows(piece: Piece, index: dict[tuple[str, str], int]) -> SalesRows:
    rows = np.empty(len(piece), ROW)
    rows["series"] = _series(piece, index)
    rows["day"] = piece.columns["date"].cast("int32").to_numpy(zero_copy_only=False)
    for name in VALUES:
        rows[name] = floats(piece.columns[name])
    return rows


def _series(piece: Piece, index: dict[tuple[str, str], int]) -> NDArray[np.int32]:
    """Each row's series as a number; a series not seen before gets the next one."""
    sku, location = piece.columns["sku"], piece.columns["location"]
    skus, locations = sku.dictionary.to_pylist(), location.dictionary.to_pylist()
    pair = sku.indices.to_numpy().astype(np.int64) * len(locations) + location.indices.to_numpy()
    distinct, of_row = np.unique(pair, return_inverse=True)
    numbers = [
        index.setdefault((skus[code // len(locations)], locations[code % len(locations)]), len(index))
        for code in distinct.tolist()
    ]
    return np.array(numbers, np.int32)[of_row]


def _sort(
    raw: IO[bytes], keys: list[tuple[str, str]], counts: NDArray[np.int64], checked: CheckedSales
) -> Iterator[None]:
    """Bring the rows of `raw` into buckets in the order of the keys, each sorted; raises 422 for a day given twice."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    rank = np.empty(len(keys), np.int32)
    rank[order] = np.arange(len(keys), dtype=np.int32)
    checked.keys = [keys[number] for number in order]
    checked.counts = counts[order]
    bounds = checked.bounds()
    yield from _distribute(raw, checked, rank, bounds)
    twice: list[SalesRows] = []
    for first, last in bounds:
        rows = _read(checked.file, first, last - first)
        rows = rows[np.argsort(day_keys(rows), kind="stable")]
        same = np.flatnonzero(np.diff(day_keys(rows)) == 0)
        twice.append(rows[same[: 100 - sum(map(len, twice))]])
        _write(checked.file, first, rows)
        yield
    if any(map(len, twice)):
        _refuse_repeated(raw, np.concatenate(twice), rank, checked)


def _distribute(
    raw: IO[bytes], checked: CheckedSales, rank: NDArray[np.int32], bounds: list[tuple[int, int]]
) -> Iterator[None]:
    """Copy the rows into the checked file, each into its bucket, series renumbered by rank."""
    ends = np.cumsum(checked.counts)
    next_row = np.array([first for first, _ in bounds])
    starts_after = np.array([last for _, last in bounds])
    for first in range(0, checked.received, _ROWS_A_PIECE):
        rows = _read(raw, first, min(_ROWS_A_PIECE, checked.received - first))
        rows["series"] = rank[rows["series"]]
        bucket = np.searchsorted(starts_after, ends[rows["series"]])
        order = np.argsort(bucket, kind="stable")
        rows, bucket = rows[order], bucket[order]
        for number in np.unique(bucket):
            part = rows[np.searchsorted(bucket, number) : np.searchsorted(bucket, number, "right")]
            _write(checked.file, int(next_row[number]), part)
            next_row[number] += len(part)
        yield


def _refuse_repeated(raw: IO[bytes], twice: SalesRows, rank: NDArray[np.int32], checked: CheckedSales) -> None:
    """Name the rows, found again in the body's order, that are for one series and day."""
    wanted = np.unique(day_keys(twice))
    found: dict[int, list[int]] = {}
    for first in range(0, checked.received, _ROWS_A_PIECE):
        rows = _read(raw, first, min(_ROWS_A_PIECE, checked.received - first))
        rows["series"] = rank[rows["series"]]
        keys = day_keys(rows)
        for at in np.flatnonzero(np.isin(keys, wanted)):
            found.setdefault(int(keys[at]), []).append(first + int(at))
    bad = BadRows()
    for key, numbers in found.items():
        (sku, location), day = checked.keys[key >> 32], date.fromordinal((key & 0xFFFFFFFF) - 2**31 + _EPOCH)
        of = f"{sku!r} at {location!r}" if location else repr(sku)
        for number in numbers:
            other = next(n for n in numbers if n != number)
            bad.row(number, "date", "repeated_day", f"Row {other} too is for {of} on {day}; send each day once.")
    bad.refuse()


def day_keys(rows: NDArray[Any]) -> NDArray[np.int64]:
    """One number for series and day of each row, in their order."""
    return (rows["series"].astype(np.int64) << 32) | (rows["day"].astype(np.int64) + 2**31)


def _read(file: IO[bytes], first: int, count: int) -> SalesRows:
    file.seek(first * ROW.itemsize)
    return np.frombuffer(bytearray(file.read(count * ROW.itemsize)), ROW)


def _write(file: IO[bytes], first: int, rows: SalesRows) -> None:
    file.seek(first * ROW.itemsize)
    file.write(rows.tobytes())
