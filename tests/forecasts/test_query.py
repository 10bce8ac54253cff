"""Many forecasts at once: which series, in which format, and what is refused before the first byte."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI

from app.database.engine import Database
from app.forecasts.bulk import forecast_file
from app.forecasts.formats import JSON
from app.forecasts.inference import BATCH
from app.forecasts.schemas import ForecastQuery
from models.training import Trained
from tests.forecasts.conftest import Publish, trained_quantities
from tests.forecasts.data import END, forecast, sell

FORMATS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


async def query(client: httpx.AsyncClient, body: dict[str, Any], accept: str | None = None) -> httpx.Response:
    headers = {} if accept is None else {"Accept": accept}
    return await client.post("/v1/forecasts/query", json=body, headers=headers)


async def answered(client: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    answer = await query(client, body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["forecasts"]
    return found


@pytest.fixture
async def shop(client: httpx.AsyncClient, publish_version: Publish, lstm: Trained) -> httpx.AsyncClient:
    """A champion, two series it knows, and one with too little history for it."""
    await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    await sell(client, "T-2", trained_quantities(2), location="S,1")
    await sell(client, "N-1", [3.0, 4.0])
    return client


async def test_many_answers_are_those_of_the_single_reads_in_the_order_asked_for(shop: httpx.AsyncClient) -> None:
    asked = [{"sku": "T-2", "location": "S,1"}, {"sku": "N-1"}, {"sku": "T-1", "location": None}, {"sku": "N-1"}]
    options: dict[str, Any] = {"horizon": 10, "period": "week"}
    found = await answered(shop, series=asked, quantiles=[0.9, 0.25], **options)
    singles = [
        await forecast(shop, str(one["sku"]), location=one.get("location") or "", quantiles="0.9,0.25", **options)
        for one in asked
    ]
    assert found == singles
    assert found == await answered(shop, series=asked, quantiles="0.9,0.25", **options)


@pytest.mark.parametrize("period", ["day", "month"])
async def test_every_format_says_the_same(shop: httpx.AsyncClient, period: str) -> None:
    body = {"all": True, "period": period, "quantiles": [0.05, 0.5]}
    answers = {name: await query(shop, body, accept) for name, accept in FORMATS.items()}
    for name, answer in answers.items():
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].partition(";")[0] == FORMATS[name]
    objects = answers["json"].json()["forecasts"]
    assert [one["sku"] for one in objects] == ["N-1", "T-1", "T-2"]
    assert [json.loads(line) for line in answers["ndjson"].text.splitlines()] == objects
    expected = [row for one in objects for row in rows_of(one)]
    parquet = pq.read_table(io.BytesIO(answers["parquet"].content))
    with pa.ipc.open_stream(answers["arrow"].content) as stream:
        arrow = stream.read_all()
    assert parquet.equals(arrow)
    assert [plain(row) for row in arrow.to_pylist()] == expected
    assert [row | {"held_out": [], "missing_covariates": []} for row in csv_rows(answers["csv"].text)] == expected


def rows_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table formats that an object of the JSON ones stands for."""
    said = one["fallback"] or {"method": None, "reason": None, "detail": None}
    head = {name: one[name] for name in ("sku", "location", "cutoff", "model_version", "generated_at", "period")}
    return [
        head
        | {"held_out": one["held_out"]}
        | {name: period[name] for name in ("start", "end", "complete", "mean")}
        | period["quantiles"]
        | {f"fallback_{name}": text for name, text in said.items()}
        | {"missing_covariates": one["missing_covariates"]}
        for period in one["forecast"]
    ]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    as_text: dict[type, Callable[[Any], str]] = {
        date: str,
        datetime: lambda moment: moment.isoformat().replace("+00:00", "Z"),
    }
    return {name: as_text.get(type(value), lambda same: same)(value) for name, value in row.items()}


def csv_rows(text: str) -> list[dict[str, Any]]:
    typed: dict[str, Callable[[str], Any]] = {
        "model_version": lambda cell: int(cell) if cell else None,
        "complete": lambda cell: cell == "true",
        **dict.fromkeys(("mean", "0.05", "0.5"), float),
        **dict.fromkeys(("fallback_method", "fallback_reason", "fallback_detail"), lambda cell: cell or None),
    }
    return [{n: typed.get(n, str)(cell) for n, cell in row.items()} for row in csv.DictReader(io.StringIO(text))]


async def test_unknown_series_are_all_named_before_anything_is_answered(shop: httpx.AsyncClient) -> None:
    await shop.put("/v1/items", json={"items": [{"sku": "X-7"}]})
    asked = [{"sku": "T-1"}, *({"sku": f"X-{n}"} for n in range(300)), {"sku": "T-2", "location": "S9"}]
    answer = await query(shop, {"series": asked}, FORMATS["csv"])
    assert answer.status_code == 404
    problem = answer.json()
    assert [error["row"] for error in problem["errors"]] == [*range(1, 302)]
    assert "'S,1'" in problem["errors"][-1]["detail"]
    assert "no sales yet" in problem["errors"][7]["detail"]


async def test_more_than_fifty_thousand_series_are_refused(client: httpx.AsyncClient) -> None:
    answer = await query(client, {"series": [{"sku": f"X-{n}"} for n in range(50_001)]})
    assert answer.status_code == 422
    assert "50000" in answer.json()["detail"]


SENSELESS: list[dict[str, Any]] = [
    {},
    {"series": []},
    {"all": False},
    {"all": True, "series": [{"sku": "T-1"}]},
    {"all": 1},
    {"series": [{"sku": "T-1"}], "changed_since": "2026-11-01T00:00:00Z"},
    {"all": True, "changed_since": "2026-11-01"},
    {"all": True, "changed_since": "2026-11-01T00:00:00"},
    {"all": True, "horizon": 0},
    {"all": True, "horizon": 22},
    {"all": True, "horizon": "7"},
    {"all": True, "quantiles": [0.5, 1]},
    {"all": True, "quantiles": [0.5, 0.5]},
    {"all": True, "quantiles": []},
    {"all": True, "quantiles": ["0.5"]},
    {"all": True, "period": "year"},
    {"all": True, "days": 3},
    {"series": [{"sku": "T-1", "place": "S1"}]},
    {"series": [{"sku": ""}]},
    {"series": [{"sku": 7}]},
    {"series": ["T-1"]},
]


async def test_a_query_that_makes_no_sense_is_a_422(shop: httpx.AsyncClient) -> None:
    for body in SENSELESS:
        answer = await query(shop, body)
        assert answer.status_code == 422, (body, answer.text)
        assert answer.json()["detail"]


async def test_an_unknown_version_or_format_is_told_before_the_first_byte(shop: httpx.AsyncClient) -> None:
    assert (await query(shop, {"all": True, "model_version": 9})).status_code == 404
    refused = await query(shop, {"all": True}, "image/png")
    assert refused.status_code == 406
    assert FORMATS["parquet"] in refused.json()["detail"]


LIKED = [
    ("*/*", "json"),
    ("text/*", "csv"),
    ("application/*", "json"),
    ("text/html, */*;q=0.1", "json"),
    ("application/json;q=0.2, text/csv;q=0.8", "csv"),
    ("application/json;q=0, */*", "ndjson"),
    ("APPLICATION/X-NDJSON", "ndjson"),
]


async def test_the_format_is_the_one_liked_best(shop: httpx.AsyncClient) -> None:
    for accept, format_ in LIKED:
        answer = await query(shop, {"series": [{"sku": "N-1"}]}, accept)
        assert answer.headers["content-type"].partition(";")[0] == FORMATS[format_], accept


async def test_one_series_is_read_in_any_format_too(shop: httpx.AsyncClient) -> None:
    params = {"sku": "T-1", "quantiles": "0.05,0.5"}
    many = {"series": [{"sku": "T-1"}], "quantiles": "0.05,0.5"}
    etags = set()
    for name, accept in FORMATS.items():
        answer = await shop.get("/v1/forecasts", params=params, headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].partition(";")[0] == accept
        expected = await query(shop, many, accept)
        if name == "json":
            assert [answer.json()] == expected.json()["forecasts"]
        else:
            assert answer.content == expected.content
        etags.add(answer.headers["etag"])
    assert len(etags) == len(FORMATS)
    refused_format = await shop.get("/v1/forecasts", params=params, headers={"Accept": "image/png"})
    assert (refused_format.status_code, refused_format.json()["code"]) == (406, "not_acceptable")


async def test_all_leaves_out_what_ended_long_before_the_others_and_what_is_discontinued(
    shop: httpx.AsyncClient,
) -> None:
    await sell(shop, "E-1", [1.0], last=END - timedelta(days=56))
    await sell(shop, "E-2", [1.0], last=END - timedelta(days=57))
    await sell(shop, "D-1", [1.0] * 3)
    await sell(shop, "D-2", [1.0] * 3)
    items = [
        {"sku": "D-1", "discontinued_on": str(END)},
        {"sku": "D-2", "discontinued_on": str(END + timedelta(days=1))},
    ]
    assert (await shop.put("/v1/items", json={"items": items})).status_code == 200
    assert [one["sku"] for one in await answered(shop, all=True)] == ["D-2", "E-1", "N-1", "T-1", "T-2"]
    named = await answered(shop, series=[{"sku": "E-2"}, {"sku": "D-1"}])
    assert [one["cutoff"] for one in named] == [str(END - timedelta(days=57)), str(END)]


async def test_changed_since_answers_only_what_is_newer(
    shop: httpx.AsyncClient, publish_version: Publish, cnn: Trained
) -> None:
    seen = max(one["generated_at"] for one in await answered(shop, all=True))
    assert await answered(shop, all=True, changed_since=seen) == []
    empty = await query(shop, {"all": True, "changed_since": seen}, FORMATS["parquet"])
    assert pq.read_table(io.BytesIO(empty.content)).num_rows == 0
    await sell(shop, "T-1", [99.0])
    assert [one["sku"] for one in await answered(shop, all=True, changed_since=seen)] == ["T-1"]
    assert [one["sku"] for one in await answered(shop, all=True, changed_since=seen)] == ["T-1"]
    version = await publish_version(cnn)
    newer = await answered(shop, all=True, changed_since=seen)
    assert [one["model_version"] for one in newer] == [None, version, version]


async def test_nothing_posted_yet_is_an_empty_answer(client: httpx.AsyncClient) -> None:
    assert await answered(client, all=True) == []
    for accept in FORMATS.values():
        assert (await query(client, {"all": True}, accept)).status_code == 200


@pytest.fixture
async def many(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """More series than a batch, without a champion."""
    rows = [
        {"sku": f"M-{n:04}", "date": str(END - timedelta(days=ago)), "quantity": n % 9}
        for n in range(2 * BATCH + 10)
        for ago in range(3)
    ]
    assert (await client.post("/v1/sales", json={"sales": rows})).status_code == 200
    yield client


async def test_more_series_than_a_batch_are_all_answered_once(many: httpx.AsyncClient) -> None:
    found = await answered(many, all=True, horizon=2)
    assert [one["sku"] for one in found] == [f"M-{n:04}" for n in range(2 * BATCH + 10)]
    assert all(one["forecast"][0]["mean"] == pytest.approx(n % 9) for n, one in enumerate(found))
    backwards = [{"sku": one["sku"]} for one in reversed(found)]
    assert await answered(many, series=backwards, horizon=2) == found[::-1]


async def test_no_connection_is_held_while_the_answer_is_read(many: httpx.AsyncClient, app: FastAPI) -> None:
    database: Database = app.state.database
    pieces = await forecast_file(app.state.inference, ForecastQuery(all=True), JSON)
    async with aclosing(pieces):
        assert len(await anext(pieces)) > 0
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        rest = [piece async for piece in pieces]
    assert len(rest) == 3  # two more batches and the end
