"""What a forecast is made from is what was known on its cutoff: no later sale shows, and training and serving see the same.

The general test against leakage: everything a network may read of a window, cut out of the training panel of the whole history,
must equal what is read for a forecast when no sale after that window's cutoff was ever posted.
"""

from datetime import date, timedelta

import httpx
import numpy as np
import pytest
import torch

from app.database.engine import Database
from app.sales.panel import read_context, read_panel
from models.holidays import HOLIDAYS
from models.identities import Identities, identities_of
from models.panel import Panel
from models.windows import MEMORY, Windows, WindowSource

FIRST, CUTOFF, LAST = date(2025, 3, 1), date(2026, 3, 31), date(2026, 6, 30)
HORIZON, CONTEXT = 28, 56


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def sold(rng: np.random.Generator, sku: str, day: date, *, told: bool) -> dict[str, object] | None:
    """One day as a shop posts it: nothing where nothing sold, now and then a day that is not known, price only on sales."""
    quantity = float(rng.poisson(1.5))
    if quantity == 0:
        return None
    row: dict[str, object] = {"sku": sku, "location": "S1", "date": day.isoformat(), "quantity": quantity}
    if rng.random() < 0.05:
        return row | {"quantity": None}
    return row | {"in_stock": float(rng.random() < 0.9)} | (price_and_promo(sku, day) if told else {})


def price_and_promo(sku: str, day: date) -> dict[str, float]:
    """What the calendar says too."""
    return {"price": 2.0 + (day.month % 3) + 0.5 * (sku == "B"), "promo": float(day.isocalendar().week % 5 == 0)}


async def post_history(client: httpx.AsyncClient, *, told: bool) -> None:
    rng = np.random.default_rng(3)
    rows = [row for sku in ("A", "B") for day in days(FIRST, LAST) if (row := sold(rng, sku, day, told=told))]
    rows += [
        {"sku": sku, "location": "S1", "date": day.isoformat(), "quantity": 1.0}
        for sku in ("A", "B")
        for day in (CUTOFF, LAST)
    ]
    unique = {(row["sku"], row["date"]): row for row in rows}
    answer = await client.post("/v1/sales", json={"sales": list(unique.values())})
    assert answer.status_code == 200, answer.text


async def put_calendar(client: httpx.AsyncClient) -> None:
    """Price, promotion and events of all days and those ahead, and the country; weather of the past only."""
    rows = [
        {"sku": sku, "location": None, "date": day.isoformat(), **price_and_promo(sku, day), "open": day.weekday() != 6}
        for sku in ("A", "B")
        for day in days(FIRST, LAST + timedelta(days=HORIZON))
    ]
    rows += [
        {"date": day.isoformat(), "event": "fair" if day.day == 10 else None, "covariates": {"rain": day.day / 31}}
        for day in days(FIRST, LAST)
    ]
    answer = await client.put("/v1/calendar", json={"calendar": rows})
    assert answer.status_code == 200, answer.text
    place = {"location": "S1", "country": "IT"}
    assert (await client.put("/v1/locations", json={"locations": [place]})).status_code == 200


async def put_items(client: httpx.AsyncClient) -> None:
    """Attributes of every kind, one of them of one item only, one different for each, and one too long; one day of launch."""
    shared = {"organic": True, "litres": 1.0, "text": "long " * 50, "nested": {"a": 1}}
    items = [
        {
            "sku": "A",
            "category": "juice",
            "brand": None,
            "launched_on": "2025-09-01",
            "attributes": shared | {"ean": 1, "season": "summer"},
        },
        {"sku": "B", "category": "milk", "brand": "Alp", "attributes": shared | {"ean": 2, "litres": 1}},
        {"sku": "never sold", "category": "wine", "attributes": shared | {"vintage": "2019"}},
    ]
    answer = await client.put("/v1/items", json={"items": items})
    assert answer.status_code == 200, answer.text


def windows_at(
    panel: Panel, cutoff: int, known: tuple[str, ...], past: tuple[str, ...], identities: Identities
) -> Windows:
    source = WindowSource(panel, identities.of(panel), context_length=CONTEXT, horizon=HORIZON, known=known, past=past)
    return source.windows(np.arange(2), np.full(2, cutoff))


@pytest.mark.parametrize("told", [True, False], ids=["rows tell price and promotion", "only the calendar does"])
@pytest.mark.parametrize("with_calendar", [True, False], ids=["calendar", "no calendar"])
async def test_a_window_of_training_is_what_a_forecast_of_that_day_would_have_read(
    client: httpx.AsyncClient, database: Database, told: bool, with_calendar: bool
) -> None:
    await post_history(client, told=told)
    if with_calendar:
        await put_calendar(client)
        await put_items(client)
    async with database.snapshot() as connection:
        data = await read_panel(connection)
    assert data is not None
    known, past = tuple(data.panel.known), tuple(data.panel.past)
    assert set(known) == (
        {"price", "promo", "open", "event", "event=fair", "age", *HOLIDAYS} if with_calendar else set()
    )
    identities = identities_of(data.panel)
    told_of_items = {
        "category": ["juice", "milk"], "brand": ["Alp"], "attributes.organic": ["true"], "attributes.litres": ["1"],
    }  # fmt: skip
    assert identities.attributes == (told_of_items if with_calendar else {})
    learned = windows_at(data.panel, data.panel.day_index(np.datetime64(CUTOFF)), known, past, identities)

    gone = await client.delete("/v1/sales", params={"from": (CUTOFF + timedelta(days=1)).isoformat()})
    assert gone.json()["deleted"] > 50
    async with database.snapshot() as connection:
        context = await read_context(
            connection, data.series_ids.tolist(), days=MEMORY, ahead=HORIZON, known=known, past=past
        )
    assert context is not None
    served = windows_at(context.panel, int(context.cutoff_S[0]), known, past, identities)
    for name in ("quantity_BM", "known_BKE", "past_BKL", "calendar_BPC", "identity_BA"):
        assert torch.equal(
            torch.nan_to_num(getattr(learned, name), nan=-1.0), torch.nan_to_num(getattr(served, name), nan=-1.0)
        ), name
