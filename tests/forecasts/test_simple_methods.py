"""What is answered while no network may: named, from one day of history on, up to a year ahead."""

import httpx

from app.database.engine import Database
from tests.forecasts.data import END, forecast, sell


async def test_a_posted_sale_becomes_a_forecast_that_names_its_method(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sell(database, "A-1", [float(day % 7) for day in range(100)], location="S1")
    body = await forecast(client, "A-1", location="S1")
    assert body["sku"], body["location"] == ("A-1", "S1")
    assert body["cutoff"] == END.isoformat()
    assert body["model_version"] is None
    assert body["fallback"]["method"] == "climatology"
    assert body["fallback"]["reason"] == "no_champion"
    assert body["held_out"] == []
    assert len(body["forecast"]) == 28
    assert body["forecast"][0]["start"] == body["forecast"][0]["end"] == "2026-11-23"
    assert list(body["forecast"][0]["quantiles"]) == ["0.1", "0.5", "0.9"]
    # The weekday of the first day ahead has always sold (100 % 7) units.
    assert body["forecast"][0]["mean"] == 100 % 7
