"""Sales put into the database for the tests of forecasts, the way a post leaves them, and what the API then says."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import httpx

from app.database.engine import Database, begun

END = date(2026, 11, 22)  # a Sunday
"""The last day of sales in these tests, unless one says otherwise."""


async def sell(
    database: Database,
    sku: str,
    quantities: Sequence[float | None],
    *,
    location: str = "",
    last: date = END,
) -> None:
    """Post one series' days up to `last`, as `POST /v1/sales` would leave them: rows, bounds and a higher revision."""
    first = last - timedelta(days=len(quantities) - 1)
    async with database.transaction() as connection:
        raw = await begun(connection)
        series_id = await raw.fetchval(
            "INSERT INTO series (sku, location) VALUES ($1, $2) ON CONFLICT (sku, location) DO UPDATE SET sku = $1 RETURNING id",
            sku,
            location,
        )
        post = await raw.fetchval(
            "INSERT INTO posts (kind, series_ids) VALUES ('sales', ARRAY[$1::int]) RETURNING id", series_id
        )
        await raw.executemany(
            "INSERT INTO sales (series_id, day, post_id, quantity) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (series_id, day) DO UPDATE SET post_id = $3, quantity = $4",
            [(series_id, first + timedelta(days=i), post, q) for i, q in enumerate(quantities)],
        )
        await raw.execute(
            "UPDATE series SET revision = revision + 1, (first_day, last_day, rows) = "
            "(SELECT min(day), max(day), count(*) FROM sales WHERE series_id = $1) WHERE id = $1",
            series_id,
        )


async def forecast(client: httpx.AsyncClient, sku: str, **params: Any) -> dict[str, Any]:
    answer = await client.get("/v1/forecasts", params={"sku": sku, **params})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
