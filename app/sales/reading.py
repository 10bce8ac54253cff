"""Sales read back in pages, and sales deleted: what GET with the same parameters lists is what DELETE removes.

A delete is a post of kind 'delete' that keeps what it removed. Undoing it is in posts.py, writing sales in write.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import begun
from app.database.filters import Filters
from app.database.pages import Page
from app.quarantine.store import end_replaced

VALUES = "quantity, returned, price, promo, in_stock"
UP_TO_SALES = "day <= coalesce((SELECT max(last_day) FROM series), day)"
"""SQL: whether a `day` is none after the newest with sales. Days of sales that were deleted do not count as the newest."""

# Rows whose present state is younger than a time: written by a post since then, or brought back by an undo since then.
_CHANGED = """
WITH changed AS MATERIALIZED (SELECT id, series_ids FROM posts WHERE created_at >= $1),
restored AS MATERIALIZED (SELECT p.id FROM posts p JOIN changed c ON p.undone_by = c.id)
"""
_IS_CHANGED = """(x.post_id IN (SELECT id FROM changed) OR EXISTS (
    SELECT FROM replaced_sales r
    WHERE r.series_id = x.series_id AND r.day = x.day AND r.post_id IN (SELECT id FROM restored)))"""


@dataclass(frozen=True)
class SalesFilter:
    """Which sales are meant; None stands for any. Days are inclusive."""

    sku: str | None = None
    location: str | None = None
    first: date | None = None
    last: date | None = None

    @property
    def is_empty(self) -> bool:
        return self == SalesFilter()

    def of_series(self, filters: Filters) -> None:
        """Hold `series` (alias s) to those that can have rows in here."""
        filters.equal("s.sku", self.sku)
        filters.equal("s.location", self.location)
        if self.first is not None:
            filters.add("s.last_day >= ?", self.first)
        if self.last is not None:
            filters.add("s.first_day <= ?", self.last)

    def of_days(self, filters: Filters) -> None:
        """Hold `sales` (alias x) to the days."""
        if self.first is not None:
            filters.add("x.day >= ?", self.first)
        if self.last is not None:
            filters.add("x.day <= ?", self.last)


async def sales_page(
    connection: asyncpg.Connection, wanted: SalesFilter, page: Page, *, changed_since: datetime | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of sales by SKU, location and day, and the token of the next page."""
    query, values = page_query(wanted, page, changed_since=changed_since)
    rows = await connection.fetch(query, *values)
    part, token = page.cut("sales", rows, lambda row: (row["sku"], row["location"], row["date"]))
    return [dict(row) for row in part], token


def page_query(wanted: SalesFilter, page: Page, *, changed_since: datetime | None) -> tuple[str, Sequence[Any]]:
    """The statement behind `sales_page`: for each series in turn its days through the primary key, as far as the page goes."""
    filters = Filters()
    days = Filters()
    days.values = filters.values  # one numbering for both clauses
    if changed_since is not None:
        filters.values.append(changed_since)
        filters.add("s.id IN (SELECT unnest(series_ids) FROM changed)")
        days.add(_IS_CHANGED)
    wanted.of_series(filters)
    wanted.of_days(days)
    after = page.after("sales", str, str, date)
    if after is not None:
        sku, location, day = after
        filters.add("(s.sku, s.location) >= (?, ?)", sku, location)
        days.add("((s.sku, s.location) > (?, ?) OR x.day > ?)", sku, location, day)
    limit = filters.numbered("?::bigint", page.limit)
    query = f"""
        {_CHANGED if changed_since is not None else ""}
        SELECT s.sku, s.location, d.day AS date, {", ".join(f"d.{name}" for name in VALUES.split(", "))}
        FROM series s CROSS JOIN LATERAL (
            SELECT x.day, {VALUES} FROM sales x
            WHERE x.series_id = s.id AND {days.where} ORDER BY x.day LIMIT {limit}
        ) d
        WHERE s.rows > 0 AND {filters.where}
        ORDER BY s.sku, s.location, d.day LIMIT {limit}"""
    return query, filters.values


async def delete_sales(
    connection: AsyncConnection, wanted: SalesFilter, *, key_id: int | None
) -> tuple[int, int | None]:
    """Delete what `wanted` means; returns how many rows and the post that keeps them (None where there were none)."""
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    ids = await lock_series(driver, wanted)
    post_id = await next_post_id(driver)
    filters = Filters()
    filters.add("x.series_id = ANY(?::int[])", ids)
    wanted.of_days(filters)
    post = filters.numbered("?::bigint", post_id)
    gone = await driver.fetch(
        f"""
        WITH gone AS (DELETE FROM sales x WHERE {filters.where} RETURNING *),
        kept AS (
            INSERT INTO replaced_sales (series_id, day, post_id, replaced_post_id, {VALUES})
            SELECT series_id, day, {post}, post_id, {VALUES} FROM gone
        )
        SELECT series_id, -count(*) AS delta, min(day) AS first, max(day) AS last FROM gone GROUP BY series_id""",
        *filters.values,
    )
    if not gone:
        return 0, None
    await restate_series(driver, {row["series_id"]: row["delta"] for row in gone})
    first, last = min(row["first"] for row in gone), max(row["last"] for row in gone)
    await end_replaced(driver, [row["series_id"] for row in gone], first, last)
    deleted = -sum(row["delta"] for row in gone)
    await driver.execute(
        "INSERT INTO posts (id, kind, key_id, deleted, series_ids, first_day, last_day)"
        " VALUES ($1, 'delete', $2, $3, $4, $5, $6)",
        post_id,
        key_id,
        deleted,
        sorted(row["series_id"] for row in gone),
        first,
        last,
    )
    return deleted, post_id


async def lock_series(driver: asyncpg.Connection, wanted: SalesFilter) -> list[int]:
    """Lock the series that have rows in here, in id order as every writer does; returns their ids.

    Not FOR UPDATE: forecasts may be stored meanwhile, whose foreign key takes a share of the row's key.
    """
    filters = Filters()
    wanted.of_series(filters)
    rows = await driver.fetch(
        f"SELECT s.id FROM series s WHERE s.rows > 0 AND {filters.where} ORDER BY s.id FOR NO KEY UPDATE",
        *filters.values,
    )
    return [row["id"] for row in rows]


async def next_post_id(driver: asyncpg.Connection) -> int:
    """The id of a post that will be recorded at the end, once its counts are known. Take it while holding the locks."""
    return int(await driver.fetchval("SELECT nextval(pg_get_serial_sequence('posts', 'id'))"))


async def restate_series(driver: asyncpg.Connection, deltas: dict[int, int]) -> None:
    """A new revision of each series whose rows changed: row counts by their differences, first and last day afresh."""
    await driver.execute(
        """
        UPDATE series s SET revision = s.revision + 1, rows = s.rows + changed.delta,
            first_day = (SELECT min(day) FROM sales WHERE series_id = s.id),
            last_day = (SELECT max(day) FROM sales WHERE series_id = s.id)
        FROM unnest($1::int[], $2::bigint[]) AS changed (id, delta)
        WHERE s.id = changed.id""",
        list(deltas),
        list(deltas.values()),
    )
