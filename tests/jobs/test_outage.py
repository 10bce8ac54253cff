"""A Postgres that goes away under a running job, for a moment and for longer than the lease."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.config import Settings
from app.database.embedded import EmbeddedPostgres
from app.database.engine import Database
from app.database.migrate import upgrade
from app.jobs import store
from app.jobs.schemas import JobWithHistory, TrainRequest
from app.jobs.worker import run_worker
from tests.jobs.workers import SLOW, add_sales, training_child
from tests.support import until


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres of this test alone, with sales."""
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    await postgres.start()
    await upgrade(postgres.url)
    yield postgres
    await postgres.stop()


@asynccontextmanager
async def working(settings: Settings, url: str, **changes: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(run_worker(settings.model_copy(update=changes), url, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


async def test_a_short_absence_costs_no_attempt_and_one_beyond_the_lease_costs_one(
    postgres: EmbeddedPostgres, settings: Settings
) -> None:
    url = postgres.url
    async with opened(url) as database:
        await add_sales(database)
    async with working(settings, postgres.url, lease_seconds=120, heartbeat_seconds=0.2):
        job = await add(url)
        await until(lambda: is_training(url, job), seconds=60)
        await postgres.stop()
        assert training_child(os.getpid()) is not None
        await postgres.start()
        ended = await until_ended(url, job)
    assert (ended.status, ended.attempt, ended.model_version) == ("succeeded", 1, 1), ended

    async with working(settings, postgres.url, lease_seconds=2, heartbeat_seconds=0.2):
        job = await add(url)
        await until(lambda: is_training(url, job), seconds=60)
        await postgres.stop()
        await until(no_child)  # the worker knows by its own clock that its lease is over
        await postgres.start()
        ended = await until_ended(url, job)
    assert (ended.status, ended.attempt, ended.model_version) == ("succeeded", 2, 2), ended


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Fresh connections: those from before an absence are dead."""
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        await database.close()


async def add(url: str) -> UUID:
    async with opened(url) as database, database.transaction() as connection:
        return (await store.add_job(connection, TrainRequest(**SLOW).filled_in(), key_id=None)).id


async def read(url: str, job: UUID) -> JobWithHistory:
    async with opened(url) as database, database.transaction() as connection:
        found = await store.read_job(connection, job)
    assert found is not None
    return found


async def is_training(url: str, job: UUID) -> bool:
    return bool((await read(url, job)).epoch)


async def until_ended(url: str, job: UUID) -> JobWithHistory:
    async def ended() -> bool:
        return (await read(url, job)).status in ("succeeded", "failed", "cancelled")

    await until(ended, seconds=120)
    return await read(url, job)


async def no_child() -> bool:
    return training_child(os.getpid()) is None
