"""A shop with a past, posted over HTTP, and what is then asked of it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

LAST = date(2026, 6, 30)
"""The last day of the shop's past; the days after it are posted by the tests."""
PAST_DAYS = 90
SKUS = 10


def day(ahead: int) -> str:
    """So many days after the shop's past; 0 is its last day."""
    return str(LAST + timedelta(days=ahead))


def sold(skus: int = SKUS, days: int = PAST_DAYS, seed: int = 0) -> NDArray[np.float64]:
    """Whole units with a level for each SKU and a stronger weekend, skus x days."""
    rng = np.random.default_rng(seed)
    shape = np.array([1.0, 1.0, 1.0, 1.1, 1.3, 1.6, 0.8])
    level = 4.0 + 2.0 * np.arange(skus)
    return rng.poisson(level[:, None] * shape[np.arange(days) % 7]).astype(float)


def rows_of(quantities: Mapping[str, float | None], on: str, location: str = "S1", **more: Any) -> list[dict[str, Any]]:
    return [
        {"sku": sku, "location": location, "date": on, "quantity": quantity, **more}
        for sku, quantity in quantities.items()
    ]


async def send(
    client: httpx.AsyncClient, rows: list[dict[str, Any]], *, status: int = 200, **query: Any
) -> dict[str, Any]:
    answer = await client.post("/v1/sales", json={"sales": rows}, params=query)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def open_shop(
    client: httpx.AsyncClient, location: str = "S1", *, skus: int = SKUS, days: int = PAST_DAYS, seed: int = 0
) -> dict[str, Any]:
    """Post a shop's past, in one body."""
    history = sold(skus, days, seed)
    rows = [
        {"sku": f"A-{sku}", "location": location, "date": day(at - days + 1), "quantity": history[sku, at]}
        for sku in range(skus)
        for at in range(days)
    ]
    return await send(client, rows)


def a_day(seed: int = 7, skus: int = SKUS, *, times: float = 1.0, ahead: int = 1) -> dict[str, float | None]:
    """A true day of the shop, times a factor: every SKU sells."""
    weekday = (PAST_DAYS - 1 + ahead) % 7
    rng = np.random.default_rng(seed)
    level = (4.0 + 2.0 * np.arange(skus)) * np.array([1.0, 1.0, 1.0, 1.1, 1.3, 1.6, 0.8])[weekday]
    return {f"A-{sku}": float(times * max(rng.poisson(level[sku]), 1)) for sku in range(skus)}


async def entries(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """Every entry, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await client.get("/v1/quarantine", params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["entries"]
        if answer.json()["next_page_token"] is None:
            return found
        query["page_token"] = answer.json()["next_page_token"]


async def held(client: httpx.AsyncClient, **query: Any) -> list[tuple[str, str, str]]:
    """SKU, day and reason of what is held, in order."""
    return sorted((entry["sku"], entry["date"], entry["reason"]) for entry in await entries(client, **query))


async def decide(
    client: httpx.AsyncClient,
    word: str,
    entry: int | None = None,
    *,
    status: int = 200,
    body: Any = None,
    **headers: str,
) -> dict[str, Any]:
    path = f"/v1/quarantine/{word}" if entry is None else f"/v1/quarantine/{entry}/{word}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = (
        await client.post(path, json=body, headers=sent) if body is not None else await client.post(path, headers=sent)
    )
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def forecast(client: httpx.AsyncClient, sku: str = "A-3", location: str = "S1", **query: Any) -> dict[str, Any]:
    answer = await client.get("/v1/forecasts", params={"sku": sku, "location": location, **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
