"""What is answered while no network may: named, from one day of history on, up to a year ahead."""

from datetime import timedelta

import httpx
import pytest

from tests.forecasts.data import END, forecast, means, refused, sell


async def test_a_posted_sale_becomes_a_forecast_that_names_its_method(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [float(day % 7) for day in range(100)], location="S1")
    body = await forecast(client, "A-1", location="S1")
    assert (body["sku"], body["location"], body["period"]) == ("A-1", "S1", "day")
    assert body["cutoff"] == END.isoformat()
    assert body["model_version"] is None
    assert (body["fallback"]["method"], body["fallback"]["reason"]) == ("climatology", "no_champion")
    assert body["held_out"] == []
    assert body["generated_at"].endswith("Z")
    assert len(body["forecast"]) == 28
    first = body["forecast"][0]
    assert first["start"] == first["end"] == "2026-11-23"
    assert first["complete"] is True
    # Each weekday has always sold the same: the days ahead go on as 100 % 7, 101 % 7 …
    assert means(body) == [day % 7 for day in range(100, 128)]
    assert first["quantiles"] == {"0.1": 2.0, "0.5": 2.0, "0.9": 2.0}


@pytest.mark.parametrize("quantities", [[3.0], [0.0] * 60, [None] * 5, [None, 4.0, None]])
async def test_hardly_any_history_is_answered_too(client: httpx.AsyncClient, quantities: list[float | None]) -> None:
    await sell(client, "A-1", quantities)
    body = await forecast(client, "A-1", quantiles="0.01,0.5,0.99")
    assert body["cutoff"] == END.isoformat()  # a last day without a quantity counts
    seen = [q for q in quantities if q is not None]
    expected = sum(seen) / len(seen) if seen else 0.0
    assert means(body) == pytest.approx([expected] * 28)
    expected_method = "no_history" if not seen else "few_days" if len(seen) < 56 else "climatology"
    assert body["fallback"]["method"] == expected_method
    for day in body["forecast"]:
        low, middle, high = day["quantiles"].values()
        assert 0 <= low <= middle <= high


async def test_a_year_ahead_is_answered_and_no_further(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [5.0] * 70)
    assert len((await forecast(client, "A-1"))["forecast"]) == 28
    year = await forecast(client, "A-1", horizon=365)
    assert len(year["forecast"]) == 365
    assert year["forecast"][-1]["end"] == (END + timedelta(days=365)).isoformat()
    assert len((await forecast(client, "A-1", horizon=3))["forecast"]) == 3
    problem = await refused(client, 422, sku="A-1", horizon=366)
    assert "365" in problem["detail"]


@pytest.mark.parametrize("days", [1, 30, 70])
async def test_the_largest_quantity_that_can_be_posted_can_be_read(client: httpx.AsyncClient, days: int) -> None:
    await sell(client, "A-1", [1e308] * days)
    for period in ("day", "week", "month"):
        body = await forecast(client, "A-1", period=period)
        assert all(mean > 1e37 for mean in means(body))
        assert all(isinstance(units, float) for part in body["forecast"] for units in part["quantiles"].values())


async def test_a_longer_question_does_not_spoil_a_shorter_one(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [float(day % 5) for day in range(90)])
    short = await forecast(client, "A-1", horizon=20)
    await forecast(client, "A-1", horizon=300)
    assert (await forecast(client, "A-1", horizon=20))["forecast"] == short["forecast"]
