"""A worker: takes one job after the other from the queue, and meanwhile refreshes forecasts and keeps house.

`run_worker` lasts until it is told to stop; `python -m app.jobs.worker` runs it until SIGTERM or SIGINT. Whatever happens to
a job or to the database, the worker goes on. How one job is run is in running.py.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.database.embedded import running_url
from app.database.engine import Database
from app.errors import Problem
from app.jobs import queue, upkeep
from app.jobs.listening import listen
from app.jobs.process import ReadyChild
from app.jobs.running import RunningJob
from app.jobs.schedules.running import run_due
from app.telemetry import configure_logging

log = structlog.get_logger()

CONNECTIONS = 7
SCHEDULE_SECONDS = 60.0
REFRESH_SECONDS = 0.5
"""Between two looks for forecasts that are not fresh. With nothing posted since, a look is one short query."""
SHUTDOWN_SECONDS = 5.0


async def run_worker(settings: Settings, database_url: str, *, stop: asyncio.Event) -> None:
    """Work on the queue of one database until `stop` is set; a job that runs then goes back to the queue."""
    database = Database(
        database_url,
        pool_size=CONNECTIONS,
        pool_timeout=settings.pool_timeout_seconds,
        statement_timeout=settings.statement_timeout_seconds,
        # A worker frozen inside a transaction would keep its locks, and with the row its job, for ever: the server ends it.
        idle_timeout=upkeep.longest_idle(settings.lease_seconds),
        application=upkeep.APPLICATION,
    )
    worker = Worker(settings, database, database_url, stop)
    try:
        await worker.run()
    finally:
        await database.close()


class Worker:
    """One worker's loops: claiming, listening, presence, upkeep and refreshing."""

    def __init__(self, settings: Settings, database: Database, database_url: str, stop: asyncio.Event) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._settings = settings
        self._database = database
        self._database_url = database_url
        self._stop = stop
        self._woken = asyncio.Event()
        self._running: RunningJob | None = None
        self._ready = ReadyChild(kept=settings.ready_child)

    async def run(self) -> None:
        log.info("worker_started", worker=self.name)
        beside = [
            asyncio.create_task(task)
            for task in (
                listen(self._database_url, self._announced),
                self._every(self._settings.heartbeat_seconds, self._show_presence),
                self._every(SCHEDULE_SECONDS, self._schedule),
                self._every(SCHEDULE_SECONDS, self._keep_house),
                self._every(upkeep.SWEEP_SECONDS, self._sweep),
                self._refresh(),
            )
        ]
        try:
            await self._claim_jobs()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside, timeout=SHUTDOWN_SECONDS)
            await self._ready.end()
            await self._leave()
            log.info("worker_stopped", worker=self.name)

    async def _claim_jobs(self) -> None:
        while not self._stop.is_set():
            self._woken.clear()
            try:
                found = await self._run_next()
            except (Problem, DBAPIError) as error:
                log.warning("queue_not_reached", reason=str(error))
                found = False
            except Exception:
                # A defect may cost a job, which then goes to another attempt, but not the worker.
                log.exception("job_not_run")
                found = False
            if not found:
                await self._pause()

    async def _run_next(self) -> bool:
        """Take over what other workers lost, claim one job and run it to its end. Whether there was one."""
        settings = self._settings
        async with self._database.transaction() as connection:
            freed = await queue.take_over(
                connection, max_attempts=settings.max_attempts, retry_seconds=settings.retry_seconds
            )
        for job, status in freed:
            log.warning("job_taken_over", job=str(job), status=status)
        claimed = time.monotonic()
        async with self._database.transaction() as connection:
            ours = await queue.claim(connection, self.name, lease_seconds=settings.lease_seconds)
        if ours is None:
            return False
        self._running = RunningJob(ours, self._database, settings, claimed=claimed, stop=self._stop)
        try:
            await self._running.run(self._task(ours), self._ready.taken())
        finally:
            self._running = None
        return True

    def _task(self, ours: queue.Claim) -> dict[str, object]:
        """All that a child needs to know. It goes through a pipe: the URL may hold a password."""
        return {
            "job_id": str(ours.id),
            "attempt": ours.attempt,
            "worker": ours.worker,
            "kind": ours.kind,
            "request": ours.request,
            "database_url": self._database_url,
            "artifacts": self._settings.artifacts_location,
            "kept_sales": str(self._settings.kept_sales_file),
            "threads": self._settings.training_threads,
            "device": self._settings.device,
            "speeds": self._settings.speeds,
            "limits": self._settings.gate_limits,
            "drift": self._settings.drift_rule,
            "log_level": self._settings.log_level,
        }

    async def _pause(self) -> None:
        """Until the next look at the queue, or until somebody announces a job, or until the worker stops."""
        await self._ready.prepare()
        waits = [asyncio.create_task(self._woken.wait()), asyncio.create_task(self._stop.wait())]
        try:
            await asyncio.wait(waits, timeout=self._settings.poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _announced(self, job: str) -> None:
        self._woken.set()
        if self._running is not None and str(self._running.ours.id) == job:
            self._running.changed.set()

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again. A database that is away is no reason to stop; the next round tries again."""
        while True:
            try:
                await act()
            except (Problem, DBAPIError) as error:
                log.warning("round_skipped", what=act.__name__.strip("_"), reason=str(error))
            except Exception:  # a defect in one round is told whole and must not end the worker
                log.exception("round_failed", what=act.__name__.strip("_"))
            await asyncio.sleep(seconds)

    async def _show_presence(self) -> None:
        async with self._database.transaction() as connection:
            await upkeep.show_presence(connection, self.name)
            ended = await upkeep.end_frozen_sessions(connection, upkeep.longest_idle(self._settings.lease_seconds))
        if ended:
            log.warning("frozen_sessions_ended", sessions=ended)

    async def _schedule(self) -> None:
        async with self._database.transaction() as connection:
            await run_due(connection)

    async def _keep_house(self) -> None:
        await upkeep.keep_house_when_due(self._database, self._settings)

    async def _sweep(self) -> None:
        await upkeep.sweep(self._settings)

    async def _refresh(self) -> None:
        """Bring forecasts up to date, also while a job trains. Computed on a thread of its own, so heartbeats go out."""
        if not self._settings.refresh:
            return
        from app.forecasts.inference import Inference  # brings torch along
        from app.forecasts.refresh import refresh_stale
        from models.placement import device_named

        device = device_named(self._settings.device)
        inference = Inference(self._database, self._settings.artifacts_location, device)

        async def refresh() -> None:
            await refresh_stale(inference, proceed=lambda: not self._stop.is_set())

        try:
            await self._every(min(REFRESH_SECONDS, self._settings.poll_seconds), refresh)
        finally:
            await inference.close()

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(1), self._database.transaction() as connection:
                await upkeep.end_presence(connection, self.name)
        except (Problem, DBAPIError, TimeoutError) as error:
            log.info("presence_not_ended", reason=str(error))


def main() -> int:
    """The process of one worker; its exit code."""
    settings = Settings()
    configure_logging(settings.log_level)
    url = settings.database_url.get_secret_value() if settings.database_url else running_url(settings.home)
    if url is None:
        print(  # noqa: T201
            f"No database: set SHELFCAST_DATABASE_URL, or start `shelfcast serve` on {settings.home}.", file=sys.stderr
        )
        return 2
    asyncio.run(_until_signal(settings, url))
    return 0


async def _until_signal(settings: Settings, url: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_worker(settings, url, stop=stop)


if __name__ == "__main__":
    sys.exit(main())
