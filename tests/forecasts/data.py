"""Sales posted for the tests of forecasts, and what the API then says."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import httpx

END = date(2026, 11, 22)  # a Sunday
"""The last day of sales in these tests, unless one says otherwise."""


async def sell(
    client: httpx.AsyncClient, sku: str, quantities: Sequence[float | None], *, location: str = "", last: date = END
) -> None:
    """Post one series' days up to and with `last`."""
    first = last - timedelta(days=len(quantities) - 1)
    rows = [
        {"sku": sku, "location": location, "date": str(first + timedelta(days=i)), "quantity": quantity}
        for i, quantity in enumerate(quantities)
    ]
    answer = await client.post("/v1/sales", json={"sales": rows})
    assert answer.status_code == 200, answer.text


async def forecast(client: httpx.AsyncClient, sku: str, **params: Any) -> dict[str, Any]:
    answer = await client.get("/v1/forecasts", params={"sku": sku, **params})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def refused(client: httpx.AsyncClient, status: int, **params: Any) -> dict[str, Any]:
    answer = await client.get("/v1/forecasts", params=params)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    return body


def means(body: dict[str, Any]) -> list[float]:
    return [period["mean"] for period in body["forecast"]]
