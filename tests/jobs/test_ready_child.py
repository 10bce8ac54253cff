"""The process that a worker keeps ready: taken by its next job, replaced where it died, and gone with its worker."""

import httpx
import psutil
import pytest

from tests.jobs.workers import Workers, post_job, training_child, until_status
from tests.support import until

pytestmark = pytest.mark.usefixtures("sales")


async def test_a_job_takes_the_ready_child_and_one_that_died_is_replaced(
    client: httpx.AsyncClient, workers: Workers
) -> None:
    worker = workers.start(ready_child=True)
    first = await _ready(worker.pid)
    first.kill()  # while it waits: nobody's job is lost
    second = await _ready(worker.pid, other_than=first)
    job = await post_job(client)
    ended = await until_status(client, job, "succeeded", "failed")
    assert ended["status"] == "succeeded", ended
    assert not second.is_running(), "the job did not take the child that waited for it"
    third = await _ready(worker.pid, other_than=second)
    worker.kill()
    worker.wait()
    third.wait(timeout=60)  # once it has imported what it needs it looks for its task


async def _ready(worker: int, *, other_than: psutil.Process | None = None) -> psutil.Process:
    async def found() -> bool:
        child = training_child(worker)
        return child is not None and child != other_than and child.status() != psutil.STATUS_ZOMBIE

    await until(found, seconds=60)
    child = training_child(worker)
    assert child is not None
    return child
