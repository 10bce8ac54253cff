"""Drift through the service: found while an update scores, which then learns on at once."""

from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from tests.drift.world import drifts, have_scored
from tests.jobs.workers import TINY, add_days, done, post_job, read_job, work_once

TRAINED = date(2026, 8, 15)
DRIFT = {"kind": "update", "fine_tune": "drift"}
Do = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Asks for a job; what became of it."""


async def add_days_as_a_week_before(database: Database, days: int, *, times: float = 1) -> None:
    """The next days of every series, one after the other: so many times what it sold a week before."""
    for _ in range(days):
        await add_days(database, 1)
        async with database.transaction() as connection:
            await connection.execute(
                text("""
                UPDATE sales SET quantity = :times * before.quantity FROM sales before JOIN series ON id = before.series_id
                WHERE before.series_id = sales.series_id AND sales.day = last_day AND before.day = last_day - 7"""),
                {"times": times},
            )


async def tripled(client: httpx.AsyncClient, database: Database, do: Do) -> None:
    """All sales triple for a week, then go on so. The seasonal naive knows by then, the networks only half. The days have come in
    on which that is found."""
    await add_days_as_a_week_before(database, 7, times=3)
    await do(TINY | {"promote": "always"})
    assert (await client.get("/v1/models/1")).json()["trained_on"]["cutoff"] == str(TRAINED)
    await have_scored(database, TRAINED, [1.0] * 60 + [4.0] * 2, [0, 0, 0])
    await add_days_as_a_week_before(database, 1)
    first = await do(DRIFT)
    assert "lineage" not in (await client.get(f"/v1/models/{first['model_version']}")).json()["config"]
    assert await drifts(client) == []
    await add_days_as_a_week_before(database, 5)


@pytest.mark.usefixtures("sales", "worker_here")
async def test_series_that_triple_are_found_and_learned_from_by_the_same_update(
    client: httpx.AsyncClient, database: Database
) -> None:
    await tripled(client, database, partial(done, client))
    second = await done(client, DRIFT)
    (segment,) = await drifts(client, scope="segment")
    assert (segment["segment"], segment["sku"], segment["action"]) == ("fast", None, "fine_tuning")
    assert TRAINED < date.fromisoformat(segment["found_on"]) <= date(2026, 8, 21)
    assert segment["since"] == "2026-08-14", "the first of the days that were worse"
    assert segment["size"] > 0 and segment["percent"] > 0
    assert segment["job_id"] == second["id"]
    of_series = await drifts(client, scope="series")
    assert {(one["sku"], one["segment"], one["action"]) for one in of_series} <= {
        (f"A-{number}", None, "fine_tuning") for number in range(3)
    }
    version = (await client.get(f"/v1/models/{second['model_version']}")).json()
    assert version["config"]["lineage"]["trained_until"] == "2026-08-21"
    metrics = (await client.get("/metrics")).text
    assert 'shelfcast_drifts_total{scope="segment"} 1.0' in metrics
    assert f'shelfcast_drifts_total{{scope="series"}} {len(of_series)}.0' in metrics


@pytest.mark.usefixtures("sales")
async def test_an_update_that_cannot_learn_from_drift_at_once_goes_on_without_and_so_does_the_next(
    client: httpx.AsyncClient, database: Database, settings: Settings, database_url: str
) -> None:
    """Its networks have no time left."""

    async def do(body: dict[str, Any], *, without_time: bool = False) -> dict[str, Any]:
        job = await post_job(client, body)
        if without_time:
            async with database.transaction() as connection:
                statement = "UPDATE jobs SET request = request || '{\"max_seconds\": 0}' WHERE id::text = :job"
                await connection.execute(text(statement), {"job": job})
        assert await work_once(settings, database_url)
        ended = await read_job(client, job)
        assert ended["status"] == "succeeded", ended
        return ended

    await tripled(client, database, do)
    second = await do(DRIFT, without_time=True)
    version = (await client.get(f"/v1/models/{second['model_version']}")).json()
    assert "lineage" not in version["config"]
    sentence = (await client.get(f"/v1/models/{second['model_version']}/verdict")).json()["sentence"]
    assert (
        "Drift was found, but networks could not learn on at once: The training was stopped after its limit" in sentence
    )
    (segment,) = await drifts(client, scope="segment")
    assert (segment["segment"], segment["action"], segment["job_id"]) == ("fast", None, second["id"])
    assert (await client.get("/v1/accuracy")).json()["to"] == "2026-08-21"

    await add_days_as_a_week_before(database, 1)
    third = await do(DRIFT, without_time=True)
    assert (await client.get(f"/v1/models/{third['model_version']}")).json()["trained_on"]["cutoff"] == "2026-08-22"
    (_,) = await drifts(client, scope="segment")
