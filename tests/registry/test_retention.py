"""Which artifacts go and which stay, at each border of the rule; and that nothing goes which this database cannot name."""

import os
import shutil
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.registry import artifacts
from app.registry.artifacts import save
from app.registry.promotions import Checked, promote, roll_back, rollback_target
from app.registry.retention import remove_old_artifacts
from app.registry.store import publish, touch_version
from tests.registry.support import a_candidate, champion_of, file_of, published, sha256_of, unused_for, weights_of

LONG = timedelta(days=90, hours=1)
NOT_LONG = timedelta(days=89, hours=23)


async def made_champion(database: Database, *versions: int) -> None:
    for version in versions:
        async with database.transaction() as connection:
            await promote(connection, Checked(version, None), guard=None, key_id=None)


async def rolled_back(database: Database) -> None:
    async with database.transaction() as connection:
        target = await rollback_target(connection)
        await roll_back(connection, Checked(target, None), guard=None, key_id=None)


async def kept_versions(database: Database) -> list[int]:
    async with database.reading() as connection:
        rows = await connection.fetch("SELECT version FROM versions WHERE artifact_removed_at IS NULL ORDER BY version")
        return [row["version"] for row in rows]


def made_old(location: str, addresses: Sequence[str], age: timedelta) -> None:
    then = time.time() - age.total_seconds()
    for address in addresses:
        for file in Path(location).glob(f"{address}.*"):
            os.utime(file, (then, then))


async def test_an_artifact_goes_after_its_days_and_the_record_stays(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    for _ in range(3):
        await published(database, settings)
    before = (await client.get("/v1/models/1")).json()
    await unused_for(database, LONG, 1)
    await unused_for(database, NOT_LONG, 2)
    files = [await file_of(database, settings, version, "json") for version in (1, 2, 3)]
    assert await remove_old_artifacts(database, settings) == ([1], 0)
    assert [file.exists() for file in files] == [False, True, True]
    assert not files[0].with_suffix(".safetensors").exists()
    after = (await client.get("/v1/models/1")).json()
    assert after["artifact"] is None
    assert after["artifact_removed_at"] is not None
    same = set(after) - {"artifact", "artifact_removed_at", "last_used_at"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    refused = await client.post("/v1/models/1/promote")
    assert (refused.status_code, refused.json()["code"]) == (409, "artifact_damaged")
    assert await remove_old_artifacts(database, settings) == ([], 0)


async def test_the_days_are_a_setting(database: Database, settings: Settings) -> None:
    await published(database, settings)
    await unused_for(database, timedelta(days=3), 1)
    assert await remove_old_artifacts(database, settings.model_copy(update={"artifact_days": 3.1})) == ([], 0)
    assert await remove_old_artifacts(database, settings.model_copy(update={"artifact_days": 2.9})) == ([1], 0)


async def test_the_champion_stays_however_long_ago_it_was_promoted(database: Database, settings: Settings) -> None:
    for _ in range(2):
        await published(database, settings)
    await made_champion(database, 1)
    await unused_for(database, timedelta(days=4000), 1, 2)
    assert (await remove_old_artifacts(database, settings)).versions == [2]
    assert await champion_of(database) == 1


async def test_the_last_ten_promotions_stay(database: Database, settings: Settings) -> None:
    for _ in range(13):
        await published(database, settings)
    await made_champion(database, *range(1, 13))
    await unused_for(database, LONG, *range(1, 14))
    # 3 … 12 are the last ten; 1 and 2 were promoted earlier, 13 never.
    assert (await remove_old_artifacts(database, settings)).versions == [1, 2, 13]
    assert await kept_versions(database) == list(range(3, 13))


async def test_what_a_rollback_can_reach_stays(database: Database, settings: Settings) -> None:
    for _ in range(13):
        await published(database, settings)
    await made_champion(database, *range(1, 13))
    for _ in range(6):
        await rolled_back(database)
    assert await champion_of(database) == 6
    await unused_for(database, LONG, *range(1, 14))
    assert (await remove_old_artifacts(database, settings)).versions == [13]


async def test_a_replaced_champion_was_in_use_until_it_was_replaced(database: Database, settings: Settings) -> None:
    for _ in range(12):
        await published(database, settings)
    await made_champion(database, 1)
    await unused_for(database, LONG, 1)
    await made_champion(database, *range(2, 13))
    # Twelve promotions ago by the log, but it has served until just now.
    assert (await remove_old_artifacts(database, settings)).versions == []


async def test_an_artifact_that_two_versions_name_stays_while_one_needs_it(
    database: Database, settings: Settings
) -> None:
    artifact = save(settings.artifacts_location, *weights_of(), job_id=uuid.uuid4())
    for _ in range(2):
        async with database.transaction() as connection:
            await publish(connection, a_candidate(artifact, promote="never"))
    await unused_for(database, LONG, 1)
    assert (await remove_old_artifacts(database, settings)).versions == [1]
    assert artifacts.load(settings.artifacts_location, artifact.sha256)
    await unused_for(database, LONG, 2)
    assert (await remove_old_artifacts(database, settings)).versions == [2]
    assert artifacts.stored(settings.artifacts_location) == set()


async def test_what_an_interrupted_removal_left_is_removed_the_next_time(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """The database is told first. Killed before the files were gone, the next run takes them."""
    await published(database, settings)
    shutil.copytree(settings.artifacts_location, tmp_path / "copy")
    await unused_for(database, LONG, 1)
    await remove_old_artifacts(database, settings)
    shutil.copytree(tmp_path / "copy", settings.artifacts_location, dirs_exist_ok=True)
    assert await remove_old_artifacts(database, settings) == ([], 0)
    assert artifacts.stored(settings.artifacts_location) == set()


async def test_works_on_an_object_store_and_where_nothing_was_ever_saved(database: Database) -> None:
    settings = Settings(artifacts=f"memory://{uuid.uuid4().hex}")
    assert await remove_old_artifacts(database, settings) == ([], 0)
    await published(database, settings)
    await unused_for(database, LONG, 1)
    assert await remove_old_artifacts(database, settings) == ([1], 0)
    assert artifacts.stored(settings.artifacts_location) == set()


async def a_job(database: Database, status: str) -> uuid.UUID:
    """A job's row as a worker would have left it."""
    columns = {
        "failed": "finished_at, error) VALUES ($1, 'train', 'failed', 1, now(), '{}')",
        "running": "worker, lease_expires_at) VALUES ($1, 'train', 'running', 1, 'w', now())",
    }
    job_id = uuid.uuid4()
    async with database.reading() as connection:
        await connection.execute(f"INSERT INTO jobs (id, kind, status, attempt, {columns[status]}", job_id)
    return job_id


async def test_what_an_ended_job_never_published_goes_after_a_day(database: Database, settings: Settings) -> None:
    location = settings.artifacts_location
    old, young = [save(location, *weights_of(seed), job_id=await a_job(database, "failed")) for seed in (0, 1)]
    made_old(location, [old.sha256], timedelta(hours=25))
    made_old(location, [young.sha256], timedelta(hours=23))
    assert await remove_old_artifacts(database, settings) == ([], 1)
    assert artifacts.stored(location) == {young.sha256}


@pytest.mark.parametrize("origin", ["a running job", "another database", "unreadable"])
async def test_what_may_yet_be_needed_or_is_not_ours_stays(database: Database, settings: Settings, origin: str) -> None:
    location = settings.artifacts_location
    job_id = await a_job(database, "running") if origin == "a running job" else uuid.uuid4()
    artifact = save(location, *weights_of(), job_id=job_id)
    if origin == "unreadable":
        (Path(location) / f"{artifact.sha256}.json").write_bytes(b"\xff")
    made_old(location, [artifact.sha256], timedelta(days=400))
    assert await remove_old_artifacts(database, settings) == ([], 0)
    assert artifacts.stored(location) == {artifact.sha256}


async def test_old_artifacts_of_versions_are_no_garbage(database: Database, settings: Settings) -> None:
    await published(database, settings)
    made_old(settings.artifacts_location, [await sha256_of(database, 1)], timedelta(days=400))
    assert await remove_old_artifacts(database, settings) == ([], 0)
    assert artifacts.load(settings.artifacts_location, await sha256_of(database, 1))


async def test_use_is_noted_once_an_hour_at_most(database: Database, settings: Settings) -> None:
    async def noted(age: timedelta) -> bool:
        await unused_for(database, age, 1)
        async with database.reading() as connection:
            read = "SELECT last_used_at FROM versions WHERE version = 1"
            before = await connection.fetchval(read)
            await touch_version(connection, 1)
            return bool(await connection.fetchval(read) != before)

    await published(database, settings)
    assert await noted(timedelta(minutes=59)) is False
    assert await noted(timedelta(minutes=61)) is True
    assert await noted(LONG) is True
    assert (await remove_old_artifacts(database, settings)).versions == []


async def test_a_promotion_that_was_prepared_before_the_removal_is_refused(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    """The artifact was verified, then removed; the promotion's own transaction sees that."""
    await published(database, settings)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE versions SET artifact_removed_at = now()"))
    with pytest.raises(Exception, match="was removed on") as raised:
        await made_champion(database, 1)
    assert getattr(raised.value, "code", None) == "artifact_damaged"
    assert await champion_of(database) is None


async def test_the_version_that_the_champion_came_of_stays_however_many_updates_followed(
    database: Database, settings: Settings
) -> None:
    await published(database, settings)
    for version in range(1, 13):
        await published(database, settings, kind="update", parent=version)
    await made_champion(database, *range(1, 14))
    await unused_for(database, LONG, *range(1, 14))
    await remove_old_artifacts(database, settings)
    assert await kept_versions(database) == [1, *range(4, 14)]
