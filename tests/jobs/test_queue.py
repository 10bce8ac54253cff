"""The queue's promises, each asked of the database itself: who gets a job, who keeps it, how it ends."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.errors import Problem
from app.jobs import queue, store
from app.jobs.queue import Claim, News
from app.jobs.schemas import Job
from tests.support import until

REQUEST = {"kind": "train", "model": "lstm", "max_seconds": 600}


async def add(database: Database, kind: str = "train") -> UUID:
    async with database.transaction() as connection:
        return (await store.add_job(connection, REQUEST | {"kind": kind}, key_id=None)).id


async def claim(database: Database, *, lease: float = 30) -> Claim | None:
    async with database.transaction() as connection:
        return await queue.claim(connection, "w", lease_seconds=lease)


async def claimed(database: Database, *, lease: float = 30) -> Claim:
    await add(database)
    ours = await claim(database, lease=lease)
    assert ours is not None
    return ours


async def take_over(database: Database, *, max_attempts: int = 3, retry: float = 0) -> list[tuple[UUID, str]]:
    async with database.transaction() as connection:
        return await queue.take_over(connection, max_attempts=max_attempts, retry_seconds=retry)


async def beat(database: Database, ours: Claim, news: News | None = None) -> bool | None:
    async with database.transaction() as connection:
        return await queue.beat(connection, ours, lease_seconds=30, news=news)


async def read(database: Database, job: UUID) -> Job:
    async with database.transaction() as connection:
        found = await store.read_job(connection, job)
    assert found is not None
    return found


async def change(database: Database, statement: str, **values: Any) -> None:
    async with database.transaction() as connection:
        await connection.execute(text(statement), values)


async def test_what_an_attempt_keeps_is_not_taken_over_meanwhile_and_no_other_attempt_keeps_it(
    database: Database,
) -> None:
    ours = await claimed(database)
    async with database.transaction() as connection:
        await queue.check_held(connection, ours.fence, until_commit=True)
        assert await beat(database, ours) is False, "signs of life go on"
        await expire(database)
        assert await take_over(database) == []
    assert [status for _, status in await take_over(database)] == ["queued"]
    for locked in (False, True):
        with pytest.raises(queue.NotOurs, match=f"{ours.id} is no longer that of attempt 1"):
            async with database.transaction() as connection:
                await queue.check_held(connection, ours.fence, until_commit=locked)


async def expire(database: Database) -> None:
    await change(database, "UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'")


async def test_the_job_that_waited_longest_is_claimed_first_and_once(database: Database) -> None:
    first, second = await add(database), await add(database)
    one, two, none = await claim(database), await claim(database), await claim(database)
    assert one is not None and two is not None and none is None
    assert (one.id, two.id) == (first, second)
    assert one.request == REQUEST
    assert one.worker != two.worker


async def test_two_workers_at_once_never_get_the_same_job(database: Database) -> None:
    jobs = {await add(database) for _ in range(8)}
    found = await asyncio.gather(*(claim(database) for _ in range(16)))
    taken = [ours.id for ours in found if ours is not None]
    assert len(taken) == 8 and set(taken) == jobs


async def test_an_update_waits_while_another_one_runs_and_holds_no_other_job_up(database: Database) -> None:
    first, second = [await add(database, "update") for _ in range(2)]
    training = await add(database)
    found = await asyncio.gather(*(claim(database) for _ in range(8)))
    taken = {ours.id: ours for ours in found if ours is not None}
    assert set(taken) == {first, training}
    async with database.transaction() as connection:
        assert await queue.succeed(connection, taken[first], {"version": None}) == "succeeded"
    then = await claim(database)
    assert then is not None and then.id == second


async def test_an_update_whose_worker_was_lost_is_no_reason_to_wait(database: Database) -> None:
    lost, waits = [await add(database, "update") for _ in range(2)]
    assert await claim(database) is not None
    await expire(database)
    assert await take_over(database, retry=3600) == [(lost, "queued")]
    then = await claim(database)
    assert then is not None and then.id == waits


async def test_a_job_is_not_begun_before_its_time(database: Database) -> None:
    await add(database)
    await change(database, "UPDATE jobs SET run_after = now() + interval '1 hour'")
    assert await claim(database) is None


async def test_a_job_whose_lease_holds_is_not_taken_over(database: Database) -> None:
    ours = await claimed(database)
    assert await take_over(database) == []
    assert await beat(database, ours) is False


async def test_a_lost_job_goes_back_to_the_queue_and_its_old_worker_is_refused(database: Database) -> None:
    ours = await claimed(database)
    await expire(database)
    assert await take_over(database) == [(ours.id, "queued")]
    again = await claim(database)
    assert again is not None and (again.id, again.attempt) == (ours.id, 2)
    for step in (queue.hold, queue.look, queue.hand_back, queue.cancelled):
        async with database.transaction() as connection:
            assert await step(connection, ours) is None
    assert await beat(database, ours) is None
    async with database.transaction() as connection:
        assert await queue.succeed(connection, ours, {"version": 1}) is None
        assert await queue.fail(connection, ours, Problem("training_died", "It died.")) is None
    assert (await read(database, ours.id)).status == "running"
    assert await beat(database, again) is False


async def test_an_expired_lease_is_lost_even_when_nobody_took_the_job_over(database: Database) -> None:
    ours = await claimed(database)
    await expire(database)
    assert await beat(database, ours) is None
    async with database.transaction() as connection:
        assert await queue.hold(connection, ours) is None


async def test_each_loss_waits_twice_as_long_and_the_last_one_fails_the_job(database: Database) -> None:
    job = await add(database)
    waits = []
    for attempt in (1, 2, 3):
        await change(database, "UPDATE jobs SET run_after = now()")
        ours = await claim(database)
        assert ours is not None and ours.attempt == attempt
        await expire(database)
        [(_, status)] = await take_over(database, retry=60)
        async with database.transaction() as connection:
            waited = await connection.execute(text("SELECT extract(epoch FROM run_after - updated_at) FROM jobs"))
            waits.append(round(float(waited.scalar_one())))
    assert waits[:2] == [60, 120]
    assert status == "failed"
    failed = await read(database, job)
    assert failed.error is not None and failed.error.code == "worker_lost"
    assert failed.error.instance == f"/v1/training-jobs/{job}"
    assert "3 times" in failed.error.detail


async def test_a_lost_job_whose_cancel_was_asked_for_is_cancelled(database: Database) -> None:
    ours = await claimed(database)
    async with database.transaction() as connection:
        await store.cancel_job(connection, ours.id)
    await expire(database)
    assert await take_over(database) == [(ours.id, "cancelled")]


async def test_a_job_handed_back_has_spent_no_attempt_and_keeps_its_place(database: Database) -> None:
    ours = await claimed(database)
    await add(database)
    async with database.transaction() as connection:
        assert await queue.hand_back(connection, ours) == "queued"
    assert (await read(database, ours.id)).attempt == 0
    again = await claim(database)
    assert again is not None and (again.id, again.attempt) == (ours.id, 1)
    # The first claim has the same number, and yet no say any more.
    assert await beat(database, ours) is None


async def test_a_cause_that_may_pass_is_tried_again_until_the_attempts_are_spent(database: Database) -> None:
    away = Problem("unavailable", "The database cannot be reached.")
    ours = await claimed(database)
    for expected in ("queued", "failed"):
        async with database.transaction() as connection:
            assert await queue.retry(connection, ours, away, max_attempts=2, retry_seconds=0) == expected
        if expected == "queued":
            again = await claim(database)
            assert again is not None
            ours = again
    failed = await read(database, ours.id)
    assert failed.error is not None and failed.error.code == "unavailable"


async def test_heartbeats_carry_progress_and_all_epochs_so_far(database: Database) -> None:
    ours = await claimed(database)
    epochs = [{"epoch": epoch, "loss": 1 / epoch, "validation": None} for epoch in (1, 2)]
    for epoch in (1, 2, 2):
        news = News(epoch / 4, "training", epoch, 1 / epoch, None, 9.0, epochs[:epoch])
        assert await beat(database, ours, news) is False
    assert await beat(database, ours) is False
    async with database.transaction() as connection:
        job = await store.read_job(connection, ours.id)
    assert job is not None
    assert (job.progress, job.stage, job.epoch, job.loss, job.eta_seconds) == (0.5, "training", 2, 0.5, 9.0)
    assert [epoch.loss for epoch in job.history] == [1, 0.5]


async def test_a_second_attempt_begins_without_the_progress_of_the_first(database: Database) -> None:
    ours = await claimed(database)
    await beat(database, ours, News(0.7, "training", 3, 1.0, 1.0, 5.0, [{"epoch": 3, "loss": 1.0, "validation": 1.0}]))
    started = (await read(database, ours.id)).started_at
    await expire(database)
    await take_over(database)
    assert await claim(database) is not None
    async with database.transaction() as connection:
        job = await store.read_job(connection, ours.id)
    assert job is not None
    assert (job.progress, job.stage, job.epoch, job.loss, job.history) == (0, None, None, None, [])
    assert job.started_at == started


@pytest.mark.parametrize("status", ["queued", "running", "succeeded", "failed", "cancelled"])
async def test_a_cancel_at_every_state(database: Database, status: str) -> None:
    job = await add(database)
    if status != "queued":
        ours = await claim(database)
        assert ours is not None
        async with database.transaction() as connection:
            if status == "succeeded":
                await queue.succeed(connection, ours, {"version": None, "outcome": "Nothing new."})
            if status == "failed":
                await queue.fail(connection, ours, Problem("training_died", "It died."))
            if status == "cancelled":
                await queue.cancelled(connection, ours)
    before = await read(database, job)
    async with database.transaction() as connection:
        answered = await store.cancel_job(connection, job)
    after = await read(database, job)
    assert answered is not None and answered.status == after.status
    assert after.status == ("cancelled" if status == "queued" else status)
    assert after.cancel_requested == (status in ("queued", "running"))
    if status not in ("queued", "running"):
        assert after == before
    if status == "running":
        assert await beat(database, ours) is True


async def test_a_publication_that_has_begun_wins_over_a_cancel(database: Database) -> None:
    ours = await claimed(database)

    async def cancel() -> Job | None:
        async with database.transaction() as connection:
            return await store.cancel_job(connection, ours.id)

    async def waits() -> bool:
        async with database.transaction() as connection:
            found = await connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'UPDATE jobs%'"
                )
            )
            return bool(found.scalar_one())

    async with database.transaction() as publishing:
        assert await queue.hold(publishing, ours) is False
        cancelling = asyncio.create_task(cancel())
        await until(waits)
        assert await queue.succeed(publishing, ours, {"version": 1, "outcome": "Promoted."}) == "succeeded"
    answered = await cancelling
    assert answered is not None
    assert (answered.status, answered.cancel_requested, answered.model_version) == ("succeeded", False, 1)


async def test_while_a_publication_holds_the_job_nobody_takes_it_over(database: Database) -> None:
    ours = await claimed(database, lease=1)
    async with database.transaction() as publishing:
        assert await queue.hold(publishing, ours) is False
        await publishing.execute(text("SELECT pg_sleep(1.1)"))  # the lease runs out meanwhile
        assert await take_over(database) == []
        assert await queue.succeed(publishing, ours, {"version": 1, "outcome": "Promoted."}) == "succeeded"
    assert (await read(database, ours.id)).status == "succeeded"


async def test_claims_and_take_overs_read_their_indexes(database: Database) -> None:
    await change(
        database,
        """INSERT INTO jobs (kind, status, finished_at, result)
        SELECT 'train', 'succeeded', now(), '{}' FROM generate_series(1, 20000)""",
    )
    await add(database)
    await change(database, "ANALYZE jobs")
    for wanted, index in (
        (
            "status = 'queued' AND run_after <= clock_timestamp() ORDER BY run_after, created_at LIMIT 1",
            "ix_jobs_queued",
        ),
        ("status = 'running' AND lease_expires_at <= clock_timestamp() ORDER BY id", "ix_jobs_leases"),
    ):
        async with database.transaction() as connection:
            plan = await connection.execute(text(f"EXPLAIN SELECT id FROM jobs WHERE {wanted} FOR UPDATE SKIP LOCKED"))
            assert index in "\n".join(plan.scalars()), wanted
