"""GET /v1/accuracy against figures computed from the forecasts that callers read and the sales that then came."""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.accuracy.weeks import first_kept_daily, put_weeks_together
from app.database.engine import Database
from tests.accuracy.conftest import HISTORY
from tests.accuracy.world import FIRST, SEGMENT, SERIES, Name, Shop, differences
from tests.support import client_of

LISTS = {"horizons": "live", "baseline": "seasonal_naive", "frozen": "frozen"}


async def accuracy(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get("/v1/accuracy", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wrong(shop: Shop, found: dict[str, Any], **which: Any) -> list[str]:
    """What an answer says otherwise than the shop computes it."""
    return [
        f"{name}: {difference}"
        for name, source in LISTS.items()
        for difference in differences(found[name], shop.expected(source, **which))
    ]


async def test_every_figure_is_that_of_the_forecasts_that_were_read_and_the_sales_that_came(
    shop: Shop, database: Database
) -> None:
    shop.unknown = {(("RARE", "S2"), HISTORY + 4)}
    shop.closed = range(HISTORY + 40, HISTORY + 47)
    for days in (1, 2, 1, 5, 24):
        await shop.next_days(days)
    first, last = HISTORY + 1, shop.days - 1
    whole = {"from": str(shop.day(first)), "to": str(shop.day(last))}
    found = await accuracy(shop.client, **whole)
    assert {name: found[name] for name in whole} == whole
    assert [part["days"] for part in found["horizons"]] == ["1-7", "8-14", "15-28", "all"]
    assert found["horizons"] != found["frozen"] != found["baseline"]
    await every_scope_agrees(shop, **whole)
    part = {"from": str(shop.day(first + 3)), "to": str(shop.day(first + 8))}
    await every_scope_agrees(shop, **part, first=first + 3, last=first + 8)
    newest = await accuracy(shop.client)
    assert (newest["from"], newest["to"]) == (str(shop.day(last - 27)), str(shop.day(last)))
    assert not wrong(shop, newest, first=last - 27)
    metrics = (await shop.client.get("/metrics")).text
    for name, source in LISTS.items():
        gauge = f'shelfcast_forecast_wql{{source="{source}"}} '
        value = next(line for line in metrics.splitlines() if line.startswith(gauge)).removeprefix(gauge)
        assert float(value) == pytest.approx(newest[name][0]["wql"])
    await weeks_put_together_tell_the_same(shop, database)


async def every_scope_agrees(shop: Shop, *, first: int = 0, last: int = 10**6, **span: str) -> None:
    """Overall, by segment, by SKU, by location and by series."""
    scopes: list[tuple[dict[str, str], list[Name]]] = [({}, list(SERIES))]
    for sku, segment in SEGMENT.items():
        names = [name for name in SERIES if name[0] == sku]
        scopes += [({"sku": sku}, names), ({"segment": segment}, names)]
    scopes += [({"location": place}, [name for name in SERIES if name[1] == place]) for place in ("S1", "S2")]
    scopes += [({"sku": sku, "location": location}, [(sku, location)]) for sku, location in SERIES]
    for query, names in scopes:
        found = await accuracy(shop.client, **query, **span)
        assert not wrong(shop, found, names=names, first=first, last=last), query


async def weeks_put_together_tell_the_same(shop: Shop, database: Database) -> None:
    """Days that are old enough become weeks, once; what the whole span comes to stays."""
    await shop.next_days(28)
    await shop.next_days(28)
    await the_live_record_decides_by_now(shop.client)
    whole = {"from": str(shop.day(HISTORY + 1)), "to": str(shop.day(shop.days - 1))}
    await every_scope_agrees(shop, **whole)
    monday = first_kept_daily(shop.day(shop.days - 1))
    assert monday.weekday() == 0 and shop.days - 1 - (monday - FIRST).days in range(55, 62)
    before = await kept(database)
    await a_stop_in_the_middle_loses_nothing(shop, database, whole)
    assert await put_weeks_together(database) > 4
    after = await kept(database)
    assert [row for row in after if row[0] >= monday] == [row for row in before if row[0] >= monday]
    assert {(row[0].weekday(), row[1]) for row in after if row[0] < monday} == {(0, 7)}
    await every_scope_agrees(shop, **whole)
    assert await put_weeks_together(database) == 0
    assert await kept(database) == after
    await a_week_counts_whole(shop)


async def the_live_record_decides_by_now(client: httpx.AsyncClient) -> None:
    newest = (await client.get("/v1/models")).json()["models"][0]["version"]
    verdict = (await client.get(f"/v1/models/{newest}/verdict")).json()
    assert verdict["days"] >= 56
    decided = {check["name"] for check in verdict["checks"] if check["passed"] is not None}
    assert {"loss_days_1-7", "segments", "bias", "coverage"} <= decided


async def a_stop_in_the_middle_loses_nothing(shop: Shop, database: Database, whole: dict[str, str]) -> None:
    """Somebody holds a row of the second week: the week before is put together, then it ends, amid a transaction."""
    impatient = Database(database.engine.url.render_as_string(hide_password=False), statement_timeout=0.5)
    rows = await kept(database)
    async with database.transaction() as connection:
        held = {"block": rows[-1][2], "day": rows[0][0] + timedelta(days=12 - rows[0][0].weekday())}
        found = await connection.execute(
            text("SELECT FROM series_scores WHERE block = :block AND day = :day FOR UPDATE"), held
        )
        assert found.rowcount == 1
        with pytest.raises(asyncpg.PostgresError):
            await put_weeks_together(impatient)
    await impatient.close()
    assert {days for _, days, _ in await kept(database)} == {1, 7}
    await every_scope_agrees(shop, **whole)


async def a_week_counts_whole(shop: Shop) -> None:
    """Bounds within weeks that were put together widen for series, not for all of them together."""
    tuesday = HISTORY + 1 + (1 - (HISTORY + 1)) % 7 + 7
    span = {"from": str(shop.day(tuesday)), "to": str(shop.day(tuesday + 1))}
    found = await accuracy(shop.client, sku="FAST", **span)
    assert (found["from"], found["to"]) == (str(shop.day(tuesday - 1)), str(shop.day(tuesday + 5)))
    names = [("FAST", "S1"), ("FAST", "S2")]
    assert not wrong(shop, found, names=names, first=tuesday - 1, last=tuesday + 5)
    found = await accuracy(shop.client, segment="fast", **span)
    assert {name: found[name] for name in span} == span
    assert not wrong(shop, found, names=names, first=tuesday, last=tuesday + 1)


async def kept(database: Database) -> list[tuple[date, int, int]]:
    async with database.reading() as driver:
        return [tuple(row) for row in await driver.fetch("SELECT day, days, block FROM series_scores ORDER BY 1, 2, 3")]


async def test_scoring_goes_on_when_a_series_is_deleted_between_a_forecast_and_its_days(shop: Shop) -> None:
    await shop.next_days(1)
    await shop.next_days(3)
    gone = ("SLOW", "S1")
    deleted = await shop.client.delete("/v1/series", params={"sku": gone[0], "location": gone[1]})
    assert deleted.status_code == 204
    shop.names.remove(gone)
    lost = await shop.client.get("/v1/accuracy", params={"sku": gone[0], "location": gone[1]})
    assert (lost.status_code, lost.json()["detail"]) == (404, "There is no series of SKU 'SLOW' at location 'S1'.")
    await shop.next_days(2)
    assert not wrong(shop, await accuracy(shop.client))  # what had been scored of it stays in the sums of all series
    assert not wrong(shop, await accuracy(shop.client, location="S1"), names=[("FAST", "S1")])
    shop.names.append(gone)
    await shop.post(1)
    shop.days += 1
    await shop.job({"kind": "update"})
    del shop.sold[gone, shop.days - 1]  # sales of another series than the one that was forecast
    assert not wrong(shop, await accuracy(shop.client))
    anew = await accuracy(shop.client, sku=gone[0])
    assert [part["n"] for part in anew["horizons"]] == [0]


async def test_before_any_day_is_scored_there_are_no_figures(client: httpx.AsyncClient) -> None:
    assert "shelfcast_forecast_wql{" not in (await client.get("/metrics")).text
    nothing = await accuracy(client)
    assert (nothing["from"], nothing["to"]) == (None, None)
    for name in LISTS:
        (every,) = nothing[name]
        assert (every.pop("days"), every.pop("n")) == ("all", 0)
        assert set(every.pop("coverage").values()) == set(every.values()) == {None}
    span = {"from": "2025-01-06", "to": "2025-02-06"}
    asked = await accuracy(client, **span)
    assert {name: asked[name] for name in span} == span
    assert (await accuracy(client, **{"from": "9999-12-31"}))["to"] == "9999-12-31"
    assert (await accuracy(client, to="0001-01-02"))["from"] == "0001-01-01"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"segment": "quick"}, "intermittent"),
        ({"from": "2025-02-06", "to": "2025-01-06"}, "is after"),
        ({"from": "yesterday"}, "YYYY-MM-DD"),
        ({"segment": "fast", "sku": "A"}, "segment goes without sku and location"),
        ({"segment": "fast", "location": ""}, "segment goes without sku and location"),
        ({"horizon": "7"}, "horizon"),
    ],
)
async def test_a_question_that_makes_no_sense_is_told_so(
    client: httpx.AsyncClient, query: dict[str, str], told: str
) -> None:
    answer = await client.get("/v1/accuracy", params=query)
    assert answer.status_code == 422
    assert told in answer.text


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"sku": "A"}, "There is no series of SKU 'A'."),
        ({"location": "S9"}, "There is no series at location 'S9'."),
        ({"sku": "A", "location": ""}, "There is no series of SKU 'A' at location ''."),
    ],
)
async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient, query: dict[str, str], told: str) -> None:
    answer = await client.get("/v1/accuracy", params=query)
    assert (answer.status_code, answer.json()["detail"]) == (404, told)


async def test_accuracy_is_for_those_who_read_forecasts(app: FastAPI, key_with: Callable[..., Awaitable[str]]) -> None:
    for scope, status in (("forecasts:read", 200), ("models:read", 403)):
        async with client_of(app, await key_with(scope)) as client:
            assert (await client.get("/v1/accuracy")).status_code == status
