"""Worker processes of a test, their training children, and the data they train on."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import httpx
import numpy as np
import orjson
import psutil
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.jobs import queue
from app.jobs.child import last_word
from app.jobs.process import LONGEST_LINE, Child
from app.jobs.running import RunningJob
from app.jobs.worker import Worker, run_worker
from tests.support import until

TINY = {
    "model": "lstm",
    "horizon": 7,
    "context_length": 14,
    "width": 8,
    "epochs": 1,
    "batch_size": 32,
    "max_seconds": 120,
}
"""A training of a second or two."""
SLOW = TINY | {"epochs": 6, "patience": 6}
"""A training that can be met in the middle and yet be waited for."""
LONG = TINY | {"epochs": 500, "patience": 500}
"""A training that is still in its first epochs when a test ends it."""
OVERLONG = LONG | {"width": 256, "batch_size": 4096, "max_seconds": 1}
"""A training whose first epoch takes longer than the whole may."""


class Workers:
    """The worker processes that a test started."""

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url
        self._started: list[subprocess.Popen[bytes]] = []
        self._children: set[int] = set()

    def start(self, **changes: Any) -> subprocess.Popen[bytes]:
        values = self._settings.model_dump(exclude_none=True) | changes | {"database_url": self._database_url}
        given = {f"SHELFCAST_{name.upper()}": str(value) for name, value in values.items()}
        process = subprocess.Popen([sys.executable, "-m", "app.jobs.worker"], env={**os.environ, **given})
        self._started.append(process)
        return process

    def child(self, worker: subprocess.Popen[bytes]) -> psutil.Process | None:
        """The training child of a worker, if it has one now."""
        found = training_child(worker.pid)
        self._children |= {found.pid} if found else set()
        return found

    def end(self) -> None:
        for process in self._started:
            self.child(process)
            process.kill()
            process.wait()
        left = [pid for pid in self._children if _alive(pid)]
        deadline = psutil.wait_procs([psutil.Process(pid) for pid in left], timeout=5)
        assert not deadline[1], "a training child outlived its worker"


@asynccontextmanager
async def working(settings: Settings, database_url: str) -> AsyncIterator[None]:
    """A worker inside the test's own process; its children are processes all the same."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_worker(settings, database_url, stop=stop))
    yield
    stop.set()
    await asyncio.wait_for(running, 15)


@asynccontextmanager
async def working_here(settings: Settings, database_url: str) -> AsyncIterator[None]:
    """A worker that does its jobs in the test's own process, claimed, worked on and settled by what workers and their children
    run. What is left out are the processes, which take most of a small job's time, and whatever a worker does between jobs."""
    stop, database = asyncio.Event(), Database(database_url, pool_size=2)

    async def work() -> None:
        while not stop.is_set():
            if not await _work(settings, database, database_url):
                await asyncio.sleep(0.05)

    running = asyncio.create_task(work())
    yield
    stop.set()
    try:
        await running
    finally:
        await database.close()


class Here:
    """A child's process as its parent knows it, which is this process: the pipe that it talks into, and its end."""

    def __init__(self) -> None:
        self.stdout = asyncio.StreamReader(limit=LONGEST_LINE)
        self._loop = asyncio.get_running_loop()

    def tell(self, message: dict[str, Any]) -> None:
        self._loop.call_soon_threadsafe(self.stdout.feed_data, orjson.dumps(message) + b"\n")

    def work(self, task: dict[str, Any]) -> None:
        """What a child does with a task, on a thread."""
        try:
            self.tell(last_word(task, self.tell))
        finally:
            self._loop.call_soon_threadsafe(self.stdout.feed_eof)

    async def wait(self) -> int:
        return 0


async def work_once(settings: Settings, database_url: str) -> bool:
    """Claim the job that has waited longest and do it to its settled end, in this process. Whether there was one."""
    database = Database(database_url, pool_size=2)
    try:
        return await _work(settings, database, database_url)
    finally:
        await database.close()


async def _work(settings: Settings, database: Database, database_url: str) -> bool:
    stop, claimed = asyncio.Event(), time.monotonic()
    async with database.transaction() as connection:
        ours = await queue.claim(connection, "here", lease_seconds=600)
    if ours is None:
        return False
    running = RunningJob(ours, database, settings, claimed=claimed + 600, stop=stop)
    await work_on(running, task_of(ours, settings, database_url))
    return True


def task_of(ours: queue.Claim, settings: Settings, database_url: str) -> dict[str, Any]:
    """What a child is told of a claimed job, as it comes out of the pipe."""
    worker = Worker(settings, Database(database_url), database_url, asyncio.Event())
    task: dict[str, Any] = orjson.loads(orjson.dumps(worker._task(ours)))
    return task


async def work_on(running: RunningJob, task: dict[str, Any]) -> dict[str, Any] | None:
    """Do a claimed job to its settled end, in this process; the child's last word."""
    here = Here()
    child = Child(here)
    await asyncio.to_thread(here.work, task)
    await running._settle(await running._child_ended(child), child.news)
    return child.last_word


def training_child(worker: int) -> psutil.Process | None:
    """The living training child of the worker process with this id."""
    try:
        children = psutil.Process(worker).children()
    except psutil.NoSuchProcess:
        return None
    for child in children:
        try:
            if "app.jobs.child" in child.cmdline():
                return child
        except psutil.NoSuchProcess:  # gone, or dead and not yet waited for
            continue
    return None


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def add_sales(database: Database, *, series: int = 3, days: int = 100, first: str = "2026-05-01") -> None:
    """Daily sales with a weekly pattern, written straight into the tables."""
    rng = np.random.default_rng(1)
    async with database.transaction() as connection:
        for number in range(series):
            quantity = (
                (10 + number + 4 * np.sin(np.arange(days) * 2 * np.pi / 7) + rng.normal(0, 1, days)).clip(0).round()
            )
            await connection.execute(
                text("""
                WITH one AS (
                    INSERT INTO series (sku, revision, first_day, last_day, rows)
                    SELECT :sku, 1, CAST(:first AS date), CAST(:first AS date) + CAST(:days AS int) - 1, CAST(:days AS int)
                    RETURNING id)
                INSERT INTO sales (series_id, day, post_id, quantity)
                SELECT id, CAST(:first AS date) + CAST(n AS int) - 1, 1, q
                FROM one, unnest(CAST(:quantity AS float8[])) WITH ORDINALITY AS u(q, n)"""),
                {"sku": f"A-{number}", "first": date.fromisoformat(first), "days": days, "quantity": quantity.tolist()},
            )


async def add_days(database: Database, days: int) -> None:
    """The next days of every series: what it sold four weeks before."""
    async with database.transaction() as connection:
        await connection.execute(
            text("""
            INSERT INTO sales (series_id, day, post_id, quantity)
            SELECT series_id, day + 28, 2, quantity FROM sales JOIN series ON id = series_id
            WHERE day > last_day - 28 AND day <= last_day - 28 + CAST(:days AS int)"""),
            {"days": days},
        )
        await connection.execute(
            text(
                "UPDATE series SET last_day = last_day + CAST(:days AS int), rows = rows + :days, revision = revision + 1"
            ),
            {"days": days},
        )


async def post_job(client: httpx.AsyncClient, body: dict[str, Any] | None = None) -> str:
    answer = await client.post("/v1/training-jobs", json=TINY if body is None else body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def read_job(client: httpx.AsyncClient, job: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/training-jobs/{job}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_status(client: httpx.AsyncClient, job: str, *status: str, seconds: float = 120) -> dict[str, Any]:
    """Wait until the job has one of these states."""
    seen: dict[str, Any] = {}

    async def reached() -> bool:
        seen.update(await read_job(client, job))
        return seen["status"] in status

    try:
        await until(reached, seconds=seconds)
    except AssertionError as error:
        raise AssertionError(f"the job is {seen}") from error
    return seen


async def done(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """Ask for a job, and wait until it has succeeded."""
    ended = await until_status(client, await post_job(client, body), "succeeded", "failed")
    assert ended["status"] == "succeeded", ended
    return ended


async def update(client: httpx.AsyncClient, **request: Any) -> dict[str, Any]:
    return await done(client, {"kind": "update"} | request)


async def until_training(client: httpx.AsyncClient, job: str, *, attempt: int = 1) -> None:
    """Wait until the child of this attempt is amid its epochs."""

    async def reached() -> bool:
        found = await read_job(client, job)
        return bool(found["epoch"]) and found["attempt"] == attempt

    await until(reached, seconds=60)


async def count_versions(database: Database) -> int:
    async with database.transaction() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM versions"))).scalar_one())


@asynccontextmanager
async def publication_blocked(database: Database) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Nothing can be published inside the block; gives a condition that tells whether a publication waits."""

    async def waits() -> bool:
        async with database.transaction() as other:
            found = await other.execute(
                text(
                    "SELECT EXISTS (SELECT FROM pg_locks held JOIN pg_locks wanted USING (pid) WHERE NOT wanted.granted"
                    " AND held.granted AND held.relation = 'jobs'::regclass AND held.mode = 'RowShareLock')"
                )
            )
            return bool(found.scalar_one())

    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await connection.execute(text("LOCK TABLE versions IN EXCLUSIVE MODE"))
        yield waits


def freeze(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)


def thaw(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
