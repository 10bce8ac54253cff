"""The SQL behind posting sales: series found or made and locked, stored rows read, new and changed rows written.

Rows travel as NumPy arrays through binary COPY. Every function takes the driver inside an open transaction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.database.copy import Column, Kind, copy_in, copy_out, int_array
from app.sales.validate import ROW, VALUES, SalesRows

Ints = NDArray[np.int64]

STORED = np.dtype([*ROW.descr, ("post_id", "<i8")])  # here `series` is the series' id
NO_DAY = -(2**31)
_A_STATEMENT = 20_000
_VALUES = ", ".join(VALUES)
_NEVER_NULL = ", ".join(f"coalesce(s.{name}, 'NaN')" for name in VALUES)
_STORED_KINDS: list[Kind] = ["int4", "date", "int8", "float8", "float8", "float8", "float8", "float8"]

_INSERT_MISSING = """
    INSERT INTO series (sku, location)
    SELECT k.sku, k.location FROM unnest($1::text[], $2::text[]) AS k (sku, location)
    WHERE NOT EXISTS (SELECT FROM series s WHERE s.sku = k.sku AND s.location = k.location)
    ORDER BY k.sku, k.location
    ON CONFLICT DO NOTHING"""
_LOCK = """
    SELECT id FROM series WHERE id IN (
        SELECT s.id FROM unnest($1::text[], $2::text[]) AS k (sku, location) JOIN series s USING (sku, location)
        UNION ALL SELECT s.id FROM series s WHERE s.location = ANY($3::text[])
    ) ORDER BY id FOR NO KEY UPDATE"""
_FOUND = """
    SELECT k.number, s.id, s.rows, s.first_day - DATE '1970-01-01' AS first, s.last_day - DATE '1970-01-01' AS last
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (sku, location, number) JOIN series s USING (sku, location)"""


@dataclass(frozen=True)
class SeriesState:
    """Series in the order they were asked for: id (-1: not there), rows so far, first and last day."""

    ids: Ints
    rows: Ints
    first: Ints
    last: Ints


async def locked_series(
    driver: asyncpg.Connection, keys: Sequence[tuple[str, str]], also_at: Sequence[str]
) -> SeriesState:
    """Make the series that are not there, then lock them, and all at the locations `also_at`, in the order of their ids.

    One that is deleted meanwhile is gone, or made anew by somebody else, once its lock would be ours: then all is let go and
    begun again, since whoever made it may wait for what we hold.
    """
    while True:
        # A savepoint: what was locked or made in it is free again once it is rolled back.
        attempt = driver.transaction()
        await attempt.start()
        state = await _made_and_locked(driver, keys, also_at)
        if state is not None:
            await attempt.commit()
            return state
        await attempt.rollback()


async def _made_and_locked(
    driver: asyncpg.Connection, keys: Sequence[tuple[str, str]], also_at: Sequence[str]
) -> SeriesState | None:
    """None where a series was deleted between two of the statements."""
    skus, locations = [sku for sku, _ in keys], [location for _, location in keys]
    # Sorted, as every post does it: two posts that make the same series wait for each other in one order only.
    await driver.execute(_INSERT_MISSING, skus, locations)
    # Not FOR UPDATE: a forecast may be stored meanwhile, whose foreign key takes a share of the row's key.
    locked = await driver.fetch(_LOCK, skus, locations, list(also_at))
    state = await series_state(driver, keys)
    ours = np.array([row["id"] for row in locked], np.int64)
    return state if np.isin(state.ids, ours).all() else None


async def series_state(driver: asyncpg.Connection, keys: Sequence[tuple[str, str]]) -> SeriesState:
    """The series as they stand."""
    rows = await driver.fetch(_FOUND, [sku for sku, _ in keys], [location for _, location in keys])
    count = len(keys)
    state = SeriesState(
        np.full(count, -1, np.int64), np.zeros(count, np.int64), np.full(count, NO_DAY), np.full(count, NO_DAY)
    )
    at = np.array([row["number"] - 1 for row in rows], dtype=np.int64)
    state.ids[at] = [row["id"] for row in rows]
    state.rows[at] = [row["rows"] for row in rows]
    state.first[at] = [NO_DAY if row["first"] is None else row["first"] for row in rows]
    state.last[at] = [NO_DAY if row["last"] is None else row["last"] for row in rows]
    return state


async def prepare_bulk(driver: asyncpg.Connection) -> None:
    """For the rest of this transaction a statement may take its time, and may wait for a lock as long as the request may."""
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL jit = off")


async def find_by_key(driver: asyncpg.Connection) -> None:
    """For the rest of this transaction rows are found through the primary key: tables just filled have no statistics yet."""
    await driver.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")


async def stored_rows(driver: asyncpg.Connection, ids: Ints, lows: Ints, highs: Ints) -> NDArray[Any]:
    """Rows of `sales` in ranges of days (inclusive), one range for each element; STORED, sorted by series and day."""
    parts = []
    for part in _parts(len(ids)):
        ranges = ", ".join(int_array(values[part]) for values in (ids, lows, highs))
        query = (
            f"SELECT s.series_id, s.day, s.post_id, {_NEVER_NULL} FROM unnest({ranges}) AS r (id, low, high)"
            " JOIN sales s ON s.series_id = r.id"
            " AND s.day BETWEEN DATE '1970-01-01' + r.low AND DATE '1970-01-01' + r.high"
        )
        series, day, post_id, *values = await copy_out(driver, query, _STORED_KINDS)
        rows = np.empty(len(series), STORED)
        rows["series"], rows["day"], rows["post_id"] = series, day, post_id
        for name, column in zip(VALUES, values, strict=True):
            rows[name] = column
        parts.append(rows)
    found = np.concatenate(parts) if parts else np.empty(0, STORED)
    return found[np.lexsort((found["day"], found["series"]))]


async def insert_rows(driver: asyncpg.Connection, rows: SalesRows, post_id: int) -> None:
    """Add rows for days that have none; `series` is the series' id."""
    await copy_in(driver, "sales", [*_keys(rows), ("post_id", "int8", np.full(len(rows), post_id)), *_values(rows)])


async def replace_rows(driver: asyncpg.Connection, old: NDArray[Any], new: SalesRows, post_id: int) -> None:
    """Put `new` in the place of `old` (same series and days, in the same order) and keep what stood there."""
    kept: list[Column] = [
        *_keys(old),
        ("post_id", "int8", np.full(len(old), post_id)),
        ("replaced_post_id", "int8", old["post_id"]),
        *_values(old),
    ]
    await copy_in(driver, "replaced_sales", kept)
    sets = ", ".join(f"{name} = nullif(r.{name}, 'NaN')" for name in VALUES)
    for part in _parts(len(new)):
        await driver.execute(
            f"UPDATE sales s SET post_id = $1, {sets} FROM unnest($2::int[], $3::int[], $4::float8[], $5::float8[],"
            f" $6::float8[], $7::float8[], $8::float8[]) AS r (id, day, {_VALUES})"
            " WHERE s.series_id = r.id AND s.day = DATE '1970-01-01' + r.day",
            post_id,
            *(new[name][part].tolist() for name in ROW.names or ()),
        )


async def restate(driver: asyncpg.Connection, ids: Ints, added: Ints, first: Ints, last: Ints) -> None:
    """A new revision of each series whose rows changed, with its count and its first and last day."""
    for part in _parts(len(ids)):
        await driver.execute(
            "UPDATE series s SET revision = s.revision + 1, rows = s.rows + c.added,"
            " first_day = least(s.first_day, DATE '1970-01-01' + c.first),"
            " last_day = greatest(s.last_day, DATE '1970-01-01' + c.last)"
            " FROM unnest($1::int[], $2::bigint[], $3::int[], $4::int[]) AS c (id, added, first, last)"
            " WHERE s.id = c.id",
            *(values[part].tolist() for values in (ids, added, first, last)),
        )


@dataclass(frozen=True)
class Post:
    """The record of an accepted body of sales."""

    post_id: int
    key_id: int | None
    content_type: str | None
    complete: bool
    received: int
    inserted: int
    updated: int
    unchanged: int
    completed: int


async def record_post(driver: asyncpg.Connection, post: Post, ids: Ints, first: int | None, last: int | None) -> None:
    """Write down a post and which part of `sales` it touched."""
    await driver.execute(
        "INSERT INTO posts (id, kind, key_id, content_type, complete, received, inserted, updated, unchanged, completed,"
        " series_ids, first_day, last_day) VALUES ($1, 'sales', $2, $3, $4, $5, $6, $7, $8, $9, $10,"
        " DATE '1970-01-01' + $11::int, DATE '1970-01-01' + $12::int)",
        post.post_id,
        post.key_id,
        post.content_type,
        post.complete,
        post.received,
        post.inserted,
        post.updated,
        post.unchanged,
        post.completed,
        ids.tolist(),
        first,
        last,
    )


@dataclass(frozen=True)
class Shelf:
    """The series of one location: ids, and the day from which each is discontinued (a day past all others: never)."""

    ids: Ints
    ends: Ints


async def shelf(driver: asyncpg.Connection, location: str) -> Shelf:
    """Every series with sales at a location, by id."""
    rows = await driver.fetch(
        "SELECT s.id, i.discontinued_on - DATE '1970-01-01' AS ended FROM series s LEFT JOIN items i USING (sku)"
        " WHERE s.location = $1 ORDER BY s.id",
        location,
    )
    ends = [2**31 if row["ended"] is None else row["ended"] for row in rows]
    return Shelf(np.array([row["id"] for row in rows], np.int64), np.array(ends, np.int64))


async def sold_days(
    driver: asyncpg.Connection, ids: Ints, first: int, last: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Rows of some series from `first` to `last`: series id, day, and whether something was sold."""
    series, day, sold = await copy_out(
        driver,
        f"SELECT s.series_id, s.day, (s.quantity IS NOT NULL AND s.quantity > 0)::int FROM unnest({int_array(ids)}) AS r (id)"
        " JOIN sales s ON s.series_id = r.id"
        f" AND s.day BETWEEN DATE '1970-01-01' + {int(first)} AND DATE '1970-01-01' + {int(last)}",
        ["int4", "date", "int4"],
    )
    return series, day, sold > 0


def _keys(rows: NDArray[Any]) -> list[Column]:
    return [("series_id", "int4", rows["series"]), ("day", "date", rows["day"])]


def _values(rows: NDArray[Any]) -> list[Column]:
    return [(name, "float8", rows[name]) for name in VALUES]


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _A_STATEMENT):
        yield slice(start, start + _A_STATEMENT)
