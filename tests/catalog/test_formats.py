"""The catalog takes the same file formats as sales: each carries the same rows to the same place."""

import gzip
import io
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.catalog.test_items import listed

DAYS = [
    {
        "sku": "00123",
        "location": "NA",
        "date": "2026-12-24",
        "price": 11.9,
        "promo": 1.0,
        "event": '1e5, "eve"',
        "open": False,
        "covariates": {"rain": 1.5},
    },
    dict.fromkeys(["sku", "location", "price", "promo", "event", "open"]) | {"date": "2026-12-25", "covariates": {}},
]


def as_ndjson(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(orjson.dumps(row) for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    target = io.BytesIO()
    pyarrow.csv.write_csv(table(rows, covariates_as_text=True), target)
    return target.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    target = io.BytesIO()
    pyarrow.parquet.write_table(table(rows), target)
    return target.getvalue()


def as_arrow(rows: list[dict[str, Any]]) -> bytes:
    target = io.BytesIO()
    made = table(rows)
    with pa.ipc.new_stream(target, made.schema) as stream:
        stream.write_table(made)
    return target.getvalue()


def table(rows: list[dict[str, Any]], *, covariates_as_text: bool = False) -> pa.Table:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if covariates_as_text:
        columns["covariates"] = [orjson.dumps(row["covariates"]).decode() for row in rows]
    return pa.table(columns)


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "application/x-ndjson": as_ndjson,
    "text/csv": as_csv,
    "application/vnd.apache.parquet": as_parquet,
    "application/vnd.apache.arrow.stream": as_arrow,
}


@pytest.mark.parametrize("media_type", FORMATS)
async def test_every_format_carries_the_same_rows(client: httpx.AsyncClient, media_type: str) -> None:
    content = FORMATS[media_type](DAYS)
    headers = {"Content-Type": media_type}
    answer = await client.put("/v1/calendar", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["inserted"] == 2
    assert await listed(client, "calendar") == DAYS
    packed = await client.put(
        "/v1/calendar", content=gzip.compress(content), headers=headers | {"Content-Encoding": "gzip"}
    )
    assert packed.json() == {"received": 2, "inserted": 0, "updated": 0, "unchanged": 2}
    zstd = pa.compress(content, "zstd", asbytes=True)
    packed = await client.put("/v1/calendar", content=zstd, headers=headers | {"Content-Encoding": "zstd"})
    assert packed.json()["unchanged"] == 2


async def test_what_a_file_may_get_wrong(client: httpx.AsyncClient) -> None:
    for content, media_type, status, said in [
        (b"sku,name\nA,x\nA,y\n", "text/csv", 422, "Rows 0 and 1"),
        (b"sku,colour\nA,x\n", "text/csv", 422, "colour"),
        (b"name\nx\n", "text/csv", 422, "sku"),
        (b"sku,launched_on\nA,24.12.2026\n", "text/csv", 422, "YYYY-MM-DD"),
        (b"sku,attributes\nA,[1]\n", "text/csv", 422, "attributes"),
        (b'sku,attributes\nA,"{""a"": 1e999}"\n', "text/csv", 422, "attributes"),
        (b"sku\n", "text/csv", 422, "no rows"),
        (b"sku\n\xff\n", "text/csv", 400, "UTF-8"),
        (b"PAR1 nothing", "application/vnd.apache.parquet", 400, "Parquet"),
        (b"sku\nA\n", "text/plain", 415, "text/csv"),
        (b'{"sku": "A"}\n{"sku": "B"', "application/x-ndjson", 422, "JSON"),
    ]:
        answer = await client.put("/v1/items", content=content, headers={"Content-Type": media_type})
        assert answer.status_code == status, (content, answer.text)
        assert said in answer.text, (content, answer.text)
    assert await listed(client, "items") == []


@given(body=st.binary(max_size=200), media_type=st.sampled_from(["application/json", *FORMATS]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_are_answered(client: httpx.AsyncClient, body: bytes, media_type: str) -> None:
    answer = await client.put("/v1/locations", content=body, headers={"Content-Type": media_type})
    assert 200 <= answer.status_code < 500, answer.text


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["sku", "name", "attributes", "launched_on"]), VALUES), max_size=3)
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_json_is_answered(client: httpx.AsyncClient, rows: list[dict[str, Any]]) -> None:
    body = (
        orjson.dumps({"items": rows}, option=orjson.OPT_PASSTHROUGH_SUBCLASS, default=str) if storable(rows) else b"{"
    )
    answer = await client.put("/v1/items", content=body, headers={"Content-Type": "application/json"})
    assert 200 <= answer.status_code < 500, answer.text


def storable(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
