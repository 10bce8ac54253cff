"""What a champion goes back to by itself where a training has taken over what updates learned, and what comes after that."""

from copy import deepcopy
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import httpx
import numpy as np
from sqlalchemy import text

from app.accuracy.issued import said_of_day
from app.config import Settings
from app.database.engine import Database
from app.registry.artifacts import save
from app.registry.as_trained import as_trained
from app.registry.serving import load_forecaster
from app.registry.store import TrainedOn, publish
from models.checkpoint import serialise
from models.forecaster import Forecaster
from models.online.scoring import SUMS
from models.online.stream import Speeds, renewed
from tests.jobs.watched import promotions, said, scored_days
from tests.jobs.workers import TINY, add_days, done, update
from tests.registry.support import a_candidate, champion_of, sha256_of

BY_FORCE = TINY | {"promote": "always"}


async def forecaster_of(database: Database, settings: Settings, version: int) -> Forecaster:
    return load_forecaster(settings.artifacts_location, await sha256_of(database, version))


async def checks_of(client: httpx.AsyncClient, version: int) -> dict[str, Any]:
    found = (await client.get(f"/v1/models/{version}/verdict")).json()
    return {check["name"]: check["passed"] for check in found["checks"]}


async def taken_over(client: httpx.AsyncClient, database: Database) -> None:
    """Version 3 is trained, with what version 2 had learned; 4 is its update and champion."""
    await done(client, BY_FORCE)
    await add_days(database, 1)
    await update(client, fine_tune=True, promote="always")
    await add_days(database, 1)
    await done(client, BY_FORCE)
    assert "lineage" in (await client.get("/v1/models/3")).json()["config"]
    await add_days(database, 1)
    await update(client, promote="always")
    assert await champion_of(database) == 4


async def test_it_goes_back_to_bare_networks_across_a_training_that_took_over_what_was_learned(
    client: httpx.AsyncClient, database: Database, settings: Settings, sales: None, worker_here: None
) -> None:
    await taken_over(client, database)
    await scored_days(database, 28, live=1.05)  # most of them before the training
    told = (await update(client))["outcome"]
    assert "Rolled back by itself from version 4." in told
    assert await champion_of(database) == 5
    bare, trained = await forecaster_of(database, settings, 5), await forecaster_of(database, settings, 3)
    assert bare.tracking is None and bare.lineage is None and trained.lineage is not None
    networks = [[p.tolist() for p in one.members[0].network.parameters()] for one in (bare, trained)]
    assert networks[0] == networks[1]
    assert {one["model_version"] for one in await said(client)} == {5}
    model = (await client.get("/v1/models/5")).json()
    assert (model["kind"], model["parent"]) == ("train", None)
    assert model["decision"] == "The networks of version 3 as trained, without what updates have learned."
    root = (await client.get("/v1/models/3")).json()
    assert model["metrics"] == root["metrics"]
    assert model["created_at"] == root["created_at"]  # retraining is due when it was
    log = [(one["kind"], one["version"], one["rolled_back"]) for one in await promotions(client)]
    assert log[:4] == [("rollback", 5, False), ("merit", 5, False), ("request", 4, True), ("request", 3, True)]
    assert 'shelfcast_rollbacks_total{kind="itself"} 1.0' in (await client.get("/metrics")).text
    await made_anew_when_its_artifact_was_removed(database, settings)


async def made_anew_when_its_artifact_was_removed(database: Database, settings: Settings) -> None:
    async with database.transaction() as connection:
        root = (connection, settings.artifacts_location, 3, await sha256_of(database, 3))
        assert await as_trained(*root) == 5
        await connection.execute(text("UPDATE versions SET artifact_removed_at = now() WHERE version = 5"))
        assert [await as_trained(*root) for _ in range(2)] == [6, 6]
    assert await sha256_of(database, 6) != await sha256_of(database, 5)


async def test_a_training_that_took_over_what_is_broken_goes_back_before_any_update_of_it(
    client: httpx.AsyncClient, database: Database, settings: Settings, sales: None, worker_here: None
) -> None:
    await taken_over(client, database)
    learned, fresh = await forecaster_of(database, settings, 4), await forecaster_of(database, settings, 3)
    assert learned.lineage is not None
    broken = deepcopy(learned.lineage)
    broken.members[0].network.head.bias.data.fill_(1e4)
    alone = replace(broken.adjustment, climatology_K=np.zeros_like(broken.adjustment.climatology_K))
    broken = replace(broken, adjustment=alone)
    forecaster = renewed(replace(learned, lineage=broken), replace(fresh, tracking=None, lineage=None), speeds=Speeds())
    weights, description = serialise(forecaster)
    job_id = UUID(int=1)
    artifact = save(settings.artifacts_location, weights, description, job_id=job_id)
    cutoff: date = np.datetime64(forecaster.learned_until, "D").item()
    offer = a_candidate(
        artifact,
        job_id=job_id,
        promote="always",
        config=forecaster.describe(),
        trained_on=TrainedOn(cutoff=cutoff, rows=300, series=3, fingerprint="ab" * 32),
    )
    async with database.transaction() as connection:
        assert (await publish(connection, offer)).version == 5
    await add_days(database, 1)
    ended = await update(client, fine_tune=False)
    assert await champion_of(database) == 6
    (newest, *_) = await promotions(client)
    assert newest["reason"].startswith("Rolled back by itself from version 5. plausible: 100.00 %")
    assert ended["outcome"].startswith("Kept as challenger.")
    assert all(day["mean"] < 100 for one in await said(client) for day in one["forecast"])


async def test_it_goes_back_to_a_root_whose_promotion_was_undone(
    client: httpx.AsyncClient, database: Database, sales: None, worker_here: None
) -> None:
    await done(client, BY_FORCE)
    await done(client, BY_FORCE)
    await add_days(database, 1)
    await update(client, fine_tune=True, promote="always")
    for _ in range(2):
        assert (await client.post("/v1/models/rollback")).status_code == 200
    assert (await client.post("/v1/models/3/promote")).status_code == 200
    await add_days(database, 1)
    await update(client, promote="always")
    await scored_days(database, 28, live=1.05, since=4)
    await update(client)
    assert await champion_of(database) == 2
    log = [(one["kind"], one["version"], one["rolled_back"]) for one in await promotions(client)]
    assert log[:4] == [("rollback", 2, False), ("merit", 2, False), ("request", 4, True), ("request", 3, True)]
    back = await client.post("/v1/models/rollback")
    assert (back.status_code, await champion_of(database)) == (200, 1)


async def test_after_a_roll_back_updates_wait_for_a_live_record_unless_a_caller_ends_the_wait(
    client: httpx.AsyncClient, database: Database, sales: None, worker_here: None
) -> None:
    await done(client, BY_FORCE)
    await add_days(database, 1)
    await update(client, promote="always")
    assert (await client.post("/v1/models/rollback")).status_code == 200
    for version in (3, 4):
        await add_days(database, 1)
        ended = await update(client)
        assert (ended["model_version"], await champion_of(database)) == (version, 1)
        assert ended["outcome"].startswith("Kept as challenger. Refused.")
        assert f"after_rollback: {version - 3} of 56 days of live forecasts" in ended["outcome"]
    assert (await client.get("/v1/models/4")).json()["parent"] == 3  # it goes on in the shadow meanwhile
    assert (await client.post("/v1/models/4/promote")).status_code == 200
    await add_days(database, 1)
    assert "after_rollback" not in await checks_of(client, (await update(client))["model_version"])


async def test_a_record_from_before_a_roll_back_ends_no_wait(
    client: httpx.AsyncClient, database: Database, sales: None, worker_here: None
) -> None:
    await done(client, BY_FORCE)
    for _ in range(2):
        await add_days(database, 1)
        await update(client, promote="always")
    async with database.transaction() as connection:  # version 2 was champion for months
        await connection.execute(
            text("""
            INSERT INTO scored_days (day, job_id) SELECT DATE '2026-06-01' + n, job_id
            FROM generate_series(1, 60) AS n, versions WHERE version = 2""")
        )
        await connection.execute(
            text("""
            INSERT INTO scores (day, source, segment, stretch, sums)
            SELECT day, source, 'fast', '1-7', array_fill(1.0::float8, ARRAY[CAST(:sums AS int)])
            FROM scored_days, unnest(ARRAY['lineage', 'lineage_frozen', 'lineage_live']) AS source WHERE day < '2026-08-01'"""),
            {"sums": len(SUMS)},
        )
    assert (await client.post("/v1/models/rollback")).status_code == 200
    assert await champion_of(database) == 2
    await add_days(database, 1)
    assert "after_rollback: 0 of 56 days" in (await update(client))["outcome"]


async def test_the_live_record_goes_on_across_a_training_and_experts_of_other_networks_do_not(
    client: httpx.AsyncClient, database: Database, sales: None, worker_here: None
) -> None:
    await taken_over(client, database)
    found = (await client.get("/v1/models/4/verdict")).json()
    assert found["days"] == 2  # what version 2 said of both days since; 3 has no update before this one
    async with database.reading() as driver:
        rows = await driver.fetch("SELECT cutoff, job_id FROM issuances ORDER BY cutoff")
        day: date = rows[0]["cutoff"] + timedelta(days=1)
        ids = np.array([row["id"] for row in await driver.fetch("SELECT id FROM series ORDER BY id")])
        ours = frozenset(row["job_id"] for row in rows)
        told = await said_of_day(driver, day, ids, ours=ours, experts=frozenset())
    assert told is not None
    assert np.isfinite(told.lineage_SJW[:, 0]).all()
    assert np.isnan(told.trained_expert_SJQ).all() and np.isnan(told.lineage_expert_SJQ).all()
