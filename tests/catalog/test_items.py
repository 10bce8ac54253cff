"""Items, locations and calendar rows over HTTP: put whole or not at all, read back as they were put."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.catalog.fields import CALENDAR, ITEMS, LOCATIONS, Catalog
from app.catalog.schemas import CalendarRow, Item, LocationRow
from app.database.engine import Database
from tests.support import client_of

COFFEE = {
    "sku": "00123",
    "name": "Espresso „Roma“",
    "description": 'Beans.\n\\.\nDark, "oily"\t; 1 kg',
    "category": "coffee",
    "brand": "R, S & T",
    "launched_on": "2024-02-29",
    "discontinued_on": "2026-12-31",
    "replaces": "NA",
    "attributes": {"kg": 1, "origins": ["BR", {"share": 0.5}], "né": None},
}
NOTHING = dict.fromkeys(COFFEE) | {"attributes": {}}
BERLIN = {
    "location": "S1",
    "name": "Bahnhofstraße",
    "country": "DE",
    "subdivision": "DE-BE",
    "timezone": "Europe/Berlin",
}
EVE = {
    "sku": "00123",
    "location": "S1",
    "date": "2026-12-24",
    "price": 11.9,
    "promo": 0.25,
    "event": "Christmas Eve",
    "open": True,
    "covariates": {"temperature": -3.5, "rain": 0.0},
}


async def put(client: httpx.AsyncClient, name: str, *rows: dict[str, Any], **query: Any) -> httpx.Response:
    return await client.put(f"/v1/{name}", json={name: list(rows)}, params=query)


async def listed(client: httpx.AsyncClient, name: str, **query: Any) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = await client.get(f"/v1/{name}", params=query)
        assert answer.status_code == 200, answer.text
        rows += answer.json()[name]
        token = answer.json()["next_page_token"]
        if token is None:
            return rows
        query["page_token"] = token


async def revision(database: Database) -> int:
    async with database.reading() as connection:
        return int(await connection.fetchval("SELECT value FROM revisions WHERE name = 'calendar'"))


@pytest.mark.parametrize(
    ("name", "row", "change"),
    [
        ("items", COFFEE, {"brand": None}),
        ("locations", BERLIN, {"country": "AT"}),
        ("calendar", EVE, {"covariates": {"rain": 1}}),
    ],
)
async def test_rows_are_read_back_as_put_counted_and_replaced_whole(
    client: httpx.AsyncClient, database: Database, name: str, row: dict[str, Any], change: dict[str, Any]
) -> None:
    start = await revision(database)
    answer = await put(client, name, row)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"received": 1, "inserted": 1, "updated": 0, "unchanged": 0}
    assert await listed(client, name) == [row]
    assert await revision(database) == start + 1

    assert (await put(client, name, row)).json() == {"received": 1, "inserted": 0, "updated": 0, "unchanged": 1}
    assert await revision(database) == start + 1, "what did not change makes no forecast stale"

    dry = await put(client, name, row | change, dry_run=True)
    assert dry.json() == {"received": 1, "inserted": 0, "updated": 1, "unchanged": 0}
    assert await listed(client, name) == [row]
    assert await revision(database) == start + 1

    changed = {key: value for key, value in (row | change).items() if value is not None}
    assert (await put(client, name, changed)).json()["updated"] == 1
    assert await listed(client, name) == [row | change]
    assert await revision(database) == start + 2


async def test_an_unchanged_row_is_not_even_locked(client: httpx.AsyncClient, database: Database) -> None:
    rows = {
        "items": [COFFEE, {"sku": "B"}],
        "locations": [BERLIN, {"location": ""}],
        "calendar": [EVE, {"date": "2026-12-24"}, {"date": "2026-12-24", "location": ""}],
    }
    for name, each in rows.items():
        await put(client, name, *each)
        assert (await put(client, name, *each)).json()["unchanged"] == len(each)
        async with database.reading() as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {name} WHERE xmax <> 0") == 0, name


async def test_an_absent_field_becomes_null(client: httpx.AsyncClient) -> None:
    await put(client, "items", COFFEE)
    await put(client, "items", {"sku": "00123", "attributes": None})
    assert await listed(client, "items") == [NOTHING | {"sku": "00123"}]
    await put(client, "locations", {"name": "only one"})
    assert await listed(client, "locations") == [dict.fromkeys(BERLIN) | {"location": "", "name": "only one"}]


async def test_a_null_sku_or_location_is_a_row_of_its_own(client: httpx.AsyncClient) -> None:
    day = dict.fromkeys(EVE) | {"date": "2026-12-24", "covariates": {}}
    rows = [day | {"sku": sku, "location": location} for sku in (None, "A") for location in (None, "", "S1")]
    assert (await put(client, "calendar", *rows)).json()["inserted"] == 6
    again = [row | {"open": False} for row in rows[:1]] + rows[1:]
    assert (await put(client, "calendar", *again)).json() == {
        "received": 6,
        "inserted": 0,
        "updated": 1,
        "unchanged": 5,
    }
    assert len(await listed(client, "calendar")) == 6
    assert len(await listed(client, "calendar", sku="A")) == 3
    assert {row["sku"] for row in await listed(client, "calendar", location="")} == {None, "A"}


BAD_ROWS = [
    ("items", {"sku": " "}, "sku", "blank"),
    ("items", {"name": "no sku"}, "sku", "missing"),
    ("items", {"sku": None}, "sku", "missing"),
    ("items", {"sku": 5}, "sku", "text in quotes"),
    ("items", {"sku": "a\u0000"}, "sku", "control characters"),
    ("items", {"sku": "a" * 201}, "sku", "at most 200"),
    ("items", {"sku": "A", "name": "a\u0007"}, "name", "control characters"),
    ("items", {"sku": "A", "description": "a\u0000"}, "description", "control characters"),
    ("items", {"sku": "A", "description": "a" * 10_001}, "description", "at most 10000"),
    ("items", {"sku": "A", "launched_on": "2026-02-30"}, "launched_on", "2026-02-30"),
    ("items", {"sku": "A", "launched_on": "1899-12-31"}, "launched_on", "1900-01-01"),
    ("items", {"sku": "A", "discontinued_on": "2026-1-1"}, "discontinued_on", "YYYY-MM-DD"),
    ("items", {"sku": "A", "launched_on": "2026-02-02", "discontinued_on": "2026-02-01"}, "discontinued_on", "before"),
    ("items", {"sku": "A", "replaces": "A"}, "replaces", "another SKU"),
    ("items", {"sku": "A", "attributes": []}, "attributes", "an object"),
    ("items", {"sku": "A", "attributes": {"a": "\u0000"}}, "attributes", "NUL"),
    ("items", {"sku": "A", "attributes": {"\u0000": 1}}, "attributes", "NUL"),
    ("items", {"sku": "A", "attributes": {"a": "x" * 65_536}}, "attributes", "bytes"),
    ("items", {"sku": "A", "colour": "red"}, "colour", "not known"),
    ("locations", {"location": "\u0085"}, "location", "control characters"),
    ("locations", {"country": "XX"}, "country", "ISO 3166-1"),
    ("locations", {"country": "de"}, "country", "'DE'"),
    ("locations", {"timezone": "Europe/Atlantis"}, "timezone", "Europe/Atlantis"),
    ("locations", {"timezone": 1}, "timezone", "text"),
    ("calendar", {"sku": "A"}, "date", "missing"),
    ("calendar", {"date": "2026-12-24", "sku": ""}, "sku", "blank"),
    ("calendar", {"date": "2200-01-01"}, "date", "2199-12-31"),
    ("calendar", {"date": "2026-12-24", "price": -0.01}, "price", "at least 0"),
    ("calendar", {"date": "2026-12-24", "price": "1"}, "price", "number"),
    ("calendar", {"date": "2026-12-24", "promo": 1.01}, "promo", "at most 1"),
    ("calendar", {"date": "2026-12-24", "open": 1}, "open", "true or false"),
    ("calendar", {"date": "2026-12-24", "covariates": {"rain": "wet"}}, "covariates", "rain"),
    ("calendar", {"date": "2026-12-24", "covariates": {"rain": True}}, "covariates", "rain"),
    ("calendar", {"date": "2026-12-24", "covariates": {"": 1}}, "covariates", "blank"),
    ("calendar", {"date": "2026-12-24", "covariates": {"a\n": 1}}, "covariates", "control characters"),
]


async def test_a_bad_row_is_named_and_nothing_is_written(client: httpx.AsyncClient) -> None:
    good = {"items": {"sku": "good"}, "locations": {"location": "good"}, "calendar": {"date": "2026-12-24"}}
    for name, row, field, said in BAD_ROWS:
        answer = await put(client, name, good[name], row)
        assert answer.status_code == 422, (row, answer.text)
        problem = answer.json()
        assert problem["code"] == "invalid_rows", (row, problem)
        assert [(error["row"], error["field"]) for error in problem["errors"]] == [(1, field)], (row, problem)
        assert said in problem["errors"][0]["detail"], (row, problem)
        assert await listed(client, name) == []


async def test_two_rows_for_one_key_are_refused_and_both_named(client: httpx.AsyncClient) -> None:
    answer = await put(client, "items", {"sku": "A"}, {"sku": "B"}, {"sku": "A"})
    assert answer.status_code == 422
    assert "Rows 0 and 2" in answer.json()["detail"]
    day = {"date": "2026-12-24"}
    answer = await put(client, "calendar", day, day | {"sku": "A"}, day | {"location": ""}, day | {"location": None})
    assert answer.status_code == 422
    assert [error["detail"] for error in answer.json()["errors"]] == [
        "Rows 0 and 3 are both for one date and sku and location; send one of them."
    ]
    assert await listed(client, "calendar") == []


async def test_a_body_of_another_shape_is_refused(client: httpx.AsyncClient) -> None:
    for body in (b"{}", b'{"items": []}', b'{"items": [], "x": 1}', b'{"items": {}}', b"[]", b"null", b"5", b'"x"'):
        answer = await client.put("/v1/items", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (body, answer.text)


async def test_deep_json_is_refused(client: httpx.AsyncClient) -> None:
    deep: dict[str, Any] = {}
    for _ in range(30):
        deep = {"a": deep}
    assert (await put(client, "items", {"sku": "A", "attributes": deep})).status_code == 422
    body = b'{"items": [{"sku": "A", "attributes": ' + b"[" * 5_000 + b"]" * 5_000 + b"}]}"
    answer = await client.put("/v1/items", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


async def test_pages_and_filters(client: httpx.AsyncClient) -> None:
    names = ["Z", "a", "É", "00", "一"]
    await put(
        client, "items", *({"sku": sku, "category": "even" if i % 2 == 0 else "odd"} for i, sku in enumerate(names))
    )
    every = [row["sku"] for row in await listed(client, "items")]
    assert sorted(every) == sorted(names)
    assert [row["sku"] for row in await listed(client, "items", page_size=2)] == every
    assert {row["sku"] for row in await listed(client, "items", category="odd", page_size=1)} == {"a", "00"}
    assert [row["sku"] for row in await listed(client, "items", sku="a")] == ["a"]

    await put(client, "locations", {"location": "x", "country": "DE"}, {"location": "", "country": "AT"})
    assert [row["location"] for row in await listed(client, "locations", page_size=1)] == ["", "x"]
    assert [row["location"] for row in await listed(client, "locations", country="DE")] == ["x"]
    assert [row["location"] for row in await listed(client, "locations", location="")] == [""]

    days = [{"date": f"2026-12-{day:02}", "sku": sku} for day in (3, 1, 2) for sku in (None, "A", "B")]
    await put(client, "calendar", *days)
    rows = await listed(client, "calendar", page_size=2)
    assert [row["date"] for row in rows] == sorted(day["date"] for day in days)
    assert len({(row["date"], row["sku"]) for row in rows}) == 9
    assert {row["date"] for row in await listed(client, "calendar", **{"from": "2026-12-02", "to": "2026-12-02"})} == {
        "2026-12-02"
    }
    for query in ({"page_size": 0}, {"page_size": 10_001}, {"page_token": "x"}, {"colour": "red"}, {"to": "1"}):
        assert (await client.get("/v1/calendar", params=query)).status_code == 422, query


async def test_puts_of_the_same_rows_at_once_wait_for_each_other(client: httpx.AsyncClient, database: Database) -> None:
    start = await revision(database)
    skus = [f"{n:03}" for n in range(300)]
    orders = [skus, skus[::-1], sorted(skus, key=lambda sku: sku[1:])]
    for turn in range(3):
        rows = [[{"sku": sku, "name": f"{turn} {which}"} for sku in order] for which, order in enumerate(orders)]
        answers = await asyncio.gather(*(put(client, "items", *each) for each in rows))
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        found = await listed(client, "items")
        assert len(found) == 300
        assert len({row["name"] for row in found}) == 1, "the last one wrote all of its rows"
    assert await revision(database) == start + 9


async def test_scopes(app: FastAPI, key_with: Callable[..., Awaitable[str]]) -> None:
    async with client_of(app, await key_with("sales:read")) as reader:
        assert (await put(reader, "items", {"sku": "A"})).status_code == 403
        assert (await reader.get("/v1/items")).status_code == 200
        assert (await reader.delete("/v1/series", params={"sku": "A"})).status_code == 403
    async with client_of(app, await key_with("sales:write")) as writer:
        assert (await put(writer, "items", {"sku": "A"})).status_code == 200
        assert (await writer.get("/v1/calendar")).status_code == 403
        assert (await writer.delete("/v1/series", params={"sku": "A"})).status_code == 403
    async with client_of(app, None) as nobody:
        assert (await nobody.get("/v1/items")).status_code == 401


@pytest.mark.parametrize(("catalog", "model"), [(ITEMS, Item), (LOCATIONS, LocationRow), (CALENDAR, CalendarRow)])
def test_the_document_shows_the_columns_that_are_read(catalog: Catalog, model: type[Item]) -> None:
    assert list(model.model_fields) == list(catalog.columns)
    needed = {name for name, field in model.model_fields.items() if field.is_required()}
    assert needed == {field.name for field in catalog.fields if field.required}
