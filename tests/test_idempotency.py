"""One effect for one Idempotency-Key, seen through a small route of its own: the rule is the same for every POST."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from app.auth import Caller, require
from app.config import Settings
from app.database.engine import Database
from app.errors import Problem
from app.http.idempotency import once, remove_old_answers
from app.main import create_app
from tests.support import client_of


@pytest.fixture
async def client(settings: Settings, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app with one more route: it counts its effects in the table `revisions`."""
    app = create_app(settings, database_url)
    add_counting_route(app)
    async with (
        app.router.lifespan_context(app),
        client_of(app, settings.admin_key_file.read_text().strip()) as client,
    ):
        yield client


def add_counting_route(app: FastAPI) -> None:
    @app.post("/v1/count")
    async def count(request: Request, caller: Annotated[Caller, Depends(require("sales:write"))]) -> Response:
        async def effect(connection: AsyncConnection) -> Response:
            value = await connection.execute(
                text(
                    "INSERT INTO revisions (name, value) VALUES ('calendar', 1) ON CONFLICT (name)"
                    " DO UPDATE SET value = revisions.value + 1 RETURNING value"
                )
            )
            if (await request.body()) == b"refuse":
                raise Problem("conflict", "Refused after the effect.")
            if (await request.body()) == b"slow":
                await connection.execute(text("SELECT pg_sleep(0.5)"))
            answer = Response(str(value.scalar_one()), 202, media_type="text/plain")
            answer.headers["Location"] = "/v1/count/1"
            return answer

        return await once(request, caller, effect)


async def count_of(database: Database) -> int:
    async with database.reading() as connection:
        return int(await connection.fetchval("SELECT coalesce(max(value), 0) FROM revisions"))


async def test_a_repeated_request_gets_the_first_answer_and_has_no_second_effect(
    client: httpx.AsyncClient, database: Database
) -> None:
    before = await count_of(database)
    first = await client.post("/v1/count?a=1", content=b"x", headers={"Idempotency-Key": "k"})
    again = await client.post("/v1/count?a=1", content=b"x", headers={"Idempotency-Key": "k"})
    assert (first.status_code, first.text) == (202, str(before + 1))
    assert "idempotent-replayed" not in first.headers
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == "/v1/count/1"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert await count_of(database) == before + 1


async def test_without_a_key_every_request_counts(client: httpx.AsyncClient, database: Database) -> None:
    before = await count_of(database)
    for _ in range(2):
        await client.post("/v1/count", content=b"x")
    assert await count_of(database) == before + 2


@pytest.mark.parametrize(
    ("query", "body", "content_type"), [("", b"y", "a/b"), ("?q=1", b"x", "a/b"), ("", b"x", "a/c")]
)
async def test_other_content_under_the_same_key_is_refused(
    client: httpx.AsyncClient, query: str, body: bytes, content_type: str
) -> None:
    await client.post("/v1/count", content=b"x", headers={"Idempotency-Key": "k", "Content-Type": "a/b"})
    headers = {"Idempotency-Key": "k", "Content-Type": content_type}
    other = await client.post(f"/v1/count{query}", content=body, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_parameters_of_a_content_type_and_the_order_of_the_query_do_not_matter(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "text/csv"}
    await client.post("/v1/count?a=1&b=2", content=b"x", headers=headers)
    headers["Content-Type"] = "text/csv; charset=utf-8"
    again = await client.post("/v1/count?b=2&a=1", content=b"x", headers=headers)
    assert again.headers["idempotent-replayed"] == "true"


async def test_an_error_is_not_stored_and_undoes_the_effect(client: httpx.AsyncClient, database: Database) -> None:
    before = await count_of(database)
    for _ in range(2):
        refused = await client.post("/v1/count", content=b"refuse", headers={"Idempotency-Key": "k"})
        assert refused.status_code == 409
    assert await count_of(database) == before
    accepted = await client.post("/v1/count", content=b"x", headers={"Idempotency-Key": "k"})
    assert accepted.status_code == 202


async def test_while_the_first_runs_others_are_told_to_come_again(
    client: httpx.AsyncClient, database: Database
) -> None:
    before = await count_of(database)
    headers = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(*(client.post("/v1/count", content=b"slow", headers=headers) for _ in range(4)))
    running = [answer for answer in answers if answer.status_code == 409]
    assert running, "with a lock held for half a second at least one must have met it"
    for answer in running:
        assert answer.json()["code"] == "idempotency_running"
        assert answer.headers["retry-after"] == "1"
    assert await count_of(database) == before + 1


async def test_keys_of_two_callers_do_not_meet(client: httpx.AsyncClient, database: Database, key_with) -> None:  # type: ignore[no-untyped-def]
    before = await count_of(database)
    other = {"Authorization": f"Bearer {await key_with('sales:write')}", "Idempotency-Key": "k"}
    await client.post("/v1/count", content=b"x", headers={"Idempotency-Key": "k"})
    second = await client.post("/v1/count", content=b"x", headers=other)
    assert second.text == str(before + 2)


async def test_an_answer_is_kept_for_its_time_only(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    headers = {"Idempotency-Key": "k"}
    await client.post("/v1/count", content=b"x", headers=headers)
    async with database.transaction() as connection:
        aged = "UPDATE idempotent_answers SET created_at = now() - make_interval(hours => 25)"
        await connection.execute(text(aged))
    again = await client.post("/v1/count", content=b"new", headers=headers)
    assert again.status_code == 202
    assert "idempotent-replayed" not in again.headers
    async with database.transaction() as connection:
        assert await remove_old_answers(connection, settings.idempotency_hours) == 0
        await connection.execute(text("UPDATE idempotent_answers SET created_at = now() - make_interval(hours => 25)"))
        assert await remove_old_answers(connection, settings.idempotency_hours) == 1


@pytest.mark.parametrize("keys", [[""], ["x" * 256], ["a\tb"], ["a", "b"]])
async def test_a_key_that_cannot_be_one_is_refused(client: httpx.AsyncClient, keys: list[str]) -> None:
    answer = await client.post("/v1/count", content=b"x", headers=[("Idempotency-Key", key) for key in keys])
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
