"""A job followed by server-sent events: what is sent, when it ends, and how one goes on after a break."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.database.engine import Database
from app.jobs import events, queue
from app.jobs.queue import Claim, News
from tests.jobs.workers import post_job
from tests.support import client_of


def parsed(stream: str) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """The events (id, data) of a stream, and how many comments stood between them."""
    found, comments = [], 0
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        comments += sum(line.startswith(":") for line in block.splitlines())
        if fields:
            assert set(fields) == {"id", "data"}
            found.append((fields["id"], orjson.loads(fields["data"])))
    return found, comments


async def claim(database: Database) -> Claim:
    async with database.transaction() as connection:
        ours = await queue.claim(connection, "w", lease_seconds=60)
    assert ours is not None
    return ours


async def finish(database: Database, ours: Claim) -> None:
    async with database.transaction() as connection:
        await queue.succeed(connection, ours, {"version": 3, "outcome": "Promoted."})


async def test_a_stream_tells_each_change_and_closes_at_the_end(client: httpx.AsyncClient, database: Database) -> None:
    job = await post_job(client, {"model": "lstm"})
    following = asyncio.create_task(client.get(f"/v1/training-jobs/{job}/events"))
    await asyncio.sleep(0)
    ours = await claim(database)
    async with database.transaction() as connection:
        await queue.beat(connection, ours, lease_seconds=60, news=News(0.5, "training", 1, 2.0, 3.0, 4.0, []))
    await asyncio.sleep(2 * events.LOOK_SECONDS)  # not to wait for anything: so that this state can be seen at all
    await finish(database, ours)
    answer = await asyncio.wait_for(following, 30)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    told, _ = parsed(answer.text)
    assert [data["status"] for _, data in told][-2:] == ["running", "succeeded"]
    assert (told[-2][1]["progress"], told[-2][1]["loss"], told[-2][1]["eta_seconds"]) == (0.5, 2.0, 4.0)
    assert told[-1][1]["model_version"] == 3
    assert all(data["id"] == job for _, data in told)
    ids = [event_id for event_id, _ in told]
    assert len(set(ids)) == len(ids) and ids == sorted(ids)


async def test_who_comes_back_hears_only_what_is_new(client: httpx.AsyncClient, database: Database) -> None:
    job = await post_job(client, {"model": "lstm"})
    await finish(database, await claim(database))
    path = f"/v1/training-jobs/{job}/events"
    [(last, _)], _ = parsed((await client.get(path)).text)
    again = await client.get(path, headers={"Last-Event-ID": last})
    assert (again.status_code, again.text) == (204, "")
    [(same, _)], _ = parsed((await client.get(path, headers={"Last-Event-ID": "something else"})).text)
    assert same == last


async def test_a_quiet_stream_speaks_up(
    client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events.COMMENT_SECONDS == 15
    monkeypatch.setattr(events, "COMMENT_SECONDS", 0.1)
    job = await post_job(client, {"model": "lstm"})
    following = asyncio.create_task(client.get(f"/v1/training-jobs/{job}/events"))
    await asyncio.sleep(3 * events.LOOK_SECONDS)  # silence is what is tested
    await client.post(f"/v1/training-jobs/{job}/cancel")
    told, comments = parsed((await asyncio.wait_for(following, 30)).text)
    assert [data["status"] for _, data in told] == ["queued", "cancelled"]
    assert comments >= 1


async def test_streams_hold_no_connection_and_end_when_the_service_stops(app: FastAPI, client: httpx.AsyncClient) -> None:
    job = await post_job(client, {"model": "lstm"})
    streams = [asyncio.create_task(client.get(f"/v1/training-jobs/{job}/events")) for _ in range(30)]
    for _ in range(10):  # more streams than the pool has connections, and yet others are answered
        assert (await client.get(f"/v1/training-jobs/{job}")).status_code == 200
    app.state.stopping.set()
    answers = await asyncio.wait_for(asyncio.gather(*streams), 30)
    assert {answer.status_code for answer in answers} == {200}


async def test_a_stream_ends_when_its_job_is_forgotten(client: httpx.AsyncClient, database: Database) -> None:
    job = await post_job(client, {"model": "lstm"})
    following = asyncio.create_task(client.get(f"/v1/training-jobs/{job}/events"))
    await asyncio.sleep(events.LOOK_SECONDS)
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": UUID(job)})
    assert (await asyncio.wait_for(following, 30)).status_code in (200, 404)


async def test_a_stream_ends_when_its_key_is_revoked(
    app: FastAPI, client: httpx.AsyncClient, database: Database, key_with: Callable[..., Awaitable[str]]
) -> None:
    job = await post_job(client, {"model": "lstm"})
    async with client_of(app, await key_with("models:read")) as reader:
        following = asyncio.create_task(reader.get(f"/v1/training-jobs/{job}/events"))
        await asyncio.sleep(events.LOOK_SECONDS)
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE api_keys SET revoked_at = now() WHERE name = 'test'"))
        told, _ = parsed((await asyncio.wait_for(following, 30)).text)
    assert [data["status"] for _, data in told] == ["queued"]
