"""Items without a past, with a few days, sold once a month or half of the year: answered, labelled and sensible."""

from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from app.database.engine import Database
from app.forecasts import bulk
from models.inference import predict
from models.panel import Panel
from models.training import Trained
from tests.forecasts.conftest import Publish, trained_quantities
from tests.forecasts.data import END, forecast, means, refused, sell


async def put_items(client: httpx.AsyncClient, *items: dict[str, Any]) -> None:
    answer = await client.put("/v1/items", json={"items": list(items)})
    assert answer.status_code == 200, answer.text


@pytest.fixture
async def shop(client: httpx.AsyncClient, publish_version: Publish, lstm: Trained) -> httpx.AsyncClient:
    """A champion, and four items of two categories; T-3 sells four times as much as T-0."""
    await publish_version(lstm)
    for sku in range(4):
        await sell(client, f"T-{sku}", trained_quantities(sku))
    kinds = ("tea", "tea", "coffee", "coffee")
    await put_items(client, *({"sku": f"T-{n}", "category": kind} for n, kind in enumerate(kinds)))
    return client


async def test_an_item_without_sales_is_the_mixture_of_its_siblings(shop: httpx.AsyncClient) -> None:
    await put_items(shop, {"sku": "N-1", "category": "tea"})
    body = await forecast(shop, "N-1")
    assert body["cutoff"] == str(END)
    assert body["model_version"] is None
    assert (body["fallback"]["method"], body["fallback"]["reason"]) == ("new_item:siblings", "no_sales")
    assert "2 siblings by version 1" in body["fallback"]["detail"]
    one, two = means(await forecast(shop, "T-0")), means(await forecast(shop, "T-1"))
    assert means(body) == pytest.approx([(a + b) / 2 for a, b in zip(one, two, strict=True)], rel=1e-4)
    for day, other in zip(body["forecast"], (await forecast(shop, "T-0"))["forecast"], strict=True):
        low, middle, high = day["quantiles"].values()
        assert 0 <= low <= middle <= high
        assert high >= other["quantiles"]["0.9"]  # T-1 sells twice as much
    weekly = await forecast(shop, "N-1", period="week")
    assert sum(means(weekly)) == pytest.approx(sum(means(body)), rel=1e-4)
    assert len((await forecast(shop, "N-1", horizon=365))["forecast"]) == 365


async def test_a_sale_of_a_sibling_is_seen_by_the_next_read_and_nothing_new_is_not(shop: httpx.AsyncClient) -> None:
    await put_items(shop, {"sku": "N-1", "category": "tea"})
    first = await shop.get("/v1/forecasts", params={"sku": "N-1"})
    again = await shop.get("/v1/forecasts", params={"sku": "N-1"}, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    await sell(shop, "T-1", [900.0] * 14, last=END + timedelta(days=1))
    body = await forecast(shop, "N-1")
    assert body["cutoff"] == str(END + timedelta(days=1))
    assert sum(means(body)) > sum(means(first.json()))


async def test_what_is_not_known_by_anything_stays_not_found(shop: httpx.AsyncClient) -> None:
    await put_items(shop, {"sku": "N-1"}, {"sku": "N-2", "category": "wine"}, {"sku": "N-3", "category": "tea"})
    assert "no sales yet" in (await refused(shop, 404, sku="N-1"))["detail"]
    assert "no sales yet" in (await refused(shop, 404, sku="N-2"))["detail"]  # nothing is like it
    await refused(shop, 404, sku="N-3", location="a place nobody knows")
    assert "not known" in (await refused(shop, 404, sku="N-4"))["detail"]
    await refused(shop, 404, sku="N-3", model_version=99)


async def asked_for(client: httpx.AsyncClient, *skus: str, location: str = "", **options: Any) -> httpx.Response:
    series = [{"sku": sku, "location": location} for sku in skus]
    return await client.post("/v1/forecasts/query", json={"series": series, **options})


async def test_a_query_answers_items_without_sales_as_the_single_reads_do(shop: httpx.AsyncClient) -> None:
    assert (await shop.put("/v1/locations", json={"locations": [{"location": "NEW"}]})).status_code == 200
    await put_items(shop, {"sku": "N-1", "category": "tea"}, {"sku": "N-2", "category": "coffee"})
    asked = ("N-2", "T-3", "N-1", "T-0", "N-2")
    for options in ({}, {"period": "week", "horizon": 17}, {"horizon": 21, "model_version": 1}):
        answer = await asked_for(shop, *asked, **options)
        assert answer.status_code == 200, answer.text
        found = answer.json()["forecasts"]
        assert found == [await forecast(shop, sku, **options) for sku in asked]
        assert [(one["fallback"] or {}).get("method") for one in found] == [
            "new_item:siblings", None, "new_item:siblings", None, "new_item:siblings",
        ]  # fmt: skip
    there = await asked_for(shop, "N-1", location="NEW")
    assert there.json()["forecasts"] == [await forecast(shop, "N-1", location="NEW")]
    everything = await shop.post("/v1/forecasts/query", json={"all": True})
    assert [one["sku"] for one in everything.json()["forecasts"]] == ["T-0", "T-1", "T-2", "T-3"]


async def test_a_query_answers_a_replacement_without_sales(shop: httpx.AsyncClient) -> None:
    await put_items(shop, {"sku": "NEW", "replaces": "T-2"})
    answer = await asked_for(shop, "NEW", "T-2")
    new, old = answer.json()["forecasts"]
    assert (new["fallback"]["method"], new["model_version"], old["fallback"]) == ("new_item:replaces", None, None)
    single = await forecast(shop, "NEW")
    assert {**new, "generated_at": None} == {**single, "generated_at": None}  # it is made anew at every read


async def test_a_query_names_every_item_of_which_nothing_can_be_said(shop: httpx.AsyncClient) -> None:
    await put_items(shop, {"sku": "N-1", "category": "tea"}, {"sku": "N-2", "category": "wine"}, {"sku": "N-3"})
    answer = await asked_for(shop, "N-1", "N-2", "T-0", "N-3", "N-4")
    assert answer.status_code == 404
    problem = answer.json()
    assert [(error["row"], error["code"]) for error in problem["errors"]] == [(n, "unknown_series") for n in (1, 3, 4)]
    assert "no sales yet" in problem["errors"][0]["detail"] and "not known" in problem["errors"][2]["detail"]
    assert (await asked_for(shop, "N-1", location="a place nobody knows")).status_code == 404
    assert (await asked_for(shop, "N-1", horizon=22)).status_code == 422


async def test_a_query_for_too_many_items_without_sales_is_refused(
    shop: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST_UNSOLD", 2)
    await put_items(shop, *({"sku": f"N-{n}", "category": "tea"} for n in range(3)))
    assert (await asked_for(shop, "N-0", "N-1", "N-0")).status_code == 200
    answer = await asked_for(shop, "N-0", "N-1", "N-2")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "too_many_without_sales"


async def test_without_a_champion_there_is_nothing_to_mix(client: httpx.AsyncClient) -> None:
    await sell(client, "T-1", trained_quantities(1))
    await put_items(client, {"sku": "T-1", "category": "tea"}, {"sku": "N-1", "category": "tea"})
    await refused(client, 404, sku="N-1")
    assert (await asked_for(client, "T-1", "N-1")).status_code == 404


@pytest.mark.parametrize("gap", [0, 10])
async def test_a_replacement_goes_on_from_the_past_of_what_it_replaces(
    shop: httpx.AsyncClient, lstm: Trained, gap: int
) -> None:
    history = trained_quantities(2)
    await sell(shop, "OLD", history, last=END - timedelta(days=gap))
    await put_items(shop, {"sku": "NEW", "replaces": "OLD"})
    body = await forecast(shop, "NEW")
    assert body["cutoff"] == str(END)
    assert (body["fallback"]["method"], body["model_version"]) == ("new_item:replaces", None)
    assert "'OLD'" in body["fallback"]["detail"]
    start = np.datetime64(END, "D") - np.timedelta64(len(history) - 1 + gap, "D")
    past = np.array([history + [np.nan] * gap], np.float32)
    expected = predict(lstm.forecaster, Panel(["NEW"], [""], start, past), past.shape[1] - 1)
    np.testing.assert_allclose(means(body), expected.mean_SH[0], rtol=1e-4)

    await sell(shop, "NEW", [200.0] * 5)  # and its own days stand before the other's
    body = await forecast(shop, "NEW")
    assert (body["fallback"]["method"], body["fallback"]["reason"]) == ("new_item:replaces", "too_little_history")
    assert "5 days" in body["fallback"]["detail"]
    assert sum(means(body)) > expected.mean_SH.sum() * 1.05


async def test_what_is_replaced_counts_little_once_own_days_say_otherwise(shop: httpx.AsyncClient) -> None:
    replaced = means(await forecast(shop, "T-0"))
    await put_items(shop, {"sku": "NEW", "replaces": "T-0"}, {"sku": "TEA", "replaces": "T-0", "category": "coffee"})
    for sku, beside in (("NEW", "they alone"), ("TEA", "its siblings")):
        await sell(shop, sku, [90.0] * 10)
        body = await forecast(shop, sku)
        assert body["fallback"]["method"] == "new_item:replaces"
        assert f"Its own days agree with that to 0%; the rest is what {beside} say." in body["fallback"]["detail"]
        assert 10 * np.mean(replaced) < 75 < np.mean(means(body)) <= 91
    await put_items(shop, {"sku": "SAME", "replaces": "T-0"})
    await sell(shop, "SAME", trained_quantities(0)[-7:])
    body = await forecast(shop, "SAME")
    assert "agree with that to 9" in body["fallback"]["detail"] or "to 100%" in body["fallback"]["detail"]
    assert np.mean(means(body)) == pytest.approx(np.mean(replaced), rel=0.2)
    assert await forecast(shop, "SAME") == body  # kept


async def test_a_series_that_replaces_another_has_its_past_until_it_is_settled(shop: httpx.AsyncClient) -> None:
    await put_items(shop, {"sku": "NEW", "replaces": "T-2"})
    for days in (21, 55):
        await sell(shop, "NEW", trained_quantities(2)[-days:])
        await sell(shop, "ALONE", trained_quantities(2)[-days:])
        new, alone = await forecast(shop, "NEW", horizon=21), await forecast(shop, "ALONE", horizon=21)
        assert alone["fallback"] is None
        assert (new["fallback"]["method"], new["fallback"]["reason"]) == ("new_item:replaces", "too_little_history")
        assert f"{days} days" in new["fallback"]["detail"]
        assert means(new) != means(alone)
        assert len((await forecast(shop, "NEW", horizon=60))["forecast"]) == 60
    await sell(shop, "NEW", trained_quantities(2)[-56:])
    assert (await forecast(shop, "NEW"))["fallback"] is None


async def test_a_week_of_its_own_pulls_the_siblings_towards_it(shop: httpx.AsyncClient, database: Database) -> None:
    await put_items(shop, {"sku": "N-1", "category": "tea"})
    unsold = means(await forecast(shop, "N-1"))
    await sell(shop, "N-1", [60.0] * 7)
    body = await forecast(shop, "N-1")
    assert (body["fallback"]["method"], body["fallback"]["reason"]) == ("new_item:siblings", "too_little_history")
    assert np.mean(unsold) < 60 * 7 / 8 < np.mean(means(body)) < 60  # a day in eight is what the siblings say
    assert await forecast(shop, "N-1") == body  # kept
    async with database.reading() as connection:
        assert await connection.fetchval(
            "SELECT fallback ->> 'method' FROM forecasts ORDER BY generated_at DESC LIMIT 1"
        ) == ("new_item:siblings")
    answer = await shop.post("/v1/forecasts/query", json={"series": [{"sku": "N-1"}]})
    assert answer.json()["forecasts"] == [body]


async def test_a_sale_a_month_and_half_a_year_without_are_answered_by_the_network(shop: httpx.AsyncClient) -> None:
    await sell(shop, "MONTHLY", [float(day % 30 == 7) for day in range(390)])
    body = await forecast(shop, "MONTHLY")
    assert body["fallback"] is None
    assert np.mean(means(body)) < 0.5
    assert all(day["quantiles"]["0.5"] < 0.5 for day in body["forecast"])

    year = trained_quantities(1)[:180] + [0.0] * 180
    for sku, days in (("WINTER", year), ("WINTER AGAIN", [*year, *trained_quantities(1)[:21]])):
        await sell(shop, sku, days)
        body = await forecast(shop, sku)
        assert body["fallback"] is None
        assert 0 <= np.mean(means(body)) < 30
    gone = [None if quantity == 0.0 else quantity for quantity in year]
    await sell(shop, "NOT RECORDED", [*gone, 10.0, 12.0, 9.0])
    body = await forecast(shop, "NOT RECORDED")
    assert body["fallback"] is None
    assert 3 < np.mean(means(body)) < 30
