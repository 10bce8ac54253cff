"""Sales deleted: what GET with the same parameters lists is what goes, and a post keeps it."""

import asyncio

import httpx

from app.database.engine import Database
from tests.posts.calls import day, delete, pages, post, row, sales, stored, undo, whole


async def revisions(database: Database) -> dict[str, int]:
    return dict(await stored(database, "SELECT sku, revision FROM series"))


async def test_delete_removes_what_get_lists_and_nothing_else(client: httpx.AsyncClient, database: Database) -> None:
    rows = [row(sku, day(d), d) | {"location": place} for sku in "AB" for place in ("", "S1") for d in (1, 2, 3)]
    await post(client, *rows)
    left = [whole(r) for r in rows]
    queries: list[dict[str, str]] = [
        {"sku": "A", "location": "S1", "from": day(2), "to": day(2)},
        {"sku": "B", "location": ""},
        {"to": day(1)},
        {"location": "S1"},
        {"sku": "C"},
    ]
    for query in queries:
        listed = await sales(client, **query)
        answer = await delete(client, **query)
        assert answer["deleted"] == len(listed)
        assert (answer["post_id"] is None) == (not listed)
        left = [r for r in left if r not in listed]
        assert await sales(client) == left
    assert {(r["sku"], r["location"], r["date"]) for r in left} == {("A", "", day(2)), ("A", "", day(3))}
    series = {
        (s["sku"], s["location"]): (s["rows"], s["first_day"], s["last_day"]) for s in await pages(client, "series")
    }
    assert series == {
        ("A", ""): (2, day(2), day(3)),
        ("A", "S1"): (0, None, None),
        ("B", ""): (0, None, None),
        ("B", "S1"): (0, None, None),
    }


async def test_a_delete_raises_the_revision_of_what_it_touched_only(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, row("A", day(1)), row("B", day(2)))
    before = await revisions(database)
    await delete(client, to=day(1))
    assert await revisions(database) == before | {"A": before["A"] + 1}
    assert await delete(client, to=day(1)) == {"deleted": 0, "post_id": None}
    assert await revisions(database) == before | {"A": before["A"] + 1}


async def test_a_delete_of_everything_must_be_meant(client: httpx.AsyncClient) -> None:
    await post(client, row("A", day(1)))
    answer = await client.delete("/v1/sales")
    assert answer.status_code == 422
    assert "at least one of" in answer.json()["detail"]
    for query in (
        {"changed_since": "2026-01-01T00:00:00Z"},
        {"sku": ""},
        {"from": "x"},
        {"from": day(2), "to": day(1)},
    ):
        assert (await client.delete("/v1/sales", params=query)).status_code == 422, query
    assert len(await sales(client)) == 1


async def test_what_was_deleted_is_kept_with_the_post_that_did_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    made = await post(client, row("A", day(1), 5, price=2.5), row("A", day(2), None))
    removal = await delete(client, sku="A")
    kept = await stored(
        database, "SELECT day::text, post_id, replaced_post_id, quantity, price FROM replaced_sales ORDER BY 1"
    )
    assert kept == [
        (day(1), removal["post_id"], made["post_id"], 5.0, 2.5),
        (day(2), removal["post_id"], made["post_id"], None, None),
    ]


async def test_deletes_and_posts_at_once_lose_nothing(client: httpx.AsyncClient, database: Database) -> None:
    """Whatever the order they came in, each row is either there or kept by the delete that took it."""
    rows = [row(f"sku {n}", day(d), n) for n in range(20) for d in (1, 2)]
    await post(client, *rows)

    answers = await asyncio.gather(
        *(post(client, *rows[::-1]) for _ in range(2)),
        *(delete(client, **{"from": day(d), "to": day(d)}) for d in (1, 2)),
        *(delete(client, sku=f"sku {n}") for n in range(5)),
        *(post(client, *rows) for _ in range(2)),
    )
    added = sum(answer.get("inserted", 0) for answer in answers)
    removed = sum(answer.get("deleted", 0) for answer in answers)
    there = await sales(client)
    assert len(there) == 40 + added - removed
    assert (await stored(database, "SELECT count(*) FROM replaced_sales"))[0][0] == removed
    wrong = await stored(
        database,
        "SELECT s.sku FROM series s LEFT JOIN (SELECT series_id, count(*) n, min(day) a, max(day) b FROM sales GROUP BY 1) x"
        " ON x.series_id = s.id WHERE (s.rows, s.first_day, s.last_day) IS DISTINCT FROM (coalesce(x.n, 0), x.a, x.b)",
    )
    assert wrong == []


async def test_the_same_delete_at_once_counts_each_row_once(client: httpx.AsyncClient) -> None:
    await post(client, *(row("A", day(d)) for d in range(1, 11)))
    answers = await asyncio.gather(*(delete(client, sku="A") for _ in range(3)))
    assert sorted(answer["deleted"] for answer in answers) == [0, 0, 10]
    made = next(answer["post_id"] for answer in answers if answer["deleted"])
    await undo(client, made)
    assert len(await sales(client)) == 10
