"""Calls that these tests share: posting sales, reading them back, undoing."""

from typing import Any

import httpx

from app.database.engine import Database


def day(number: int) -> str:
    return f"2026-03-{number:02}"


def row(sku: str, date: str, quantity: float | None = 1, **more: Any) -> dict[str, Any]:
    return {"sku": sku, "location": "S1", "date": date, "quantity": quantity} | more


def whole(posted: dict[str, Any]) -> dict[str, Any]:
    """A posted row as it is read back."""
    return dict.fromkeys(["quantity", "returned", "price", "promo", "in_stock"]) | posted


async def post(client: httpx.AsyncClient, *rows: dict[str, Any], **query: Any) -> dict[str, Any]:
    answer = await client.post("/v1/sales", json={"sales": list(rows)}, params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def sales(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    return await pages(client, "sales", **query)


async def pages(client: httpx.AsyncClient, name: str, **query: Any) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = await client.get(f"/v1/{name}", params=query)
        assert answer.status_code == 200, answer.text
        rows += answer.json()[name]
        token = answer.json()["next_page_token"]
        if token is None:
            return rows
        query["page_token"] = token


async def undo(client: httpx.AsyncClient, post_id: int, *, status: int = 200, **headers: str) -> dict[str, Any]:
    answer = await client.post(f"/v1/posts/{post_id}/undo", headers=headers)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def delete(client: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await client.delete("/v1/sales", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def stored(database: Database, query: str, *values: Any) -> list[tuple[Any, ...]]:
    async with database.reading() as connection:
        return [tuple(found) for found in await connection.fetch(query, *values)]
