"""Jobs of schedules run to their end: an update by what came in, then a training as the champion's own."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from tests.jobs.workers import TINY, add_days, add_sales, done, until_status, working_here
from tests.schedules.world import jobs_of, run, run_at, shown


@pytest.fixture
async def worker(settings: Settings, database_url: str, database: Database) -> AsyncIterator[None]:
    await run(database, "UPDATE schedules SET enabled = false, since = '2026-01-01'")
    async with working_here(settings, database_url):
        yield


@pytest.mark.usefixtures("worker")
async def test_a_champion_is_updated_and_then_trained_anew(client: httpx.AsyncClient, database: Database) -> None:
    await add_sales(database)
    assert (await done(client, TINY | {"epochs": 2, "promote": "always"}))["model_version"] == 1
    assert (await client.get("/v1/models/1")).json()["trained_on"]["cutoff"] == "2026-08-08"

    await add_days(database, 28)
    assert await scheduled(client, database, "daily-update", "2027-01-01T12:00") == 2
    child = (await client.get("/v1/models/2")).json()
    assert (child["kind"], child["parent"], child["trained_on"]["cutoff"]) == ("update", 1, "2026-09-05")

    await run(database, "INSERT INTO aliases VALUES ('champion', 2) ON CONFLICT (alias) DO UPDATE SET version = 2")
    assert await scheduled(client, database, "retraining", "2027-01-02T12:00") == 3
    anew = (await client.get("/v1/models/3")).json()
    known = (await client.get("/v1/models/1")).json()
    assert (anew["kind"], anew["parent"], anew["trained_on"]["cutoff"]) == ("train", None, "2026-09-05")
    taken_over = {"max_seconds": anew["config"]["max_seconds"], "learned_until": "2026-09-05"}
    assert anew["config"] == known["config"] | taken_over
    assert anew["config"]["max_seconds"] >= 1800


async def scheduled(client: httpx.AsyncClient, database: Database, name: str, now: str) -> int:
    """The version that came of what a schedule made at this moment."""
    await run(database, "UPDATE schedules SET enabled = name = :name", name=name)
    assert len(await run_at(database, now)) == 1
    await run(database, "UPDATE schedules SET enabled = false")
    assert (await shown(client, name))["last_run"] is not None
    job = (await jobs_of(client, name))[-1]
    ended = await until_status(client, job["id"], "succeeded", "failed")
    assert ended["status"] == "succeeded", ended
    return int(ended["model_version"])
