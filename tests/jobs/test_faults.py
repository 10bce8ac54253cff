"""What may befall a worker and its child, each caused for real: killed, frozen, stopped, out of time.

Whatever it is, a job ends once, a version is published once, and the other workers go on.
"""

import os
import resource
import signal
import subprocess

import httpx
import psutil
import pytest

from app.config import Settings
from app.database.engine import Database
from app.registry.artifacts import stored
from tests.jobs.workers import (
    LONG,
    OVERLONG,
    SLOW,
    TINY,
    Workers,
    count_versions,
    freeze,
    post_job,
    publication_blocked,
    read_job,
    thaw,
    until_status,
    until_training,
)
from tests.support import until

pytestmark = pytest.mark.usefixtures("sales")


async def test_a_worker_killed_amid_an_epoch_loses_its_job_to_another(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    job = await post_job(client, SLOW)
    first = workers.start()
    await until_training(client, job)
    child = workers.child(first)
    assert child is not None
    first.kill()
    first.wait()
    child.wait(timeout=5)  # the kernel ends it with its parent
    workers.start()
    ended = await until_status(client, job, "succeeded", "failed")
    assert (ended["status"], ended["attempt"], ended["model_version"]) == ("succeeded", 2, 1), ended
    assert await count_versions(database) == 1


async def test_a_worker_killed_between_artifact_and_publication_publishes_nothing(
    client: httpx.AsyncClient, database: Database, workers: Workers, settings: Settings
) -> None:
    job = await post_job(client)
    first = workers.start()
    async with publication_blocked(database) as waits:
        await until(waits, seconds=60)
        assert len(stored(settings.artifacts_location)) == 1
        first.kill()
        first.wait()
    assert await count_versions(database) == 0
    workers.start()
    ended = await until_status(client, job, "succeeded", "failed")
    assert (ended["status"], ended["attempt"], ended["model_version"]) == ("succeeded", 2, 1), ended
    assert await count_versions(database) == 1


async def test_a_worker_frozen_beyond_its_lease_publishes_nothing_when_it_wakes(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    job = await post_job(client, SLOW)
    frozen = workers.start()
    await until_training(client, job)
    freeze(frozen)
    workers.start()
    ended = await until_status(client, job, "succeeded", "failed")
    assert (ended["status"], ended["attempt"], ended["model_version"]) == ("succeeded", 2, 1), ended
    thaw(frozen)
    assert await read_job(client, job) == await _once_idle(client, workers, frozen, job)
    assert await count_versions(database) == 1


async def test_a_worker_frozen_inside_its_publication_loses_its_job_too(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    job = await post_job(client)
    frozen = workers.start()
    async with publication_blocked(database) as waits:
        await until(waits, seconds=60)
        freeze(frozen)
    workers.start()
    ended = await until_status(client, job, "succeeded", "failed")
    assert (ended["status"], ended["attempt"], ended["model_version"]) == ("succeeded", 2, 1), ended
    thaw(frozen)
    assert await read_job(client, job) == await _once_idle(client, workers, frozen, job)
    assert await count_versions(database) == 1


async def _once_idle(
    client: httpx.AsyncClient, workers: Workers, worker: subprocess.Popen[bytes], job: str
) -> dict[str, object]:
    """The job as it stands once this worker has let it go, child and all, and still lives."""

    async def idle() -> bool:
        return workers.child(worker) is None

    await until(idle)
    assert worker.poll() is None
    return await read_job(client, job)


async def test_two_workers_share_one_queue(client: httpx.AsyncClient, database: Database, workers: Workers) -> None:
    jobs = [await post_job(client, TINY | {"seed": seed}) for seed in range(2)]
    workers.start()
    workers.start()
    ended = [await until_status(client, job, "succeeded", "failed") for job in jobs]
    assert [job["status"] for job in ended] == ["succeeded"] * 2, ended
    assert [job["attempt"] for job in ended] == [1, 1]
    assert sorted(job["model_version"] for job in ended) == [1, 2]


async def test_a_killed_child_fails_its_job_and_a_cancelled_one_ends_while_the_worker_goes_on(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    killed, cancelled, next_one = await post_job(client, LONG), await post_job(client, LONG), await post_job(client)
    # No heartbeat is due for an hour: a cancel must be seen without one.
    worker = workers.start(heartbeat_seconds=3600, lease_seconds=7200)
    await until_status(client, killed, "running")
    child = await _child(workers, worker)
    child.send_signal(signal.SIGKILL)
    failed = await until_status(client, killed, "failed")
    assert failed["error"]["code"] == "training_died"
    assert "SIGKILL" in failed["error"]["detail"]
    assert failed["attempt"] == 1

    await until_training(client, cancelled)
    child = await _child(workers, worker)
    assert (child.nice(), os.getsid(child.pid)) == (10, child.pid)
    answer = await client.post(f"/v1/training-jobs/{cancelled}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["cancel_requested"]) == (202, "running", True)
    ended = await until_status(client, cancelled, "cancelled")
    assert ended["finished_at"] is not None
    assert not child.is_running()
    again = await client.post(f"/v1/training-jobs/{cancelled}/cancel")
    assert (again.status_code, again.json()["finished_at"]) == (200, ended["finished_at"])

    assert (await until_status(client, next_one, "succeeded", "failed"))["status"] == "succeeded"
    assert await count_versions(database) == 1
    assert worker.poll() is None


async def test_a_job_ends_at_its_time_limit_even_when_its_child_does_not_look_at_the_clock(
    client: httpx.AsyncClient, workers: Workers
) -> None:
    frozen = await post_job(client, OVERLONG)
    honest = await post_job(client, OVERLONG)
    worker = workers.start()
    child = await _child(workers, worker)
    child.suspend()
    for job in (frozen, honest):
        failed = await until_status(client, job, "failed", "succeeded")
        assert failed["error"]["code"] == "time_limit", failed
        assert "1 s" in failed["error"]["detail"]
        assert failed["attempt"] == 1


async def test_a_worker_asked_to_stop_hands_its_job_back(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    job = await post_job(client, LONG)
    worker = workers.start()
    await until_training(client, job)
    child = await _child(workers, worker)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    assert not child.is_running()
    given_back = await read_job(client, job)
    assert (given_back["status"], given_back["attempt"], given_back["progress"]) == ("queued", 0, 0)
    async with database.reading() as connection:
        assert await connection.fetchval("SELECT count(*) FROM workers") == 0


async def test_a_worker_asked_to_stop_while_its_publication_waits_hands_the_job_back(
    client: httpx.AsyncClient, database: Database, workers: Workers
) -> None:
    job = await post_job(client)
    worker = workers.start()
    async with publication_blocked(database) as waits:
        await until(waits, seconds=60)
        worker.send_signal(signal.SIGINT)
        assert worker.wait(timeout=10) == 0
    assert (await read_job(client, job))["status"] == "queued"
    assert await count_versions(database) == 0


async def _child(workers: Workers, worker: subprocess.Popen[bytes]) -> psutil.Process:
    async def started() -> psutil.Process | None:
        return workers.child(worker)

    child = await until(started)
    assert isinstance(child, psutil.Process)
    return child


async def test_a_child_that_runs_out_of_memory_fails_its_job_with_a_sentence(
    client: httpx.AsyncClient, workers: Workers
) -> None:
    small = await post_job(client, LONG)
    worker = workers.start()
    await until_training(client, small)
    child = workers.child(worker)
    assert child is not None
    enough = child.memory_info().vms + 64 * 2**20
    await client.post(f"/v1/training-jobs/{small}/cancel")
    await until_status(client, small, "cancelled")
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (enough, resource.RLIM_INFINITY))  # its children inherit it
    large = await post_job(client, TINY | {"batch_size": 4096, "width": 256, "context_length": 112})
    ended = await until_status(client, large, "failed", "succeeded")
    assert ended["error"]["code"] == "training_died", ended
    assert "out of memory" in ended["error"]["detail"]
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = await post_job(client)
    await until_status(client, again, "succeeded")
