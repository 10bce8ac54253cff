"""Posting sales over HTTP: what is stored, what is counted, what is refused."""

from datetime import UTC, datetime
from typing import Any

import httpx

from app.database.engine import Database

TODAY = datetime.now(UTC).date()


def row(**values: Any) -> dict[str, Any]:
    return {"sku": "A-1", "location": "S1", "date": "2026-01-05", "quantity": 12, **values}


async def post(client: httpx.AsyncClient, *rows: dict[str, Any], query: str = "") -> httpx.Response:
    return await client.post(f"/v1/sales{query}", json={"sales": list(rows)})


async def stored(database: Database, table: str = "sales") -> list[tuple[Any, ...]]:
    async with database.reading() as connection:
        rows = await connection.fetch(
            "SELECT s.sku, s.location, x.day::text, x.quantity, x.returned, x.price, x.promo, x.in_stock"
            f" FROM {table} x JOIN series s ON s.id = x.series_id ORDER BY 1, 2, 3"
        )
    return [tuple(row) for row in rows]


async def test_a_posted_row_is_stored_as_sent(client: httpx.AsyncClient, database: Database) -> None:
    whole = row(returned=1, price=3.5, promo=True, in_stock=0.5)
    bare = {"sku": "A-1", "date": "2026-01-05", "quantity": None}
    answer = await post(client, whole, bare)
    assert answer.status_code == 200
    assert answer.json() == {
        "post_id": answer.json()["post_id"],
        "received": 2,
        "inserted": 2,
        "updated": 0,
        "unchanged": 0,
        "completed": 0,
    }
    assert await stored(database) == [
        ("A-1", "", "2026-01-05", None, None, None, None, None),
        ("A-1", "S1", "2026-01-05", 12.0, 1.0, 3.5, 1.0, 0.5),
    ]


async def test_a_correction_replaces_the_whole_row_and_keeps_what_it_replaced(
    client: httpx.AsyncClient, database: Database
) -> None:
    first = (await post(client, row(price=3.5), row(date="2026-01-06"))).json()
    second = await post(client, row(quantity=13), row(date="2026-01-06"), row(date="2026-01-07"))
    counts = second.json()
    assert [counts[name] for name in ("received", "inserted", "updated", "unchanged")] == [3, 1, 1, 1]
    assert await stored(database) == [
        ("A-1", "S1", "2026-01-05", 13.0, None, None, None, None),
        ("A-1", "S1", "2026-01-06", 12.0, None, None, None, None),
        ("A-1", "S1", "2026-01-07", 12.0, None, None, None, None),
    ]
    assert await stored(database, "replaced_sales") == [("A-1", "S1", "2026-01-05", 12.0, None, 3.5, None, None)]
    async with database.reading() as connection:
        kept = await connection.fetchrow("SELECT post_id, replaced_post_id FROM replaced_sales")
        writers = await connection.fetch("SELECT post_id FROM sales ORDER BY day")
        series = await connection.fetchrow("SELECT revision, rows, first_day::text, last_day::text FROM series")
    assert tuple(kept) == (counts["post_id"], first["post_id"])
    assert [r["post_id"] for r in writers] == [counts["post_id"], first["post_id"], counts["post_id"]]
    assert tuple(series) == (2, 3, "2026-01-05", "2026-01-07")
