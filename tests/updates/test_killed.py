"""Updates that are killed in the middle, taken up again and asked for at once become one version, the same to the bit."""

import signal
from typing import Any

from app.database.engine import Database
from app.jobs import queue
from app.jobs.upkeep import keep_house
from app.registry.artifacts import stored
from tests.jobs.workers import Workers, count_versions, post_job, publication_blocked, read_job, until_status
from tests.support import until
from tests.updates.world import NAMES, NEWEST, Shop, day_of

UPDATE = {"kind": "update", "fine_tune": True}
ISSUED = "SELECT block, series_ids, scales, trained, lineage, candidate, champion, frozen FROM issued WHERE job_id = $1"


async def claimed(database: Database) -> Any:
    async with database.transaction() as connection:
        return await queue.claim(connection, "another", lease_seconds=3)


async def test_whatever_is_killed_and_however_often_it_is_asked_for_one_version_comes_of_it(
    shop: Shop, workers: Workers
) -> None:
    await shop.post([NEWEST + 1])
    known = stored(shop.settings.artifacts_location)

    killed = await post_job(shop.client, UPDATE)
    first = workers.start()
    async with shop.locked("issued") as waits:  # it has read, learned and staged its scores
        await until(waits, seconds=120)
        child = workers.child(first)
        assert child is not None
        child.send_signal(signal.SIGKILL)
        failed = await until_status(shop.client, killed, "failed", "succeeded")
    assert failed["error"]["code"] == "training_died"
    assert set(await shop.rows("SELECT job_id::text FROM series_scores")) == {killed}

    again = await post_job(shop.client, UPDATE)
    async with publication_blocked(shop.database) as waits:  # it has saved its artifact and staged all that it said
        await until(waits, seconds=120)
        beside = await post_job(shop.client, UPDATE)
        assert await claimed(shop.database) is None, "an update waits while another one runs"
        (artifact,) = stored(shop.settings.artifacts_location) - known
        said = await shop.rows(ISSUED, again)
        first.kill()
        first.wait()
    workers.start()
    second = await until_status(shop.client, beside, "failed", "succeeded")
    lost = await until_status(shop.client, again, "failed", "succeeded")

    assert (second["model_version"], second["attempt"]) == (3, 1), second
    assert (lost["status"], lost["model_version"], lost["attempt"]) == ("succeeded", None, 2), lost
    assert lost["outcome"].startswith(f"No sales after {day_of(NEWEST + 1)}, the last day that version 3 ")
    assert shop.weights_of(await shop.artifact(3)) == shop.weights_of(artifact)
    assert len(said) == 1 and await shop.rows(ISSUED, beside) == said
    await nothing_is_double(shop, beside)
    assert (await read_job(shop.client, killed))["status"] == "failed"


async def nothing_is_double(shop: Shop, job: str) -> None:
    """One version, one issuance and one scored day, all of this job; house is kept of what the others left."""
    assert await count_versions(shop.database) == 3
    newest = day_of(NEWEST + 1)
    assert await shop.rows("SELECT job_id::text FROM issuances WHERE cutoff = $1", newest) == [job]
    assert await shop.rows("SELECT day, job_id::text FROM scored_days") == [(newest, job)]
    (live,) = await shop.rows("SELECT sum(sums[1]) FROM scores WHERE source = 'live'")
    assert live == len(NAMES)
    left = "SELECT DISTINCT job_id::text FROM {} WHERE job_id NOT IN (SELECT job_id FROM issuances)"
    assert all([await shop.rows(left.format(table)) for table in ("issued", "series_scores")])
    await keep_house(shop.database, shop.settings)
    assert not any([await shop.rows(left.format(table)) for table in ("issued", "series_scores")])
    answer = (await shop.client.get("/v1/accuracy")).json()
    assert (answer["from"], answer["horizons"][-1]["n"]) == (str(newest), len(NAMES))
