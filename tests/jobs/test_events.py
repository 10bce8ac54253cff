"""A job followed by server-sent events: what is sent, when it ends, and how one goes on after a break."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.jobs import events, queue
from app.jobs.queue import Claim, News
from tests.jobs.workers import post_job
from tests.support import until


class Stream:
    """A request for a job's events, read while it is answered: httpx would only give the whole answer."""

    def __init__(self, app: FastAPI, key: str, job: str) -> None:
        self.status = 0
        self.content_type = ""
        self._body = b""
        headers = [(b"host", b"shelfcast"), (b"authorization", f"Bearer {key}".encode())]
        path = f"/v1/training-jobs/{job}/events"
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http"}
        scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
        scope |= {"client": ("test", 1), "server": ("shelfcast", 80), "root_path": ""}
        self._left = asyncio.Event()  # a client that stays
        self.answered = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.content_type = dict(message["headers"])[b"content-type"].decode()
        else:
            self._body += message.get("body", b"")

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return parsed(self._body.decode())[0]

    @property
    def comments(self) -> int:
        return parsed(self._body.decode())[1]

    async def until_told(self, **fields: Any) -> None:
        """Wait until the newest event has these values."""

        async def told() -> bool:
            return bool(self.events) and fields.items() <= self.events[-1][1].items()

        await until(told)

    async def end(self) -> None:
        await asyncio.wait_for(self.answered, 30)


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


@pytest.fixture
def key(settings: Settings, app: FastAPI) -> str:
    """The key that the app made at its start; it may do everything."""
    return settings.admin_key_file.read_text().strip()


async def claim(database: Database) -> Claim:
    async with database.transaction() as connection:
        ours = await queue.claim(connection, "w", lease_seconds=60)
    assert ours is not None
    return ours


async def finish(database: Database, ours: Claim) -> None:
    async with database.transaction() as connection:
        await queue.succeed(connection, ours, {"version": 3, "outcome": "Promoted."})


async def test_a_stream_tells_each_change_and_closes_at_the_end(
    app: FastAPI, key: str, client: httpx.AsyncClient, database: Database
) -> None:
    job = await post_job(client, {"model": "lstm"})
    stream = Stream(app, key, job)
    await stream.until_told(status="queued", progress=0.0)
    ours = await claim(database)
    await stream.until_told(status="running", attempt=1)
    async with database.transaction() as connection:
        await queue.beat(connection, ours, lease_seconds=60, news=News(0.5, "training", 1, 2.0, 3.0, 4.0, []))
    await stream.until_told(progress=0.5, loss=2.0, validation=3.0, eta_seconds=4.0)
    await finish(database, ours)
    await stream.end()
    assert (stream.status, stream.content_type.partition(";")[0]) == (200, "text/event-stream")
    assert [data["status"] for _, data in stream.events] == ["queued", "running", "running", "succeeded"]
    assert stream.events[-1][1]["model_version"] == 3
    assert all(data["id"] == job for _, data in stream.events)
    ids = [event_id for event_id, _ in stream.events]
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
    app: FastAPI, key: str, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events.COMMENT_SECONDS == 15
    monkeypatch.setattr(events, "COMMENT_SECONDS", 0.1)
    stream = Stream(app, key, job := await post_job(client, {"model": "lstm"}))

    async def commented() -> bool:
        return stream.comments >= 2

    await until(commented)
    await client.post(f"/v1/training-jobs/{job}/cancel")
    await stream.end()
    assert [data["status"] for _, data in stream.events] == ["queued", "cancelled"]


async def test_streams_hold_no_connection_and_end_when_the_service_stops(
    app: FastAPI, key: str, client: httpx.AsyncClient
) -> None:
    job = await post_job(client, {"model": "lstm"})
    streams = [Stream(app, key, job) for _ in range(30)]  # more than the pool has connections
    for stream in streams:
        await stream.until_told(status="queued")
    assert (await client.get(f"/v1/training-jobs/{job}")).status_code == 200
    app.state.stopping.set()
    for stream in streams:
        await stream.end()


async def test_a_stream_ends_when_its_job_is_forgotten(
    app: FastAPI, key: str, client: httpx.AsyncClient, database: Database
) -> None:
    stream = Stream(app, key, await post_job(client, {"model": "lstm"}))
    await stream.until_told(status="queued")
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM jobs"))
    await stream.end()


async def test_a_stream_ends_when_its_key_is_revoked(
    app: FastAPI, client: httpx.AsyncClient, database: Database, key_with: Callable[..., Awaitable[str]]
) -> None:
    stream = Stream(app, await key_with("models:read"), await post_job(client, {"model": "lstm"}))
    await stream.until_told(status="queued")
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE api_keys SET revoked_at = now() WHERE name = 'test'"))
    await stream.end()
    assert [data["status"] for _, data in stream.events] == ["queued"]
