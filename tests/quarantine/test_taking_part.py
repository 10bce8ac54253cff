"""What is held is missing for training and for forecasts, and nowhere else; a decision makes stored forecasts stale."""

import csv
import io
import json
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq

from app.database.engine import Database
from app.forecasts import store
from app.sales.panel import TrainingData, read_context, read_panel
from tests.posts.calls import stored
from tests.quarantine.places import day, decide, entries, forecast, open_shop, rows_of, send


async def panel_of(database: Database) -> TrainingData:
    async with database.snapshot() as connection:
        data = await read_panel(connection)
    assert data is not None
    return data


async def learned(database: Database, sku: str, on: str) -> tuple[float, float]:
    """Quantity and price of a day as training reads them."""
    data = await panel_of(database)
    row, column = data.panel.skus.index(sku), data.panel.day_index(np.datetime64(on))
    return float(data.panel.quantity_ST[row, column]), float(data.panel.past["price"][row, column])


def figures(body: dict[str, Any]) -> list[Any]:
    return [(period["mean"], period["quantiles"]) for period in body["forecast"]]


async def test_a_forecast_is_made_as_if_the_held_day_were_not_known(client: httpx.AsyncClient) -> None:
    await open_shop(client, "S1")
    await open_shop(client, "S2")
    before = await forecast(client)
    await send(client, rows_of({"A-3": 500}, day(1)))
    await send(client, rows_of({"A-3": None}, day(1), "S2"))
    answer, expected = await forecast(client), await forecast(client, location="S2")
    assert answer["cutoff"] == expected["cutoff"] == day(1)
    assert answer["held_out"] == [{"date": day(1), "quantity": 500.0, "reason": "factor"}]
    assert before["held_out"] == expected["held_out"] == []
    assert figures(answer) == figures(expected)
    again = await forecast(client)  # from what was stored
    assert (again["held_out"], again["generated_at"]) == (answer["held_out"], answer["generated_at"])


async def test_training_reads_a_held_day_as_missing_and_keeps_its_price(
    client: httpx.AsyncClient, database: Database
) -> None:
    await open_shop(client)
    await send(client, rows_of({"A-3": 500, "A-4": 9}, day(1), price=2.5))
    assert np.isnan((await learned(database, "A-3", day(1)))[0])
    assert (await learned(database, "A-3", day(1)))[1] == 2.5
    assert (await learned(database, "A-4", day(1)))[0] == 9
    assert (await panel_of(database)).cutoff.isoformat() == day(1)


async def test_confirmed_it_takes_part_and_dismissed_it_stays_out(
    client: httpx.AsyncClient, database: Database
) -> None:
    await open_shop(client)
    await send(client, rows_of({"A-3": 500, "A-4": 600}, day(1), price=1))
    held = {entry["sku"]: entry["id"] for entry in await entries(client)}
    out = {sku: await forecast(client, sku) for sku in held}
    await decide(client, "confirm", held["A-3"])
    await decide(client, "dismiss", held["A-4"])
    assert (await learned(database, "A-3", day(1)))[0] == 500
    assert np.isnan((await learned(database, "A-4", day(1)))[0])
    confirmed, dismissed = await forecast(client, "A-3"), await forecast(client, "A-4")
    assert confirmed["held_out"] == []
    assert sum(period["mean"] for period in confirmed["forecast"]) > sum(p["mean"] for p in out["A-3"]["forecast"])
    assert dismissed["held_out"] == [{"date": day(1), "quantity": 600.0, "reason": "factor"}]
    assert figures(dismissed) == figures(out["A-4"])
    await decide(client, "dismiss", held["A-3"])
    await decide(client, "confirm", held["A-4"])
    assert np.isnan((await learned(database, "A-3", day(1)))[0])
    assert (await learned(database, "A-4", day(1)))[0] == 600
    assert (await forecast(client, "A-4"))["held_out"] == []
    assert (await forecast(client, "A-3"))["held_out"] == [{"date": day(1), "quantity": 500.0, "reason": "factor"}]
    for sku, answer in (("A-3", confirmed), ("A-4", dismissed)):
        assert answer["generated_at"] > out[sku]["generated_at"], "the stored forecast was not fresh any more"


async def test_a_correction_takes_part_at_once(client: httpx.AsyncClient, database: Database) -> None:
    await open_shop(client)
    await send(client, rows_of({"A-3": 500}, day(1), price=1))
    await send(client, rows_of({"A-3": 11}, day(1), price=1))
    assert (await learned(database, "A-3", day(1)))[0] == 11
    assert (await forecast(client))["held_out"] == []


async def test_only_days_that_the_forecast_reads_are_listed(client: httpx.AsyncClient, database: Database) -> None:
    await open_shop(client)
    await send(client, rows_of({"A-3": 500}, day(1)) + rows_of({"A-3": 700}, day(3)))
    assert [one["date"] for one in (await forecast(client))["held_out"]] == [day(1), day(3)]
    [(series,)] = await stored(database, "SELECT id FROM series WHERE sku = 'A-3'")
    async with database.snapshot() as connection:
        context = await read_context(connection, [series], days=2, ahead=1)
    assert context is not None
    assert [one["date"] for one in context.held_out[0]] == [day(3)]
    np.testing.assert_array_equal(context.panel.quantity_ST, [[np.nan, np.nan]])


async def test_every_format_says_what_was_held_out(client: httpx.AsyncClient) -> None:
    await open_shop(client, skus=2)
    await send(client, rows_of({"A-1": 500}, day(1)) + rows_of({"A-1": 500}, day(2)))
    query = {"series": [{"sku": sku, "location": "S1"} for sku in ("A-0", "A-1")], "horizon": 1}

    async def asked(accept: str) -> httpx.Response:
        answer = await client.post("/v1/forecasts/query", json=query, headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        return answer

    days = [{"date": on, "quantity": 500.0, "reason": "factor"} for on in (day(1), day(2))]
    assert [one["held_out"] for one in (await asked("application/json")).json()["forecasts"]] == [[], days]
    lines = (await asked("application/x-ndjson")).text.splitlines()
    assert [json.loads(line)["held_out"] for line in lines] == [[], days]
    rows = list(csv.DictReader(io.StringIO((await asked("text/csv")).text)))
    assert [row["held_out"] for row in rows] == ["", f"{day(1)};{day(2)}"]
    table = pq.read_table(io.BytesIO((await asked("application/vnd.apache.parquet")).content))
    assert [[str(on) for on in held] for held in table["held_out"].to_pylist()] == [[], [day(1), day(2)]]


async def test_whoever_refreshes_forecasts_sees_that_something_was_decided(
    client: httpx.AsyncClient, database: Database
) -> None:
    await open_shop(client)
    await send(client, rows_of({"A-3": 500}, day(1)))
    await forecast(client)
    async with database.reading() as connection:
        before = await store.state_of_data(connection)
        assert await store.stale_ids(connection, 0, after=0, limit=50) != []
    [entry] = await entries(client)
    await decide(client, "confirm", entry["id"])
    async with database.reading() as connection:
        assert await store.state_of_data(connection) != before
        stale = await store.stale_ids(connection, 0, after=0, limit=50)
    assert [
        (series,) for series in stale if (series,) in await stored(database, "SELECT id FROM series WHERE sku = 'A-3'")
    ]
