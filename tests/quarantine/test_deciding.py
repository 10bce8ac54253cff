"""Entries listed and decided: one, many, all of a post; said twice, taken back, ended by a correction."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI

from app.database.engine import Database
from tests.posts.calls import delete, stored, undo
from tests.quarantine.places import a_day, day, decide, entries, held, open_shop, rows_of, send
from tests.support import client_of


async def one_entry(client: httpx.AsyncClient, sku: str = "A-3", on: str = day(1), quantity: float = 500) -> int:
    await send(client, rows_of({sku: quantity}, on))
    [entry] = await entries(client, sku=sku, **{"from": on, "to": on})
    number: int = entry["id"]
    return number


async def revision(database: Database, sku: str) -> int:
    [(value,)] = await stored(database, "SELECT revision FROM series WHERE sku = $1", sku)
    return int(value)


@pytest.mark.parametrize(
    ("word", "status", "other", "otherwise"),
    [("confirm", "confirmed", "dismiss", "dismissed"), ("dismiss", "dismissed", "confirm", "confirmed")],
)
async def test_a_decision_is_made_once_and_taken_back_by_the_other(
    client: httpx.AsyncClient,
    app: FastAPI,
    database: Database,
    key_with: Callable[..., Awaitable[str]],
    *,
    word: str,
    status: str,
    other: str,
    otherwise: str,
) -> None:
    await open_shop(client)
    entry = await one_entry(client)
    before = await revision(database, "A-3")
    first = await decide(client, word, entry)
    assert (first["id"], first["status"], first["key"]) == (entry, status, "admin")
    assert first["decided_at"] is not None
    assert await revision(database, "A-3") == before + 1
    assert await decide(client, word, entry) == first
    assert await revision(database, "A-3") == before + 1
    problem = await decide(client, other, body={"ids": [entry]}, status=409)
    assert problem["code"] == "conflict"
    assert problem["errors"][0]["code"] == "decided_before"
    assert await held(client) == []
    assert [found["id"] for found in await entries(client, status=status)] == [entry]
    async with client_of(app, await key_with("models:write")) as somebody:
        second = await decide(somebody, other, entry)
    assert (second["status"], second["key"] == "admin") == (otherwise, False)
    assert second["decided_at"] > first["decided_at"]
    assert await revision(database, "A-3") == before + 2
    assert [found["id"] for found in await entries(client, status=otherwise)] == [entry]


async def test_a_repeated_decision_with_its_key_gets_the_first_answer(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    entry = await one_entry(client)
    answers = [
        await client.post(f"/v1/quarantine/{entry}/confirm", headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotent-replayed"] == "true"


async def test_what_there_is_not_is_404_and_what_is_no_number_is_422(client: httpx.AsyncClient) -> None:
    assert (await decide(client, "confirm", 1, status=404))["code"] == "not_found"
    assert (await decide(client, "dismiss", 2**63 - 1, status=404))["code"] == "not_found"
    for bad in ("0", "x", "-1", str(2**63)):
        assert (await client.post(f"/v1/quarantine/{bad}/confirm")).status_code == 422, bad


async def test_many_are_decided_all_or_none(client: httpx.AsyncClient, database: Database) -> None:
    await open_shop(client)
    await send(client, rows_of(a_day(times=12), day(1)))
    ids = [entry["id"] for entry in await entries(client)]
    await decide(client, "dismiss", ids[0])
    problem = await decide(client, "confirm", body={"ids": ids}, status=409)
    assert [error["detail"] for error in problem["errors"]] == [f"{ids[0]}: it was dismissed"]
    problem = await decide(client, "confirm", body={"ids": [*ids[1:], 10**9, 10**9 + 1]}, status=404)
    assert len(problem["errors"]) == 2
    assert len(await held(client)) == 9
    before = await revision(database, "A-5")
    assert await decide(client, "dismiss", body={"ids": [*ids, ids[3]]}) == {"decided": 9}
    assert await revision(database, "A-5") == before + 1
    assert await decide(client, "dismiss", body={"ids": ids}) == {"decided": 0}


async def test_all_that_a_post_brought_are_decided(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    wrong = await send(client, rows_of(a_day(times=12), day(1)))
    other = await one_entry(client, on=day(2), quantity=900)
    first = (await entries(client, post_id=wrong["post_id"]))[0]["id"]
    await decide(client, "confirm", first)
    assert await decide(client, "dismiss", body={"post_id": wrong["post_id"]}) == {"decided": 9}
    assert await decide(client, "dismiss", body={"post_id": wrong["post_id"]}) == {"decided": 0}
    assert [entry["id"] for entry in await entries(client)] == [other]
    assert len(await entries(client, post_id=wrong["post_id"], status="dismissed")) == 9
    assert (await decide(client, "confirm", body={"post_id": 10**9}, status=404))["code"] == "not_found"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": []},
        {"ids": [1], "post_id": 1},
        {"ids": ["1"]},
        {"ids": [0]},
        {"post_id": True},
        {"ids": [1] * 10_001},
        {"id": 1},
    ],
)
async def test_a_body_that_does_not_say_which_is_refused(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await decide(client, "confirm", body=body, status=422))["code"] == "invalid_request"


async def test_lists_are_filtered_and_paged(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await open_shop(client, "S2", seed=2)
    await send(client, rows_of(a_day(times=12), day(1)))
    await send(client, rows_of({"A-3": 700}, day(2), "S2"))
    assert len(await entries(client)) == len(await entries(client, page_size=3)) == 11
    paged = await entries(client, page_size=3)
    assert [entry["id"] for entry in paged] == sorted((entry["id"] for entry in paged), reverse=True)
    assert {entry["location"] for entry in await entries(client, location="S2")} == {"S2"}
    assert len(await entries(client, sku="A-3")) == 2
    assert len(await entries(client, reason="units")) == 10
    assert len(await entries(client, **{"from": day(2)})) == 1
    assert len(await entries(client, to=day(1))) == 10
    assert await entries(client, status="confirmed") == []
    for query in (
        {"status": "new"},
        {"from": day(2), "to": day(1)},
        {"page_token": "x"},
        {"colour": "red"},
        {"post_id": 0},
    ):
        assert (await client.get("/v1/quarantine", params=query)).status_code == 422, query


@pytest.mark.parametrize("word", [None, "confirm", "dismiss"])
async def test_a_correction_ends_the_entry_and_is_judged_anew(client: httpx.AsyncClient, word: str | None) -> None:
    await open_shop(client)
    entry = await one_entry(client)
    if word is not None:
        await decide(client, word, entry)
    assert (await send(client, rows_of({"A-3": 11}, day(1))))["held"] == 0
    assert [found["id"] for found in await entries(client, status="replaced")] == [entry]
    assert (await decide(client, "confirm", entry, status=409))["errors"][0]["code"] == "decided_before"
    assert (await send(client, rows_of({"A-3": 700}, day(1))))["held"] == 1
    assert [found["quantity"] for found in await entries(client)] == [700]


async def test_the_same_quantity_again_changes_no_decision(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    entry = await one_entry(client)
    await decide(client, "confirm", entry)
    assert (await send(client, rows_of({"A-3": 500}, day(1))))["held"] == 0
    assert (await send(client, rows_of({"A-3": 500}, day(1), price=2.5)))["held"] == 0
    assert [found["id"] for found in await entries(client, status="confirmed")] == [entry]


async def test_an_undo_takes_the_entry_with_it(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    wrong = await send(client, rows_of(a_day() | {"A-3": 500}, day(1)))
    await undo(client, wrong["post_id"])
    assert await held(client) == []
    assert len(await entries(client, status="replaced")) == 1


async def test_what_an_undo_gives_back_is_held_again(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    entry = await one_entry(client)
    better = await send(client, rows_of({"A-3": 11}, day(1)))
    await undo(client, better["post_id"])
    assert [found["id"] for found in await entries(client)] == [entry]
    removal = await delete(client, sku="A-3")
    assert await held(client) == []
    await undo(client, removal["post_id"])
    assert [(found["id"], found["quantity"]) for found in await entries(client)] == [(entry, 500)]


async def test_what_was_confirmed_is_confirmed_again_by_an_undo_and_what_was_dismissed_is_held(
    client: httpx.AsyncClient,
) -> None:
    await open_shop(client)
    await send(client, rows_of({"A-3": 500, "A-4": 600}, day(1)))
    numbers = {entry["sku"]: entry["id"] for entry in await entries(client)}
    said = await decide(client, "confirm", numbers["A-3"])
    await decide(client, "dismiss", numbers["A-4"])
    mistake = await send(client, rows_of({"A-3": 11, "A-4": 12}, day(1)))
    await undo(client, mistake["post_id"])
    assert await entries(client, status="confirmed") == [said]
    [again] = await entries(client)
    assert (again["id"], again["key"], again["decided_at"]) == (numbers["A-4"], None, None)


async def test_an_undo_holds_no_day_that_its_post_did_not_change(client: httpx.AsyncClient) -> None:
    """An entry of the same number may have ended long before, and the day be true by now."""
    await open_shop(client)
    await send(client, rows_of({"A-3": 500}, day(1)))
    await send(client, rows_of({"A-3": 11}, day(1)))
    await send(client, rows_of({"A-3": 400}, day(-9)))
    [entry] = await entries(client)
    await decide(client, "confirm", entry["id"])
    await send(client, rows_of({"A-3": 500}, day(1)))  # like a day that was confirmed: true
    assert await held(client) == []
    priced = await send(
        client, rows_of({"A-3": 10}, day(0)) + rows_of({"A-3": 500}, day(1), price=2) + rows_of({"A-3": 9}, day(2))
    )
    await undo(client, priced["post_id"])
    assert await held(client) == []


async def test_entries_of_a_deleted_series_go_with_it(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    entry = await one_entry(client)
    assert (await client.delete("/v1/series", params={"sku": "A-3", "location": "S1"})).status_code == 204
    for status in ("held", "replaced"):
        assert await entries(client, status=status) == []
    await decide(client, "confirm", entry, status=404)


async def test_opposite_decisions_at_once_leave_the_later(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    for turn in range(1, 5):
        entry = await one_entry(
            client, on=day(turn), quantity=500 * 4**turn
        )  # what was confirmed before is no wonder any more
        words = ("confirm", "dismiss")
        answers = await asyncio.gather(*(client.post(f"/v1/quarantine/{entry}/{word}") for word in words))
        assert [answer.status_code for answer in answers] == [200, 200]
        [found] = await entries(client, **{"from": day(turn), "status": "confirmed"}) or await entries(
            client, **{"from": day(turn), "status": "dismissed"}
        )
        decided = max((answer.json() for answer in answers), key=lambda entry: entry["decided_at"])
        assert found == decided
        await decide(client, "confirm", entry)


async def test_a_decision_and_a_correction_at_once_agree(client: httpx.AsyncClient) -> None:
    """Either the decision came first and ended with the correction, or it came too late and is refused."""
    await open_shop(client)
    for turn in range(1, 5):
        entry = await one_entry(client, on=day(turn))
        answer, _ = await asyncio.gather(
            client.post(f"/v1/quarantine/{entry}/dismiss"), send(client, rows_of({"A-3": 12}, day(turn)))
        )
        assert answer.status_code in (200, 409)
        assert entry in [found["id"] for found in await entries(client, status="replaced")]


async def test_who_may_read_and_who_may_decide(
    client: httpx.AsyncClient, app: FastAPI, key_with: Callable[..., Awaitable[str]]
) -> None:
    await open_shop(client)
    entry = await one_entry(client)
    for scope, reads, decides in (("sales:write", 403, 403), ("models:read", 200, 403), ("models:write", 403, 200)):
        async with client_of(app, await key_with(scope)) as other:
            assert (await other.get("/v1/quarantine")).status_code == reads, scope
            assert (await other.post(f"/v1/quarantine/{entry}/confirm")).status_code == decides, scope
            many = await other.post("/v1/quarantine/confirm", json={"ids": [entry]})
            assert many.status_code == decides, scope
