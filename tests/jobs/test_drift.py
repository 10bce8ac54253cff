"""Drift through the service: found while an update scores, which then learns on at once."""

from datetime import date

import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from tests.drift.world import drifts, have_scored
from tests.jobs.workers import TINY, add_days, done


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


@pytest.mark.usefixtures("sales", "worker_here")
async def test_series_that_triple_are_found_and_learned_from_by_the_same_update(
    client: httpx.AsyncClient, database: Database
) -> None:
    """All sales triple for a week, then go on so. The seasonal naive knows by then, the networks only half."""
    await add_days_as_a_week_before(database, 7, times=3)
    await done(client, TINY | {"promote": "always"})
    trained = date(2026, 8, 15)
    assert (await client.get("/v1/models/1")).json()["trained_on"]["cutoff"] == str(trained)
    await have_scored(database, trained, [1.0] * 60 + [4.0] * 2, [0, 0, 0])
    await add_days_as_a_week_before(database, 1)
    first = await done(client, {"kind": "update", "fine_tune": "drift"})
    assert "lineage" not in (await client.get(f"/v1/models/{first['model_version']}")).json()["config"]
    assert await drifts(client) == []
    await add_days_as_a_week_before(database, 5)
    second = await done(client, {"kind": "update", "fine_tune": "drift"})
    (segment,) = await drifts(client, scope="segment")
    assert (segment["segment"], segment["sku"], segment["action"]) == ("fast", None, "fine_tuning")
    assert trained < date.fromisoformat(segment["found_on"]) <= date(2026, 8, 21)
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
