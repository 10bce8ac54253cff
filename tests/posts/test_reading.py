"""Sales read back: filters, pages, what changed since; and the statement behind it, which never scans all sales."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime

import httpx
import pytest
from fastapi import FastAPI

from app.database.engine import Database
from app.database.pages import Page, encode_token
from app.sales.reading import SalesFilter, page_query
from tests.posts.calls import day, delete, pages, post, row, sales, stored, undo, whole
from tests.support import client_of, until

FULL = {
    "sku": "00123",
    "location": "S1",
    "date": "2026-03-01",
    "quantity": 12,
    "returned": 1,
    "price": 3.5,
    "promo": True,
    "in_stock": 0.25,
}


async def test_a_row_is_read_back_with_every_field(client: httpx.AsyncClient) -> None:
    await post(client, FULL, {"sku": "A", "date": "2026-03-02", "quantity": None})
    assert await sales(client) == [
        FULL | {"promo": 1.0},
        whole({"sku": "A", "location": "", "date": "2026-03-02"}),
    ]


async def test_filters(client: httpx.AsyncClient) -> None:
    rows = [
        {"sku": sku, "location": place, "date": day(d), "quantity": d}
        for sku in ("A", "B")
        for place in ("", "S1")
        for d in (1, 2, 3)
    ]
    await post(client, *rows)
    assert await sales(client) == [whole(r) for r in rows]
    for query, wanted in [
        ({"sku": "A"}, lambda r: r["sku"] == "A"),
        ({"location": ""}, lambda r: r["location"] == ""),
        ({"sku": "B", "location": "S1"}, lambda r: r["sku"] == "B" and r["location"] == "S1"),
        ({"from": day(2)}, lambda r: r["date"] >= day(2)),
        ({"to": day(2)}, lambda r: r["date"] <= day(2)),
        ({"sku": "A", "from": day(2), "to": day(2)}, lambda r: r["sku"] == "A" and r["date"] == day(2)),
        ({"sku": "C"}, lambda r: False),
        ({"from": "0001-01-01", "to": "9999-12-31"}, lambda r: True),
        ({"from": day(4)}, lambda r: False),
    ]:
        expected = [whole(r) for r in rows if wanted(r)]
        assert await sales(client, **query) == expected, query
        assert await sales(client, page_size=2, **query) == expected, query


async def test_pages_hold_when_rows_come_and_go_between_them(client: httpx.AsyncClient) -> None:
    await post(client, *(row("A", day(d)) for d in (2, 4, 6)), *(row("B", day(d)) for d in (1, 2)))
    first = (await client.get("/v1/sales", params={"page_size": 2})).json()
    assert [r["date"] for r in first["sales"]] == [day(2), day(4)]
    await post(client, row("A", day(1)), row("A", day(5)), row("AA", day(1)))
    await delete(client, sku="A", to=day(4), **{"from": day(4)})
    rest = await sales(client, page_size=2, page_token=first["next_page_token"])
    assert [(r["sku"], r["date"]) for r in rest] == [
        ("A", day(5)),
        ("A", day(6)),
        ("AA", day(1)),
        ("B", day(1)),
        ("B", day(2)),
    ]


async def test_changed_since_lists_what_was_written_or_brought_back(client: httpx.AsyncClient) -> None:
    old = await post(client, *(row("A", day(d), d) for d in (1, 2, 3, 4)), row("B", day(1), 1))
    update = await post(client, row("A", day(1), 10), row("A", day(2), 2))
    removal = await delete(client, sku="A", **{"from": day(3), "to": day(3)})
    since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    assert await sales(client, changed_since=since) == []
    assert len(await sales(client, changed_since="2020-01-01T00:00:00Z")) == 4

    await undo(client, update["post_id"])
    assert await sales(client, changed_since=since) == [whole(row("A", day(1), 1))]
    await undo(client, removal["post_id"])
    await post(client, row("B", day(2), 5))
    everything = [whole(row("A", day(1), 1)), whole(row("A", day(3), 3)), whole(row("B", day(2), 5))]
    assert await sales(client, changed_since=since) == everything
    assert await sales(client, changed_since=since, page_size=1) == everything
    assert await sales(client, changed_since=since, sku="B") == everything[2:]
    assert old["inserted"] == 5


async def test_a_post_counts_from_its_end_so_that_a_long_one_is_not_missed(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, row("A", day(1), 1))
    async with database.transaction() as connection:
        await connection.exec_driver_sql("SELECT FROM series FOR UPDATE")
        waiting = asyncio.create_task(post(client, row("A", day(2), 1)))
        locked = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await until(lambda: stored(database, locked))
        looked = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    await waiting
    assert [r["date"] for r in await sales(client, changed_since=looked)] == [day(2)]


async def test_what_a_query_may_get_wrong(client: httpx.AsyncClient) -> None:
    for query, field in [
        ({"sku": ""}, "sku"),
        ({"sku": "a" * 201}, "sku"),
        ({"location": "\n"}, "location"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "1772323200"}, "from"),
        ({"to": "2026-03-01T00:00:00"}, "to"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "from"),
        ({"changed_since": "2026-03-01"}, "changed_since"),
        ({"changed_since": "2026-03-01T00:00:00"}, "changed_since"),
        ({"changed_since": "0001-01-01T00:00:00+14:00"}, "changed_since"),
        ({"page_size": "0"}, "page_size"),
        ({"page_size": "10001"}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"page_token": encode_token("posts", [1])}, "page_token"),
        ({"Sku": "A"}, "Sku"),
    ]:
        answer = await client.get("/v1/sales", params=query)
        assert answer.status_code == 422, (query, answer.text)
        assert [error["field"] for error in answer.json()["errors"]] == [field], (query, answer.text)


async def test_posts_are_listed_newest_first(client: httpx.AsyncClient) -> None:
    made = [(await post(client, row("A", day(d)), row("B", day(d))))["post_id"] for d in (1, 2, 3)]
    made.append((await delete(client, sku="B"))["post_id"])
    made.append((await undo(client, made[3]))["post_id"])
    found = await pages(client, "posts", page_size=2)
    assert [p["post_id"] for p in found] == made[::-1]
    assert [p["kind"] for p in found] == ["undo", "delete", "sales", "sales", "sales"]
    first = found[-1]
    assert first["created_at"].endswith("Z")  # so that it can stand in a URL, as `changed_since`, just as it is
    assert first | {"created_at": None} == {
        "post_id": made[0],
        "kind": "sales",
        "key": "admin",
        "content_type": "application/json",
        "complete": False,
        "received": 2,
        "inserted": 2,
        "updated": 0,
        "unchanged": 0,
        "completed": 0,
        "deleted": 0,
        "series": 2,
        "first_day": day(1),
        "last_day": day(1),
        "undone_by": None,
        "undoes": None,
        "created_at": None,
    }
    assert (found[0]["undoes"], found[1]["undone_by"]) == (made[3], made[4])
    assert (found[0]["inserted"], found[1]["deleted"]) == (3, 3)
    assert [p["post_id"] for p in await pages(client, "posts", kind="delete")] == [made[3]]
    assert (await client.get("/v1/posts", params={"kind": "x"})).status_code == 422


async def test_scopes(app: FastAPI, key_with: Callable[..., Awaitable[str]]) -> None:
    async with client_of(app, await key_with("sales:read")) as reader:
        assert (await reader.get("/v1/sales")).status_code == 200
        assert (await reader.get("/v1/posts")).status_code == 200
        assert (await reader.delete("/v1/sales", params={"sku": "A"})).status_code == 403
        assert (await reader.post("/v1/posts/1/undo")).status_code == 403
    async with client_of(app, await key_with("sales:write")) as writer:
        assert (await writer.get("/v1/sales")).status_code == 403
        assert (await writer.delete("/v1/sales", params={"sku": "A"})).status_code == 200
        assert (await writer.post("/v1/posts/1/undo")).status_code == 404


DAY = date(2026, 3, 1)
ONE = SalesFilter("sku 7", "S1")


@pytest.fixture
async def filled(database: Database) -> Database:
    """2,000 series of 50 days each, as a table that has been in use for a while."""
    async with database.transaction() as connection:
        for statement in (
            "INSERT INTO posts (kind, received, inserted, series_ids, first_day, last_day, created_at) SELECT 'sales', 0, 0,"
            " CASE WHEN p < 10 THEN '{}'::int[] ELSE '{7}' END, '2026-01-01', '2026-02-19', now() - (10 - p) * interval '1 day'"
            " FROM generate_series(1, 10) p",
            "INSERT INTO series (sku, location, first_day, last_day, rows) SELECT 'sku ' || s, 'S1', '2026-01-01',"
            " '2026-02-19', 50 FROM generate_series(1, 2000) s",
            "INSERT INTO sales (series_id, day, post_id, quantity) SELECT s, DATE '2026-01-01' + d, 1, d"
            " FROM generate_series(1, 2000) s, generate_series(0, 49) d",
        ):
            await connection.exec_driver_sql(statement)
    async with database.reading() as connection:
        await connection.execute("ANALYZE")
    return database


PLANNED = [
    (ONE, Page(), None),
    (ONE, Page(10, encode_token("sales", ["sku 7", "S1", DAY])), None),
    (ONE, Page(), datetime(2026, 1, 1, tzinfo=UTC)),
    (SalesFilter(), Page(100), None),
    (SalesFilter(), Page(100, encode_token("sales", ["sku 7", "S1", DAY])), None),
    (SalesFilter(location="S1", first=date(2026, 1, 5)), Page(100), None),
]


async def test_a_page_never_scans_all_sales(filled: Database) -> None:
    for wanted, page, changed_since in PLANNED:
        query, values = page_query(wanted, page, changed_since=changed_since)
        async with filled.reading() as connection:
            rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF) {query}", *values)
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan on sales" not in plan, plan
        assert "pk_sales" in plan, plan
        if wanted == ONE:
            assert "Seq Scan on series" not in plan, plan
        read = [int(loops) for loops in re.findall(r"pk_sales.* loops=(\d+)", plan)]
        assert read and read[0] <= 10, f"a page stops early instead of reading every series: {plan}"
