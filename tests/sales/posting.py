"""What tests of posting sales share: a row, the ways to send it, and what is stored then."""

from datetime import UTC, date, datetime
from typing import Any

import httpx

from app.database.engine import Database
from tests.sales.bodies import Row


def today() -> date:
    """Asked anew each time: a run of all tests may pass midnight."""
    return datetime.now(UTC).date()


def row(**values: Any) -> Row:
    return {"sku": "A-1", "location": "S1", "date": "2026-01-05", "quantity": 12, **values}


async def post(client: httpx.AsyncClient, *rows: Row, query: str = "") -> httpx.Response:
    return await client.post(f"/v1/sales{query}", json={"sales": list(rows)})


async def send(
    client: httpx.AsyncClient, body: bytes, content_type: str, *, query: str = "", **headers: str
) -> httpx.Response:
    sent = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.post(f"/v1/sales{query}", content=body, headers=sent)


async def stored(database: Database, table: str = "sales") -> list[tuple[Any, ...]]:
    async with database.reading() as connection:
        rows = await connection.fetch(
            "SELECT s.sku, s.location, x.day::text, x.quantity, x.returned, x.price, x.promo, x.in_stock"
            f" FROM {table} x JOIN series s ON s.id = x.series_id ORDER BY 1, 2, 3"
        )
    return [tuple(row) for row in rows]


async def value_of(database: Database, query: str) -> Any:
    async with database.reading() as connection:
        return await connection.fetchval(query)


def counts(answer: httpx.Response) -> list[int | None]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return [body[name] for name in ("received", "inserted", "updated", "unchanged", "completed")]
