"""A training that tunes: asked for, followed, cut off by a crash, cancelled, and what it finds."""

import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from tests.jobs.workers import TINY, Workers, count_versions, done, post_job, read_job, until_status
from tests.support import until

pytestmark = pytest.mark.usefixtures("sales")
TUNED = TINY | {"model": "mlp", "epochs": 2, "tune": {"trials": 6, "timeout_s": 60}}


async def kept(database: Database, job: str) -> list[tuple[int, float]]:
    """Number and seconds of the job's trials: the seconds tell one run of a trial from another."""
    async with database.transaction() as connection:
        rows = await connection.execute(
            text("SELECT number, seconds FROM trials WHERE job_id = CAST(:job AS uuid) ORDER BY number"), {"job": job}
        )
        return [(row.number, row.seconds) for row in rows]


async def until_kept(database: Database, job: str, count: int) -> list[tuple[int, float]]:
    async def enough() -> list[tuple[int, float]] | None:
        found = await kept(database, job)
        return found if len(found) >= count else None

    found = await until(enough, seconds=60)
    assert isinstance(found, list)
    return found


async def test_a_worker_killed_amid_its_trials_is_followed_by_one_that_goes_on_with_them(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    job = await post_job(client, TUNED)
    first = workers.start()
    before = await until_kept(database, job, 2)
    told = await read_job(client, job)
    assert told["stage"].startswith("tuning, trial ")
    assert told["history"] == []
    child = workers.child(first)
    assert child is not None
    first.kill()
    first.wait()
    child.wait(timeout=5)
    before = await kept(database, job)
    workers.start()
    ended = await until_status(client, job, "succeeded", "failed")
    assert (ended["status"], ended["attempt"], ended["model_version"]) == ("succeeded", 2, 1), ended
    after = await kept(database, job)
    assert after[: len(before)] == before  # not run again
    assert [number for number, _ in after] == list(range(6))
    tuning = ended["tuning"]
    assert tuning["resumed"] == len(before) >= 2
    assert tuning["complete"] + tuning["pruned"] + tuning["failed"] == tuning["trials"] == 6
    config = (await client.get("/v1/models/1")).json()["config"]
    assert {name: config[name] for name in tuning["best"]} == pytest.approx(tuning["best"])
    assert len(ended["history"]) <= tuning["best"]["epochs"]
    assert tuning["importance"] is None
    assert any("What mattered is not told" in note for note in tuning["notes"])


async def test_a_job_is_cancelled_amid_its_trials_and_takes_them_along_when_it_is_forgotten(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    job = await post_job(client, TUNED | {"tune": {"trials": 1000}})
    workers.start()
    await until_kept(database, job, 1)
    answer = await client.post(f"/v1/training-jobs/{job}/cancel")
    assert answer.status_code == 202
    ended = await until_status(client, job, "cancelled")
    assert ended["tuning"] is None
    assert await count_versions(database) == 0
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM jobs"))
    assert await kept(database, job) == []


@pytest.mark.usefixtures("worker_here")
async def test_trials_that_take_all_the_time_leave_the_training_its_own(client: httpx.AsyncClient) -> None:
    tuning = (await done(client, TUNED | {"tune": {"trials": 1000, "timeout_s": 1.5}}))["tuning"]
    tried = tuning["complete"] + tuning["pruned"] + tuning["failed"]
    assert 1 <= tried < 1000
    assert any("1.5 s" in note for note in tuning["notes"])


@pytest.mark.parametrize(
    ("tune", "named"),
    [
        ({}, "tune.trials"),
        ({"trials": 0}, "tune.trials"),
        ({"trials": 1001}, "tune.trials"),
        ({"trials": 2, "timeout_s": 0}, "tune.timeout_s"),
        ({"trials": 2, "timeout_s": 120}, "max_seconds"),
        ({"trials": 2, "pruner": "median"}, "tune.pruner"),
        (3, "tune"),
    ],
)
async def test_a_tune_that_cannot_be_done_is_refused(client: httpx.AsyncClient, tune: object, named: str) -> None:
    answer = await client.post("/v1/training-jobs", json=TINY | {"tune": tune})
    assert answer.status_code == 422
    assert named in answer.text


async def test_only_a_training_is_tuned(client: httpx.AsyncClient) -> None:
    for body in ({"kind": "update"}, {"kind": "backtest", "model": "lstm"}):
        answer = await client.post("/v1/training-jobs", json=body | {"tune": {"trials": 2}})
        assert answer.status_code == 422
        assert "tune" in answer.text


async def test_the_request_says_how_long_trials_may_take(client: httpx.AsyncClient) -> None:
    job = await read_job(client, await post_job(client, TUNED | {"tune": {"trials": 4}}))
    assert job["request"]["tune"] == {"trials": 4, "timeout_s": 60.0}
    assert "tune" not in (await read_job(client, await post_job(client)))["request"]
