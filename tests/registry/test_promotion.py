"""Promoting and rolling back over HTTP: what an operator asks for is what is there afterwards, or a 409 that says why not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from tests.registry.support import champion_of, file_of, flip_byte, published
from tests.support import client_of


@pytest.fixture
async def three(database: Database, settings: Settings) -> None:
    """Three versions, none of them promoted."""
    for _ in range(3):
        await published(database, settings)


async def promote(client: httpx.AsyncClient, version: int, **body: Any) -> httpx.Response:
    return await client.post(f"/v1/models/{version}/promote", **({"json": body} if body else {}))


async def rollback(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/v1/models/rollback")


async def log_of(client: httpx.AsyncClient) -> list[tuple[int, int | None, str, bool]]:
    """The log, oldest first: version, previous, kind, whether it was rolled back."""
    entries = (await client.get("/v1/models/promotions")).json()["promotions"]
    return [(p["version"], p["previous"], p["kind"], p["rolled_back"]) for p in reversed(entries)]


@pytest.mark.usefixtures("three")
class TestPromote:
    async def test_answers_the_model_and_writes_the_log(self, client: httpx.AsyncClient) -> None:
        answer = await promote(client, 2)
        assert answer.status_code == 200
        assert answer.json() == (await client.get("/v1/models/2")).json()
        assert answer.json()["aliases"] == ["champion"]
        entry = (await client.get("/v1/models/promotions")).json()["promotions"][0]
        assert (entry["version"], entry["previous"], entry["kind"], entry["key"]) == (2, None, "request", "admin")

    async def test_of_the_champion_changes_nothing(self, client: httpx.AsyncClient) -> None:
        first = await promote(client, 2)
        again = await promote(client, 2)
        assert (again.status_code, again.json()["aliases"]) == (200, ["champion"])
        assert again.json()["last_used_at"] == first.json()["last_used_at"]
        assert await log_of(client) == [(2, None, "request", False)]

    async def test_of_the_challenger_takes_that_alias_away(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/models/3")).json()["aliases"] == ["challenger"]
        assert (await promote(client, 3)).json()["aliases"] == ["champion"]

    async def test_guard_that_holds(self, client: httpx.AsyncClient, database: Database) -> None:
        assert (await promote(client, 1, expected_champion=None)).status_code == 200
        assert (await promote(client, 2, expected_champion=1)).status_code == 200
        assert await champion_of(database) == 2

    @pytest.mark.parametrize(("expected", "said"), [(3, "not version 3 as expected"), (None, "not none as expected")])
    async def test_guard_that_does_not_hold(
        self, client: httpx.AsyncClient, database: Database, expected: int | None, said: str
    ) -> None:
        await promote(client, 1)
        answer = await promote(client, 2, expected_champion=expected)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert f"The champion is version 1, {said}" in answer.json()["detail"]
        assert await champion_of(database) == 1

    async def test_repeated_after_a_lost_answer_is_no_error_though_the_guard_is_past(
        self, client: httpx.AsyncClient
    ) -> None:
        await promote(client, 1)
        for _ in range(2):
            assert (await promote(client, 2, expected_champion=1)).status_code == 200

    async def test_guards_let_one_of_many_through(self, client: httpx.AsyncClient, database: Database) -> None:
        await promote(client, 1)
        answers = await asyncio.gather(*(promote(client, v, expected_champion=1) for v in (2, 3)))
        assert sorted(a.status_code for a in answers) == [200, 409]
        assert await champion_of(database) == next(v for v, a in zip((2, 3), answers, strict=True) if a.is_success)

    async def test_of_an_unknown_version(self, client: httpx.AsyncClient) -> None:
        assert (await promote(client, 4)).status_code == 404

    async def test_of_nonsense(self, client: httpx.AsyncClient, database: Database) -> None:
        guards: list[Any] = [{"expected_champion": wrong} for wrong in ("1", True, 0, 1.5, 2**31)]
        for body in (*guards, {"expected": 1}, [], 3):
            assert (await client.post("/v1/models/1/promote", json=body)).status_code == 422
            assert (await client.post("/v1/models/rollback", json=body)).status_code == 422
        assert await champion_of(database) is None

    @pytest.mark.parametrize("ending", ["json", "safetensors"])
    async def test_of_a_damaged_version(
        self, client: httpx.AsyncClient, database: Database, settings: Settings, ending: str
    ) -> None:
        await promote(client, 1)
        file = await file_of(database, settings, 2, ending)
        flip_byte(file, file.stat().st_size // 2)
        answer = await promote(client, 2)
        assert (answer.status_code, answer.json()["code"]) == (409, "artifact_damaged")
        assert file.name in answer.json()["detail"]
        assert await champion_of(database) == 1

    async def test_of_a_version_whose_file_is_gone(
        self, client: httpx.AsyncClient, database: Database, settings: Settings
    ) -> None:
        file = await file_of(database, settings, 2, "safetensors")
        file.unlink()
        answer = await promote(client, 2)
        assert (answer.status_code, answer.json()["code"]) == (409, "artifact_damaged")
        assert f"{file.name} is missing" in answer.json()["detail"]

    async def test_of_a_version_whose_artifact_was_removed(self, client: httpx.AsyncClient, database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE versions SET artifact_removed_at = '2026-11-02Z' WHERE version = 2"))
        answer = await promote(client, 2)
        assert (answer.status_code, answer.json()["code"]) == (409, "artifact_damaged")
        assert "removed on 2026-11-02" in answer.json()["detail"]

    async def test_with_one_idempotency_key_happens_once(self, client: httpx.AsyncClient, database: Database) -> None:
        headers = {"Idempotency-Key": "promote-2"}
        first = await client.post("/v1/models/2/promote", headers=headers)
        await promote(client, 3)
        again = await client.post("/v1/models/2/promote", headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == first.json()
        assert await champion_of(database) == 3

    async def test_needs_the_scope_to_write(
        self, app: FastAPI, key_with: Callable[..., Awaitable[str]], client: httpx.AsyncClient
    ) -> None:
        async with client_of(app, await key_with("models:read", "sales:write")) as reader:
            assert (await promote(reader, 1)).status_code == 403
            assert (await rollback(reader)).status_code == 403
            assert (await reader.get("/v1/models/1")).status_code == 200
            assert (await reader.get("/v1/models/promotions")).status_code == 200
        async with client_of(app, await key_with("forecasts:read")) as other:
            for path in ("/v1/models", "/v1/models/1", "/v1/models/promotions"):
                assert (await other.get(path)).status_code == 403


@pytest.mark.usefixtures("three")
class TestRollback:
    async def test_goes_back_step_by_step_and_then_says_that_there_is_no_more(self, client: httpx.AsyncClient) -> None:
        for version in (1, 2, 3):
            await promote(client, version)
        assert [(await rollback(client)).json()["version"] for _ in range(2)] == [2, 1]
        answer = await rollback(client)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "no promotion before that of version 1" in answer.json()["detail"]
        assert await log_of(client) == [
            (1, None, "request", False),
            (2, 1, "request", True),
            (3, 2, "request", True),
            (2, 3, "rollback", False),
            (1, 2, "rollback", False),
        ]

    async def test_returns_to_what_served_before_the_promotion_it_undoes(self, client: httpx.AsyncClient) -> None:
        """Rolled back from 3 to 1 by way of 2, then 3 once more: before this promotion 1 served, so 1 serves again."""
        for version in (1, 2, 3):
            await promote(client, version)
        for _ in range(2):
            await rollback(client)
        await promote(client, 3)
        assert (await rollback(client)).json()["version"] == 1

    async def test_skips_what_an_earlier_one_has_left(self, client: httpx.AsyncClient, database: Database) -> None:
        """Version 2 was found bad and left; a roll-back from 3 does not go back to it."""
        await promote(client, 1)
        await promote(client, 2)
        await rollback(client)
        await promote(client, 3)
        answer = await rollback(client)
        assert (answer.json()["version"], answer.json()["aliases"]) == (1, ["champion"])
        assert (await rollback(client)).status_code == 409
        assert await champion_of(database) == 1

    async def test_passes_the_same_version_as_often_as_it_was_promoted(self, client: httpx.AsyncClient) -> None:
        for version in (1, 2, 1, 3):
            await promote(client, version)
        assert [(await rollback(client)).json()["version"] for _ in range(3)] == [1, 2, 1]
        assert (await rollback(client)).status_code == 409

    async def test_without_any_promotion(self, client: httpx.AsyncClient) -> None:
        answer = await rollback(client)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "no version was ever promoted" in answer.json()["detail"]

    async def test_leaves_promotions_by_merit_too(
        self, client: httpx.AsyncClient, database: Database, settings: Settings
    ) -> None:
        await published(database, settings, promote="auto")
        await promote(client, 1)
        assert (await rollback(client)).json()["version"] == 4

    async def test_to_a_damaged_version_is_refused(
        self, client: httpx.AsyncClient, database: Database, settings: Settings
    ) -> None:
        await promote(client, 1)
        await promote(client, 2)
        flip_byte(await file_of(database, settings, 1, "safetensors"), 1000)
        answer = await rollback(client)
        assert (answer.status_code, answer.json()["code"]) == (409, "artifact_damaged")
        assert await champion_of(database) == 2
        assert (await log_of(client))[-1] == (2, 1, "request", False)

    async def test_with_one_idempotency_key_goes_back_one_step(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        for version in (1, 2, 3):
            await promote(client, version)
        answers = [await client.post("/v1/models/rollback", headers={"Idempotency-Key": "back"}) for _ in range(2)]
        assert [a.json()["version"] for a in answers] == [2, 2]
        assert answers[1].headers["idempotent-replayed"] == "true"
        assert await champion_of(database) == 2

    async def test_replays_its_first_answer_even_when_no_further_step_is_left(self, client: httpx.AsyncClient) -> None:
        await promote(client, 1)
        await promote(client, 2)
        answers = [await client.post("/v1/models/rollback", headers={"Idempotency-Key": "back"}) for _ in range(2)]
        assert [a.status_code for a in answers] == [200, 200]

    async def test_guard(self, client: httpx.AsyncClient, database: Database) -> None:
        for version in (1, 2, 3):
            await promote(client, version)
        answers = [await client.post("/v1/models/rollback", json={"expected_champion": 3}) for _ in range(2)]
        assert [a.status_code for a in answers] == [200, 409]
        assert await champion_of(database) == 2

    async def test_two_at_once_are_two_steps_or_one_refusal(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        for version in (1, 2, 3):
            await promote(client, version)
        answers = await asyncio.gather(*(rollback(client) for _ in range(2)))
        done = [a.json()["version"] for a in answers if a.is_success]
        assert await champion_of(database) == min(done)
        assert sorted(done, reverse=True) == [2, 1][: len(done)]
        assert all(a.json()["code"] == "conflict" for a in answers if not a.is_success)
