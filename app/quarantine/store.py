"""The SQL of the quarantine: days held, listed, decided, and ended when another quantity takes their place.

A day is out of learning and forecasts while an entry of it is `held` or `dismissed`; `HOLDING` says so in one place. Whoever
writes entries of a series holds the lock of its row, as every writer of its sales does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.copy import copy_out, int_array
from app.database.filters import Filters
from app.database.pages import Page
from app.quarantine.checks import PAST_DAYS, Index, Reason

Status = Literal["held", "confirmed", "dismissed", "replaced"]
HOLDING = "q.status IN ('held', 'dismissed')"
FREED = "(q.status = 'replaced' AND q.reason <> 'factor' AND q.key_id IS NULL)"
"""SQL: an entry whose day a post gave free, at the time `q.decided_at`."""
_HELD_AS_A_PLACE = "q.status = 'held' AND q.reason <> 'factor'"
STANDING = np.dtype(
    [("series", "<i8"), ("day", "<i8"), ("quantity", "<f8"), ("promo", "<f8"), ("entry", "<i8"), ("zeros", "?")]
)
"""A stored row, and the entry by which it is held for its whole place (-1: none); `zeros`: for that reason."""
_A_STATEMENT = 20_000

_ENTRY = """
    SELECT q.id, s.sku, s.location, q.day AS date, q.quantity, q.expected, q.reason, q.detail, q.status, q.post_id,
        k.name AS key, q.created_at, q.decided_at
    FROM quarantine q JOIN series s ON s.id = q.series_id LEFT JOIN api_keys k ON k.id = q.key_id"""


@dataclass(frozen=True)
class Entry:
    """A day to hold; `day` is a day number."""

    series_id: int
    day: int
    quantity: float
    expected: float | None
    reason: Reason
    detail: str


# For a query over `series s` whose $1 are ids of series: `h.held_out`, every day held of each, as JSON; null where there is none.
# One look at the table however it is planned: asked series by series, a plan made while it was empty would read all for each.
HELD_OUT_JOIN = f"""
    LEFT JOIN (
        SELECT q.series_id, jsonb_agg(
            jsonb_build_object('date', q.day, 'quantity', q.quantity, 'reason', q.reason) ORDER BY q.day)::text AS held_out
        FROM quarantine q WHERE q.series_id = ANY($1::int[]) AND {HOLDING} GROUP BY q.series_id
    ) h ON h.series_id = s.id"""


def not_held(sales: str) -> str:
    """SQL that holds for the rows of `sales` (its alias) that are not held."""
    return (
        f"NOT EXISTS (SELECT FROM quarantine q WHERE q.series_id = {sales}.series_id AND q.day = {sales}.day"
        f" AND {HOLDING})"
    )


async def held_days(
    driver: asyncpg.Connection,
    ids: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    first: int | None = None,
    last: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Series id and day number of every day held, or of those of some series between two days (inclusive)."""
    wanted = [HOLDING]
    wanted += [f"q.series_id = ANY({int_array(ids)})"] if ids is not None else []
    wanted += [f"q.day >= DATE '1970-01-01' + {int(first)}"] if first is not None else []
    wanted += [f"q.day <= DATE '1970-01-01' + {int(last)}"] if last is not None else []
    query = f"SELECT q.series_id, q.day FROM quarantine q WHERE {' AND '.join(wanted)}"
    series_N, day_N = await copy_out(driver, query, ["int4", "date"])
    return series_N, day_N


async def confirmed_days(
    driver: asyncpg.Connection, ids: Index, first: int, last: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Series id, day number and what was usual of the days that were held for their whole place, as another unit or as zeros,
    and confirmed."""
    query = (
        "SELECT q.series_id, q.day, coalesce(q.expected, 'NaN') FROM quarantine q"
        f" WHERE q.status = 'confirmed' AND q.reason IN ('units', 'zeros') AND q.series_id = ANY({int_array(ids)})"
        f" AND q.day BETWEEN DATE '1970-01-01' + {int(first)} AND DATE '1970-01-01' + {int(last)}"
    )
    series_N, day_N, expected_N = await copy_out(driver, query, ["int4", "date", "float8"])
    return series_N, day_N, expected_N


async def any_place_held(driver: asyncpg.Connection) -> bool:
    """Whether anything at all is held for what was said of a whole place."""
    return bool(await driver.fetchval(f"SELECT EXISTS (SELECT FROM quarantine q WHERE {_HELD_AS_A_PLACE})"))


async def places_held(
    driver: asyncpg.Connection, locations: Sequence[str], first: int, last: int
) -> list[tuple[str, int]]:
    """Location and day number of each day, of some locations from `first` to `last`, of which something is held for what was said
    of its whole place."""
    rows = await driver.fetch(
        "SELECT DISTINCT s.location, q.day - DATE '1970-01-01' FROM series s JOIN quarantine q ON q.series_id = s.id"
        f" WHERE s.location = ANY($1::text[]) AND q.day BETWEEN DATE '1970-01-01' + {int(first)}"
        f" AND DATE '1970-01-01' + {int(last)} AND {_HELD_AS_A_PLACE}",
        locations,
    )
    return [(row[0], row[1]) for row in rows]


async def stored_of_place(driver: asyncpg.Connection, location: str, days: Sequence[int]) -> NDArray[Any]:
    """What is stored of a location on some days, with the entry that holds it for its whole place; STANDING."""
    rows = await driver.fetch(
        f"""
        SELECT x.series_id, x.day - DATE '1970-01-01', x.quantity, coalesce(x.promo, 'NaN'), coalesce(q.id, -1),
            coalesce(q.reason = 'zeros', false)
        FROM unnest($2::int[]) AS d (day) CROSS JOIN series s
        JOIN sales x ON x.series_id = s.id AND x.day = DATE '1970-01-01' + d.day
        LEFT JOIN quarantine q ON q.series_id = x.series_id AND q.day = x.day AND {_HELD_AS_A_PLACE}
        WHERE s.location = $1 AND x.quantity IS NOT NULL ORDER BY x.series_id, x.day""",
        location,
        list(days),
    )
    return np.array([tuple(row) for row in rows], STANDING)


async def write_entries(driver: asyncpg.Connection, entries: Sequence[Entry], posts: Sequence[int]) -> None:
    """Hold days, each written by the post of the same place in `posts`."""
    for start in range(0, len(entries), _A_STATEMENT):
        part = entries[start : start + _A_STATEMENT]
        await driver.execute(
            "INSERT INTO quarantine (series_id, day, quantity, expected, reason, detail, post_id)"
            " SELECT u.series_id, DATE '1970-01-01' + u.day, u.quantity, u.expected, u.reason, u.detail, u.post_id"
            " FROM unnest($1::int[], $2::int[], $3::float8[], $4::float8[], $5::text[], $6::text[], $7::bigint[])"
            " AS u (series_id, day, quantity, expected, reason, detail, post_id)",
            [entry.series_id for entry in part],
            [entry.day for entry in part],
            [entry.quantity for entry in part],
            [entry.expected for entry in part],
            [entry.reason for entry in part],
            [entry.detail for entry in part],
            posts[start : start + _A_STATEMENT],
        )


async def end_replaced(
    driver: asyncpg.Connection, ids: Sequence[int] | Index, first: date | int, last: date | int
) -> None:
    """End the entries, of some series between two days, whose quantity is no longer the one that stands there.

    Who confirmed them, and when, stays with them: by that an undo knows that they were confirmed.
    """
    await driver.execute(
        f"""
        UPDATE quarantine q SET status = 'replaced', decided_at = CASE q.status WHEN 'confirmed' THEN q.decided_at END,
            key_id = CASE q.status WHEN 'confirmed' THEN q.key_id END
        WHERE q.status <> 'replaced' AND q.series_id = ANY($1::int[])
        AND q.day BETWEEN {_as_day("$2", first)} AND {_as_day("$3", last)} AND NOT EXISTS (
            SELECT FROM sales x WHERE x.series_id = q.series_id AND x.day = q.day AND x.quantity = q.quantity)""",
        list(ids) if isinstance(ids, Sequence) else ids.tolist(),
        first,
        last,
    )


async def end_freed(driver: asyncpg.Connection, entries: Sequence[int], post_id: int) -> None:
    """End entries whose day is true as it stands since a post. They keep its time: by that its undo knows them, and updates
    know that their day was given free."""
    await driver.execute(
        "UPDATE quarantine q SET status = 'replaced', decided_at = p.created_at, key_id = NULL FROM posts p"
        " WHERE p.id = $2 AND q.id = ANY($1::bigint[])",
        entries,
        post_id,
    )


async def renew(driver: asyncpg.Connection, ids: Sequence[int]) -> None:
    """A new revision of some series, so that no stored forecast of them is fresh."""
    await driver.execute("UPDATE series SET revision = revision + 1 WHERE id = ANY($1::int[])", ids)


async def restore_entries(driver: asyncpg.Connection, ids: Sequence[int], undone: int, by: int) -> None:
    """After the post `by` has undone another: the days to which that gave another quantity are confirmed again where they were,
    else held, if their quantity had an entry when it went."""
    await driver.execute(
        """
        UPDATE quarantine q SET status = CASE WHEN q.decided_at IS NULL THEN 'held' ELSE 'confirmed' END FROM (
            SELECT DISTINCT ON (r.series_id, r.day) r.id
            FROM replaced_sales t JOIN quarantine r USING (series_id, day) JOIN sales x USING (series_id, day)
            WHERE t.post_id = $2 AND t.series_id = ANY($1::int[]) AND r.quantity = x.quantity AND NOT EXISTS (
                SELECT FROM quarantine other
                WHERE other.series_id = r.series_id AND other.day = r.day AND other.status <> 'replaced')
            AND NOT EXISTS (
                SELECT FROM replaced_sales gone WHERE gone.series_id = r.series_id AND gone.day = r.day
                AND gone.post_id = $3 AND gone.quantity = x.quantity)
            ORDER BY r.series_id, r.day, r.id DESC
        ) newest WHERE q.id = newest.id AND NOT ("""
        + FREED  # and stays so: nobody has confirmed it
        + """ AND EXISTS (SELECT FROM posts p WHERE p.created_at = q.decided_at))""",
        ids,
        undone,
        by,
    )


async def hold_freed(driver: asyncpg.Connection, ids: Sequence[int], freed_at: datetime) -> list[int]:
    """Hold again what the post of that time gave free, as far as nothing else was said of it since; returns the series."""
    rows = await driver.fetch(
        f"""
        UPDATE quarantine q SET status = 'held', decided_at = NULL FROM sales x
        WHERE {FREED} AND q.decided_at = $2 AND q.series_id = ANY($1::int[])
        AND x.series_id = q.series_id AND x.day = q.day AND x.quantity = q.quantity AND NOT EXISTS (
            SELECT FROM quarantine other
            WHERE other.series_id = q.series_id AND other.day = q.day AND other.status <> 'replaced')
        RETURNING q.series_id""",
        ids,
        freed_at,
    )
    return sorted({row[0] for row in rows})


async def series_freed(driver: asyncpg.Connection, freed_at: datetime) -> list[int]:
    """The series of which the post of that time gave days free."""
    rows = await driver.fetch(
        f"SELECT DISTINCT q.series_id FROM quarantine q WHERE {FREED} AND q.decided_at = $1", freed_at
    )
    return [row[0] for row in rows]


def _as_day(parameter: str, value: date | int) -> str:
    return f"DATE '1970-01-01' + {parameter}::int" if isinstance(value, int) else f"{parameter}::date"


@dataclass(frozen=True)
class EntryFilter:
    """Which entries are meant; None stands for any. Days are inclusive."""

    sku: str | None = None
    location: str | None = None
    status: Status | None = None
    reason: Reason | None = None
    post_id: int | None = None
    first: date | None = None
    last: date | None = None

    def of_entries(self, filters: Filters) -> None:
        """Hold `quarantine` (alias q) and `series` (alias s) to them."""
        named = {
            "s.sku": self.sku,
            "s.location": self.location,
            "q.status": self.status,
            "q.reason": self.reason,
            "q.post_id": self.post_id,
        }
        for column, value in named.items():
            filters.equal(column, value)
        if self.first is not None:
            filters.add("q.day >= ?", self.first)
        if self.last is not None:
            filters.add("q.day <= ?", self.last)


async def entries_page(
    connection: asyncpg.Connection, wanted: EntryFilter, page: Page
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of entries, newest first, and the token of the next page."""
    filters = Filters()
    wanted.of_entries(filters)
    after = page.after("entries", int)
    if after is not None:
        filters.add("q.id < ?", *after)
    limit = filters.numbered("?::bigint", page.limit)
    rows = await connection.fetch(f"{_ENTRY} WHERE {filters.where} ORDER BY q.id DESC LIMIT {limit}", *filters.values)
    part, token = page.cut("entries", rows, lambda row: (row["id"],))
    return [dict(row) for row in part], token


async def entry(driver: asyncpg.Connection, entry_id: int) -> dict[str, Any] | None:
    """One entry as it is listed; None when there is no such one."""
    row = await driver.fetchrow(f"{_ENTRY} WHERE q.id = $1", entry_id)
    return None if row is None else dict(row)


async def remove_replaced(connection: AsyncConnection) -> int:
    """Remove entries that have ended, of days more than PAST_DAYS before the newest posted one; returns how many."""
    removed = await connection.execute(
        text("""
        DELETE FROM quarantine WHERE status = 'replaced'
        AND day < (SELECT max(last_day) FROM series) - CAST(:days AS int)"""),
        {"days": PAST_DAYS},
    )
    return removed.rowcount
