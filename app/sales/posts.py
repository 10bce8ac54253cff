"""Posts listed, and posts undone: the history that every write keeps is what an undo gives back.

`replaced_sales` is never rewritten: an undo adds the values that it takes away under its own id, so what a series looked like
at any time stays known. A restored row gets back the id of the post that had written it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import begun
from app.database.filters import Filters
from app.database.pages import Page
from app.errors import MAX_NAMED_ERRORS, Problem
from app.quarantine.store import end_replaced, hold_freed, renew, restore_entries, series_freed
from app.sales.reading import VALUES, next_post_id, restate_series

_POST = """
    SELECT p.id AS post_id, p.kind, k.name AS key, p.content_type, p.complete, p.received, p.inserted, p.updated, p.unchanged,
        p.completed, p.deleted, cardinality(p.series_ids) AS series, p.first_day, p.last_day, p.undone_by,
        (SELECT undone.id FROM posts undone WHERE undone.undone_by = p.id) AS undoes, p.created_at
    FROM posts p LEFT JOIN api_keys k ON k.id = p.key_id"""

_RESTORED = ", ".join(f"{name} = r.{name}" for name in VALUES.split(", "))

# Rows that the post $1 touched and that are no longer as it left them, with the post that touched them last.
_TOUCHED_SINCE_SALES = """
    SELECT r.series_id, r.day, x.post_id FROM (
        SELECT DISTINCT series_id, day FROM replaced_sales
        WHERE post_id = $1 OR (replaced_post_id = $1 AND series_id = ANY($2::int[]) AND day BETWEEN $3 AND $4)
    ) r LEFT JOIN sales x USING (series_id, day)
    WHERE x.post_id IS DISTINCT FROM $1"""
_TOUCHED_SINCE_DELETE = """
    SELECT r.series_id, r.day, x.post_id FROM replaced_sales r LEFT JOIN sales x USING (series_id, day)
    WHERE r.post_id = $1 AND r.series_id = ANY($2::int[]) AND r.day BETWEEN $3 AND $4
    AND (x.post_id IS NOT NULL OR EXISTS (
        SELECT FROM replaced_sales later JOIN posts p ON p.id = later.post_id AND p.kind = 'delete' AND p.undone_by IS NULL
        WHERE later.series_id = r.series_id AND later.day = r.day AND later.post_id > $1))"""


async def posts_page(
    connection: asyncpg.Connection, page: Page, *, kind: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of posts, newest first, and the token of the next page."""
    filters = Filters()
    filters.equal("p.kind", kind)
    after = page.after("posts", int)
    if after is not None:
        filters.add("p.id < ?", *after)
    limit = filters.numbered("?::bigint", page.limit)
    rows = await connection.fetch(f"{_POST} WHERE {filters.where} ORDER BY p.id DESC LIMIT {limit}", *filters.values)
    part, token = page.cut("posts", rows, lambda row: (row["post_id"],))
    return [dict(row) for row in part], token


@dataclass(frozen=True)
class _Undoing:
    """A post that is being undone, the part of `sales` that it touched, and the post that undoes it."""

    post_id: int
    kind: str
    series_ids: list[int]  # those that are still there, all locked
    gone: int  # how many are not
    first: Any
    last: Any
    by: int
    posted_at: datetime
    freed_ids: list[int]  # series of which it gave held days free: locked too

    @property
    def part(self) -> tuple[int, list[int], Any, Any]:
        return self.post_id, self.series_ids, self.first, self.last


async def undo_post(connection: AsyncConnection, post_id: int, *, key_id: int | None) -> dict[str, Any]:
    """Give back what a post replaced or deleted and take away what it added; returns the post that did it.

    Raises not_found (404) for no such post; conflict (409) when it was undone before, is itself an undo, or a later post
    touched one of its rows (up to 100 are named). Series deleted since are passed over and counted as `series_gone`.
    """
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    undoing = await _locked(driver, post_id)
    await _refuse_touched(driver, undoing)
    restore = _restore_deleted if undoing.kind == "delete" else _restore_replaced
    counts, deltas = await restore(driver, undoing)
    if deltas:
        await end_replaced(driver, list(deltas), undoing.first, undoing.last)
        await restore_entries(driver, list(deltas), post_id, undoing.by)
    held = await hold_freed(driver, undoing.freed_ids, undoing.posted_at)
    await renew(driver, [series for series in held if series not in deltas])  # the others get theirs now
    await restate_series(driver, deltas)
    await driver.execute(
        "INSERT INTO posts (id, kind, key_id, inserted, updated, deleted, series_ids, first_day, last_day)"
        " VALUES ($1, 'undo', $2, $3, $4, $5, $6, $7, $8)",
        undoing.by,
        key_id,
        *(counts.get(name, 0) for name in ("inserted", "updated", "deleted")),
        sorted(deltas),
        undoing.first,
        undoing.last,
    )
    await driver.execute("UPDATE posts SET undone_by = $2 WHERE id = $1", post_id, undoing.by)
    row = await driver.fetchrow(f"{_POST} WHERE p.id = $1", undoing.by)
    return {**row, "series_gone": undoing.gone}


async def _locked(driver: asyncpg.Connection, post_id: int) -> _Undoing:
    """The post with its series locked, once it is sure that it may be undone at all."""
    post = await driver.fetchrow(
        "SELECT kind, undone_by, series_ids, first_day, last_day, created_at FROM posts WHERE id = $1 FOR UPDATE",
        post_id,
    )
    if post is None:
        raise Problem("not_found", f"There is no post {post_id}; GET /v1/posts lists them.")
    if post["kind"] == "undo":
        raise Problem("conflict", f"Post {post_id} is itself an undo, which cannot be undone; post the sales again.")
    if post["undone_by"] is not None:
        raise Problem("conflict", f"Post {post_id} was already undone, by post {post['undone_by']}.")
    freed = await series_freed(driver, post["created_at"])
    rows = await driver.fetch(
        "SELECT id FROM series WHERE id = ANY($1::int[]) ORDER BY id FOR NO KEY UPDATE", [*post["series_ids"], *freed]
    )
    own = set(post["series_ids"])
    found = [row["id"] for row in rows if row["id"] in own]
    return _Undoing(
        post_id=post_id,
        kind=post["kind"],
        series_ids=found,
        gone=len(post["series_ids"]) - len(found),
        first=post["first_day"],
        last=post["last_day"],
        by=await next_post_id(driver),
        posted_at=post["created_at"],
        freed_ids=freed,
    )


async def _refuse_touched(driver: asyncpg.Connection, undoing: _Undoing) -> None:
    touched = _TOUCHED_SINCE_DELETE if undoing.kind == "delete" else _TOUCHED_SINCE_SALES
    rows = await driver.fetch(
        f"""
        SELECT s.sku, s.location, t.day, t.post_id, count(*) OVER () AS total
        FROM ({touched}) t JOIN series s ON s.id = t.series_id
        ORDER BY s.sku, s.location, t.day LIMIT {MAX_NAMED_ERRORS}""",
        *undoing.part,
    )
    if rows:
        total = rows[0]["total"]
        raise Problem(
            "conflict",
            f"Later posts touched {total} of the rows of post {undoing.post_id}; undo those posts first, newest first."
            + (f" The first {len(rows)} are named." if total > len(rows) else ""),
            errors=[_touched_error(row) for row in rows],
        )


def _touched_error(row: Mapping[str, Any]) -> dict[str, Any]:
    what = "was deleted since" if row["post_id"] is None else f"was last written by post {row['post_id']}"
    detail = f"sku {row['sku']!r}, location {row['location']!r}, {row['day']}: {what}"
    return {"row": None, "field": None, "code": "touched_later", "detail": detail}


async def _restore_replaced(driver: asyncpg.Connection, undoing: _Undoing) -> tuple[dict[str, int], dict[int, int]]:
    """Undo of sales: old values come back where there were some, the other rows go. Counts, and rows gained per series."""
    await driver.execute(
        f"""
        INSERT INTO replaced_sales (series_id, day, post_id, replaced_post_id, {VALUES})
        SELECT series_id, day, $5, post_id, {VALUES} FROM sales
        WHERE post_id = $1 AND series_id = ANY($2::int[]) AND day BETWEEN $3 AND $4""",
        *undoing.part,
        undoing.by,
    )
    updated = await driver.fetch(
        f"""
        WITH restored AS (
            UPDATE sales x SET post_id = r.replaced_post_id, {_RESTORED} FROM replaced_sales r
            WHERE r.post_id = $1 AND r.series_id = ANY($2::int[]) AND r.day BETWEEN $3 AND $4
            AND x.series_id = r.series_id AND x.day = r.day AND x.post_id = $1
            RETURNING x.series_id
        ) SELECT series_id, count(*) AS n FROM restored GROUP BY series_id""",
        *undoing.part,
    )
    deleted = await driver.fetch(
        """
        WITH gone AS (
            DELETE FROM sales WHERE post_id = $1 AND series_id = ANY($2::int[]) AND day BETWEEN $3 AND $4
            RETURNING series_id
        ) SELECT series_id, count(*) AS n FROM gone GROUP BY series_id""",
        *undoing.part,
    )
    deltas = {row["series_id"]: 0 for row in updated} | {row["series_id"]: -row["n"] for row in deleted}
    return {"updated": sum(row["n"] for row in updated), "deleted": sum(row["n"] for row in deleted)}, deltas


async def _restore_deleted(driver: asyncpg.Connection, undoing: _Undoing) -> tuple[dict[str, int], dict[int, int]]:
    """Undo of a delete: every row comes back as it was. Counts, and rows gained per series."""
    inserted = await driver.fetch(
        f"""
        WITH restored AS (
            INSERT INTO sales (series_id, day, post_id, {VALUES})
            SELECT series_id, day, replaced_post_id, {VALUES} FROM replaced_sales
            WHERE post_id = $1 AND series_id = ANY($2::int[]) AND day BETWEEN $3 AND $4
            ORDER BY series_id, day
            RETURNING series_id
        ) SELECT series_id, count(*) AS n FROM restored GROUP BY series_id""",
        *undoing.part,
    )
    return {"inserted": sum(row["n"] for row in inserted)}, {row["series_id"]: row["n"] for row in inserted}
