"""Posts undone: a wrong file leaves no trace in what is read, and all of its trace in the history."""

import asyncio
from typing import Any

import httpx

from app.database.engine import Database
from tests.posts.calls import day, delete, pages, post, row, sales, stored, undo, whole


async def test_an_undo_gives_back_what_a_wrong_file_replaced(client: httpx.AsyncClient, database: Database) -> None:
    right = await post(client, row("A", day(1), 1, price=9.5), row("A", day(2), 2), row("B", day(1), 3))
    before = await sales(client)
    wrong = await post(
        client,
        row("A", day(1), 100),
        row("A", day(2), 2),
        row("A", day(9), 7),
        row("B", day(1), None),
        row("C", day(1), 1),
    )
    assert (wrong["inserted"], wrong["updated"], wrong["unchanged"]) == (2, 2, 1)
    revisions = dict(await stored(database, "SELECT sku, revision FROM series"))

    answer = await undo(client, wrong["post_id"])
    assert await sales(client) == before
    assert {r[0] for r in await stored(database, "SELECT post_id FROM sales")} == {right["post_id"]}
    counts = {
        name: answer[name] for name in ("kind", "undoes", "inserted", "updated", "deleted", "series", "series_gone")
    }
    assert counts == {
        "kind": "undo",
        "undoes": wrong["post_id"],
        "inserted": 0,
        "updated": 2,
        "deleted": 2,
        "series": 3,
        "series_gone": 0,
    }
    stats = {s["sku"]: (s["rows"], s["first_day"], s["last_day"]) for s in await pages(client, "series")}
    assert stats == {"A": (2, day(1), day(2)), "B": (1, day(1), day(1)), "C": (0, None, None)}
    assert dict(await stored(database, "SELECT sku, revision FROM series")) == {s: r + 1 for s, r in revisions.items()}
    kept = await stored(
        database,
        "SELECT replaced_post_id, count(*) FROM replaced_sales WHERE post_id = $1 GROUP BY 1",
        answer["post_id"],
    )
    assert kept == [(wrong["post_id"], 4)], "what the wrong file said stays known"


async def test_zeros_that_complete_added_are_undone_too(client: httpx.AsyncClient) -> None:
    await post(client, *(row(sku, day(1), 1) for sku in "ABC"))
    made = await post(client, row("A", day(2), 5), complete=True)
    assert made["completed"] == 2
    answer = await undo(client, made["post_id"])
    assert answer["deleted"] == 3
    assert await sales(client, **{"from": day(2)}) == []


async def test_a_discontinued_item_is_not_completed(client: httpx.AsyncClient) -> None:
    await post(client, *(row(sku, day(1), 1) for sku in "ABC"))
    items = [{"sku": "B", "discontinued_on": day(2)}, {"sku": "C", "discontinued_on": day(3)}]
    assert (await client.put("/v1/items", json={"items": items})).status_code == 200
    assert (await post(client, row("A", day(2), 5), complete=True))["completed"] == 1
    assert [r["sku"] for r in await sales(client, **{"from": day(2)})] == ["A", "C"]


async def test_an_undone_delete_brings_every_row_back(client: httpx.AsyncClient, database: Database) -> None:
    first = await post(client, row("A", day(1), 1, promo=True), row("A", day(2), None))
    second = await post(client, row("A", day(2), 2), row("B", day(1), 3))
    before = await stored(database, "SELECT * FROM sales ORDER BY series_id, day")
    removal = await delete(client, location="S1")
    assert await sales(client) == []
    answer = await undo(client, removal["post_id"])
    assert (answer["inserted"], answer["updated"], answer["deleted"]) == (3, 0, 0)
    assert await stored(database, "SELECT * FROM sales ORDER BY series_id, day") == before
    await undo(client, second["post_id"])
    await undo(client, first["post_id"])
    assert await sales(client) == []


async def test_a_later_post_stands_in_the_way_and_is_named(client: httpx.AsyncClient) -> None:
    first = await post(client, row("A", day(1), 1), row("A", day(2), 1), row("A", day(3), 1))
    second = await post(client, row("A", day(1), 2))
    removal = await delete(client, sku="A", **{"from": day(3), "to": day(3)})
    problem = await undo(client, first["post_id"], status=409)
    assert problem["code"] == "conflict"
    assert [error["detail"] for error in problem["errors"]] == [
        f"sku 'A', location 'S1', {day(1)}: was last written by post {second['post_id']}",
        f"sku 'A', location 'S1', {day(3)}: was deleted since",
    ]
    assert len(await sales(client)) == 2
    await post(client, row("A", day(3), 3))
    problem = await undo(client, removal["post_id"], status=409)
    assert "was last written by post" in problem["errors"][0]["detail"]


async def test_a_hundred_touched_rows_are_named_and_all_are_counted(client: httpx.AsyncClient) -> None:
    rows = [row(f"sku {n:03}", day(1), 1) for n in range(150)]
    first = await post(client, *rows)
    await post(client, *(r | {"quantity": 2} for r in rows))
    problem = await undo(client, first["post_id"], status=409)
    assert len(problem["errors"]) == 100
    assert "150 of the rows" in problem["detail"]


async def test_undone_newest_first_everything_comes_off(client: httpx.AsyncClient) -> None:
    states: list[list[dict[str, Any]]] = []
    made: list[int] = []
    for n in range(4):
        states.append(await sales(client))
        made.append(
            (await post(client, row("A", day(1), n), row("A", day(n + 1), 10 + n) if n else row("B", day(1), 1)))[
                "post_id"
            ]
        )
    states.append(await sales(client))
    made.append((await delete(client, sku="A"))["post_id"])
    for post_id, state in zip(made[::-1], states[::-1], strict=True):
        await undo(client, post_id)
        assert await sales(client) == state


async def test_an_undo_happens_once_and_for_good(client: httpx.AsyncClient) -> None:
    made = await post(client, row("A", day(1), 1))
    answer = await undo(client, made["post_id"])
    again = await undo(client, made["post_id"], status=409)
    assert f"by post {answer['post_id']}" in again["detail"]
    problem = await undo(client, answer["post_id"], status=409)
    assert "post the sales again" in problem["detail"]
    for unknown in (answer["post_id"] + 1, 2**63 - 1):
        assert (await undo(client, unknown, status=404))["code"] == "not_found"
    for bad in ("0", "-1", "x", str(2**63), "1.5"):
        assert (await client.post(f"/v1/posts/{bad}/undo")).status_code == 422, bad


async def test_a_repeated_undo_with_its_key_gets_the_first_answer(client: httpx.AsyncClient) -> None:
    made = await post(client, row("A", day(1), 1))
    headers = {"Idempotency-Key": "undo once"}
    first = await client.post(f"/v1/posts/{made['post_id']}/undo", headers=headers)
    again = await client.post(f"/v1/posts/{made['post_id']}/undo", headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"


async def test_undos_at_once_leave_one_effect(client: httpx.AsyncClient) -> None:
    await post(client, *(row("A", day(d), 1) for d in range(1, 8)))
    wrong = await post(client, *(row("A", day(d), 2) for d in range(1, 10)))
    answers = await asyncio.gather(*(client.post(f"/v1/posts/{wrong['post_id']}/undo") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert await sales(client) == [whole(row("A", day(d), 1)) for d in range(1, 8)]


async def test_an_undo_and_a_post_at_once_agree(client: httpx.AsyncClient) -> None:
    """Either the post came first and stands in the undo's way, or it came after and is written on top of it."""
    for turn in range(5):
        sku = f"sku {turn}"
        await post(client, *(row(sku, day(d), 1) for d in (1, 2)))
        wrong = await post(client, row(sku, day(1), 2))
        undone, _ = await asyncio.gather(
            client.post(f"/v1/posts/{wrong['post_id']}/undo"), post(client, row(sku, day(1), 3))
        )
        assert undone.status_code in (200, 409)
        assert [r["quantity"] for r in await sales(client, sku=sku)] == [3.0, 1.0]


async def test_series_deleted_since_are_passed_over(client: httpx.AsyncClient) -> None:
    await post(client, row("A", day(1), 1), row("B", day(1), 1))
    wrong = await post(client, row("A", day(1), 2), row("B", day(1), 2))
    assert (await client.delete("/v1/series", params={"sku": "A", "location": "S1"})).status_code == 204
    await post(client, row("A", day(1), 5))
    answer = await undo(client, wrong["post_id"])
    assert (answer["updated"], answer["series_gone"]) == (1, 1)
    assert [(r["sku"], r["quantity"]) for r in await sales(client)] == [("A", 5.0), ("B", 1.0)]


async def test_a_post_that_changed_nothing_is_undone_to_nothing(client: httpx.AsyncClient) -> None:
    await post(client, row("A", day(1), 1))
    same = await post(client, row("A", day(1), 1))
    assert same["unchanged"] == 1
    answer = await undo(client, same["post_id"])
    assert (answer["inserted"], answer["updated"], answer["deleted"], answer["series"]) == (0, 0, 0, 0)
    assert len(await sales(client)) == 1
