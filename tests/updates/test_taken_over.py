"""The process of a lost attempt goes on after its job was taken over: nothing that it says or scores reaches the database."""

import asyncio
import time
from functools import partial

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accuracy.issued import stage_series_scores, unstage
from app.accuracy.sums import SOURCES
from app.database.engine import Database
from app.jobs import queue
from app.jobs.queue import Claim
from app.jobs.running import RunningJob
from app.jobs.task import Errand
from models.online.scoring import SUMS
from tests.jobs.workers import post_job, read_job, task_of, work_on
from tests.updates.world import NEWEST, Shop, day_of

TABLES = ("issued", "series_scores", "drift_states")


async def claimed(database: Database) -> Claim:
    async with database.transaction() as connection:
        ours = await queue.claim(connection, "here", lease_seconds=600)
    assert ours is not None
    return ours


async def taken_over(database: Database) -> Claim:
    """The next attempt at the running job, whose lease is over."""
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE jobs SET lease_expires_at = now() WHERE status = 'running'"))
    async with database.transaction() as connection:
        assert len(await queue.take_over(connection, max_attempts=3, retry_seconds=0)) == 1
    return await claimed(database)


async def staged(shop: Shop, job: str) -> dict[str, list[str]]:
    """Where the job's rows lie in each table, to the byte, and which transaction wrote them."""
    return {
        table: await shop.rows(f"SELECT ROW(t.*, t.xmin)::text FROM {table} t WHERE job_id::text = $1 ORDER BY 1", job)
        for table in TABLES
    }


def running(shop: Shop, ours: Claim) -> RunningJob:
    return RunningJob(ours, shop.database, shop.settings, claimed=time.monotonic() + 600, stop=asyncio.Event())


async def test_an_attempt_that_lost_its_job_stages_nothing_and_says_so(shop: Shop) -> None:
    await shop.post([NEWEST + 1])
    job = await post_job(shop.client, {"kind": "update"})
    lost = await claimed(shop.database)
    ours = await taken_over(shop.database)
    assert (lost.attempt, ours.attempt) == (1, 2)

    word = await work_on(running(shop, lost), task_of(lost, shop.settings, shop.database_url))
    assert word == {"type": "lost"}
    assert await staged(shop, job) == {table: [] for table in TABLES}
    assert (await read_job(shop.client, job))["status"] == "running"

    await work_on(running(shop, ours), task_of(ours, shop.settings, shop.database_url))
    assert (await read_job(shop.client, job))["model_version"] == 3
    said = await staged(shop, job)
    assert all(said.values())

    def late() -> None:
        told = pytest.raises(queue.NotOurs, match=f"{job} is no longer that of attempt 1")
        with Errand(task_of(lost, shop.settings, shop.database_url)) as errand, told:
            errand.stage(partial(unstage, job_id=errand.job_id))

    await asyncio.to_thread(late)
    assert await staged(shop, job) == said


async def test_what_is_staged_while_the_job_is_taken_over_is_not_committed(shop: Shop) -> None:
    job = await post_job(shop.client, {"kind": "update"})
    lost = await claimed(shop.database)

    async def frozen_amid(connection: AsyncConnection) -> None:
        sums = np.zeros((1, len(SOURCES), 1, len(SUMS)), np.float32)
        day, series_ids = day_of(NEWEST + 1), np.array([1])
        await stage_series_scores(connection, lost.id, day=day, series_ids=series_ids, sums=sums)
        database = Database(shop.database_url, pool_size=1)
        await taken_over(database)
        await database.close()

    def work() -> None:
        with Errand(task_of(lost, shop.settings, shop.database_url)) as errand, pytest.raises(queue.NotOurs):
            errand.stage(frozen_amid)

    await asyncio.to_thread(work)
    assert await staged(shop, job) == {table: [] for table in TABLES}
    assert (await read_job(shop.client, job))["attempt"] == 2
