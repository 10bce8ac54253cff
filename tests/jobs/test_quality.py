"""From posted sales with a gap, an impossible day and stock-outs to the report of the version that was trained on them."""

from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app.database.engine import Database
from tests.jobs.workers import TINY, add_days, done, update

pytestmark = pytest.mark.usefixtures("worker_here")

FIRST = date(2026, 5, 1)
DAYS = 100


def rows(sku: str, **changed: dict[str, Any] | None) -> list[dict[str, Any]]:
    """DAYS days that sell 10 each; `changed` gives days (d40=…) other values, or leaves them out (None)."""
    changes = {int(name[1:]): change for name, change in changed.items()}
    days = [
        {"sku": sku, "location": "S1", "date": str(FIRST + timedelta(days=day)), "quantity": 10} for day in range(DAYS)
    ]
    return [row | (changes.get(day) or {}) for day, row in enumerate(days) if changes.get(day, {}) is not None]


async def test_what_cleaning_found_can_be_read_after_the_training(client: httpx.AsyncClient) -> None:
    sales = [
        *rows("A-1", d40=None, d41=None, d60={"quantity": 1000}, d70={"quantity": 1000, "promo": True}),
        *rows("A-2", d50={"quantity": 0, "in_stock": False}, d51={"quantity": 2, "in_stock": 0.5}),
        *rows("A-3"),
        {"sku": "A-3", "location": "S1", "date": "1926-05-01", "quantity": 10},  # a mistyped year
    ]
    assert (await client.post("/v1/sales", json={"sales": sales})).status_code == 200
    await done(client, TINY | {"promote": "always", "cleaning": "seasonal"})
    assert (await client.get("/v1/models/1")).json()["config"]["cleaning"] == "seasonal"

    async def found(sku: str, **query: Any) -> list[tuple[Any, ...]]:
        answer = await client.get("/v1/series/quality", params={"sku": sku, "location": "S1", **query})
        assert answer.status_code == 200, answer.text
        assert answer.json()["cleaning"] == "seasonal"
        fields = ("kind", "first_day", "last_day", "observed", "expected", "done")
        return [tuple(row[name] for name in fields) for row in answer.json()["findings"]]

    assert await found("A-1") == [
        ("gap", "2026-06-10", "2026-06-11", None, 10.0, "filled"),
        ("outlier", "2026-06-30", "2026-06-30", 1000.0, 10.0, "filled"),
    ]
    assert await found("A-2") == [("out_of_stock", "2026-06-20", "2026-06-21", 1.0, 10.0, "filled")]
    assert await found("A-3") == [("stray", "1926-05-01", "1926-05-01", 10.0, None, "left_out")]
    assert (await client.get("/v1/sales", params={"sku": "A-1", "from": "2026-06-30", "to": "2026-06-30"})).json()[
        "sales"
    ][0]["quantity"] == 1000  # sales themselves stay as they were posted

    read = (await client.get("/v1/forecasts", params={"sku": "A-1", "location": "S1"})).json()
    assert (read["model_version"], len(read["forecast"])) == (1, 7)


async def test_an_update_has_a_report_of_its_own_and_no_cleaning_finds_nothing(
    client: httpx.AsyncClient, database: Database
) -> None:
    gap = [*rows("A-1", d40=None), *rows("A-2")]
    assert (await client.post("/v1/sales", json={"sales": gap})).status_code == 200
    assert (await done(client, TINY | {"promote": "never", "cleaning": "none"}))["model_version"] == 1
    answer = (await client.get("/v1/series/quality", params={"model_version": 1})).json()
    assert (answer["cleaning"], answer["findings"]) == ("none", [])

    assert (await done(client, TINY | {"promote": "always"}))["model_version"] == 2
    await add_days(database, 28)
    assert (await update(client))["model_version"] == 3
    reports = [(await client.get("/v1/series/quality", params={"model_version": v})).json()["findings"] for v in (2, 3)]
    assert reports[0] == reports[1] and [row["kind"] for row in reports[0]] == ["gap"]
