"""Series listed and deleted. Writing to them is the matter of sales, where a series is made by its first row."""

from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import begun
from app.database.filters import Filters
from app.database.pages import Page
from app.errors import Problem


async def series_page(
    connection: asyncpg.Connection, page: Page, *, query: str | None = None, location: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of series by SKU and location, and the token of the next page.

    `query` is looked for in the SKU and in the item's name, whatever the case.
    """
    filters = Filters()
    if query is not None:
        # strpos, not LIKE: a per cent sign or an underscore in a SKU is just that.
        filters.add(
            "(strpos(lower(s.sku), lower(?)) > 0 OR s.sku IN"
            " (SELECT sku FROM items WHERE strpos(lower(name), lower(?)) > 0))",
            query,
            query,
        )
    filters.equal("s.location", location)
    after = page.after("series", str, str)
    if after is not None:
        filters.add("(s.sku, s.location) > (?, ?)", *after)
    limit = filters.numbered("?::bigint", page.limit)
    rows = await connection.fetch(
        f"""
        SELECT s.sku, s.location, s.first_day, s.last_day, s.rows,
            (SELECT max(f.generated_at) FROM forecasts f WHERE f.series_id = s.id) AS last_forecast
        FROM series s WHERE {filters.where} ORDER BY s.sku, s.location LIMIT {limit}""",
        *filters.values,
    )
    part, token = page.cut("series", rows, lambda row: (row["sku"], row["location"]))
    return [dict(row) for row in part], token


async def delete_series(connection: AsyncConnection, sku: str, location: str) -> None:
    """Delete a series with its sales, what they replaced and its forecasts. No undo. 404 when there is none.

    The lock of its row makes writers of its sales wait; they find it gone afterwards and make it anew.
    """
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    series_id = await driver.fetchval(
        "SELECT id FROM series WHERE sku = $1 AND location = $2 FOR UPDATE", sku, location
    )
    if series_id is None:
        raise Problem("not_found", f"There is no series of SKU {sku!r} at location {location!r}.")
    await driver.execute("DELETE FROM sales WHERE series_id = $1", series_id)
    await driver.execute("DELETE FROM replaced_sales WHERE series_id = $1", series_id)
    await driver.execute("DELETE FROM series WHERE id = $1", series_id)  # its forecasts go with it (on delete cascade)
