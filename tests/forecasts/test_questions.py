"""What may be asked, and what a question that cannot be answered is told."""

from collections.abc import Awaitable, Callable

import httpx
from fastapi import FastAPI

from app.database.engine import Database
from app.forecasts import store
from tests.forecasts.data import forecast, refused, sell
from tests.support import client_of


async def test_an_unknown_series_names_the_locations_of_its_sku(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [1.0], location="S2")
    await sell(client, "A-1", [1.0], location="S1")
    problem = await refused(client, 404, sku="A-1", location="S9")
    assert problem["code"] == "not_found"
    assert "'S1', 'S2'" in problem["detail"]
    assert "'S1', 'S2'" in (await refused(client, 404, sku="A-1"))["detail"]
    assert "not known" in (await refused(client, 404, sku="B-1"))["detail"]


async def test_an_item_without_sales_is_told_that_it_has_none(client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/items", json={"items": [{"sku": "N-1", "name": "New"}]})
    assert answer.status_code == 200, answer.text
    assert "no sales yet" in (await refused(client, 404, sku="N-1"))["detail"]


async def test_a_series_whose_sales_were_all_deleted_is_told_that_it_has_none(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [1.0, 2.0])
    assert (await client.delete("/v1/sales", params={"sku": "A-1"})).status_code == 200
    await refused(client, 404, sku="A-1")


async def test_two_skus_are_sent_to_the_query_route(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/forecasts?sku=A-1&sku=A-2")
    assert answer.status_code == 422
    assert "POST /v1/forecasts/query" in answer.json()["detail"]


SENSELESS: list[dict[str, object]] = [
    {},
    {"sku": " "},
    {"sku": "A\x00"},
    {"sku": "A-1", "horizon": 0},
    {"sku": "A-1", "horizon": "x"},
    {"sku": "A-1", "quantiles": ""},
    {"sku": "A-1", "quantiles": "0.1,,0.5"},
    {"sku": "A-1", "quantiles": "0.001"},
    {"sku": "A-1", "quantiles": "0.995"},
    {"sku": "A-1", "quantiles": "nan"},
    {"sku": "A-1", "quantiles": "0.1,0.10"},
    {"sku": "A-1", "period": "year"},
    {"sku": "A-1", "model_version": 0},
    {"sku": "A-1", "model_version": 2**31},
    {"sku": "A-1", "days": 3},
]


async def test_a_question_that_makes_no_sense_is_a_422(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [1.0] * 10)
    for params in SENSELESS:
        await refused(client, 422, **params)


async def test_what_is_wrong_with_levels_is_said_in_words(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [1.0] * 10)
    problem = await refused(client, 422, sku="A-1", quantiles="0.1,0.995")
    expected = {"row": None, "field": "quantiles", "code": "invalid_levels"}
    assert problem["errors"] == [expected | {"detail": "the level 0.995 is outside 0.01 … 0.99"}]
    for levels, detail in (
        (["0.5"], "must be a list of numbers, such as [0.1, 0.5, 0.9]"),
        ([0.5, 0.5], "a level is given twice"),
    ):
        body = {"all": True, "quantiles": levels}
        answer = (await client.post("/v1/forecasts/query", json=body)).json()
        assert answer["errors"] == [expected | {"detail": detail}]


async def test_an_unknown_version_is_a_404(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [1.0] * 10)
    assert "no version 3" in (await refused(client, 404, sku="A-1", model_version=3))["detail"]


async def test_levels_are_answered_in_order_under_their_shortest_names(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [float(q) for q in range(80)])
    body = await forecast(client, "A-1", quantiles="0.990,.5, 0.333,0.01")
    assert list(body["forecast"][0]["quantiles"]) == ["0.01", "0.333", "0.5", "0.99"]
    assert sorted(body["forecast"][0]["quantiles"].values()) == list(body["forecast"][0]["quantiles"].values())


async def test_forecasts_have_a_scope_of_their_own(
    app: FastAPI, client: httpx.AsyncClient, key_with: Callable[..., Awaitable[str]]
) -> None:
    await sell(client, "A-1", [1.0] * 10)
    async with client_of(app, await key_with("forecasts:read")) as reader:
        await forecast(reader, "A-1")
    async with client_of(app, await key_with("sales:read")) as other:
        await refused(other, 403, sku="A-1")
    async with client_of(app, None) as nobody:
        await refused(nobody, 401, sku="A-1")


async def test_an_answer_that_has_not_changed_is_a_304(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [1.0] * 10)
    first = await client.get("/v1/forecasts", params={"sku": "A-1"})
    etag = first.headers["etag"]
    assert etag.startswith('"')
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await client.get("/v1/forecasts", params={"sku": "A-1"}, headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = await client.get("/v1/forecasts", params={"sku": "A-1"}, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)
    weekly = await client.get("/v1/forecasts", params={"sku": "A-1", "period": "week"}, headers={"If-None-Match": etag})
    assert weekly.status_code == 200
    await sell(client, "A-1", [2.0])
    changed = await client.get("/v1/forecasts", params={"sku": "A-1"}, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


async def test_the_look_up_of_a_read_goes_through_indexes(database: Database) -> None:
    async with database.transaction() as connection:
        # With few rows a scan is cheaper; what matters is that it need not be made with many.
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        await connection.exec_driver_sql(f"PREPARE one (int, int, int, text, text) AS {store._ONE}")
        plan = await connection.exec_driver_sql("EXPLAIN EXECUTE one (NULL, NULL, NULL, 'A-1', 'S1')")
        lines = "\n".join(row[0] for row in plan)
    assert lines.count("Index Scan") == 5, lines
    assert "Seq Scan" not in lines, lines
