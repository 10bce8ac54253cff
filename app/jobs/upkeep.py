"""What workers do beside jobs: each shows that it is there and sweeps its own machine, one keeps house when schedules/ say so."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accuracy.store import remove_unread
from app.accuracy.weeks import put_weeks_together
from app.config import Settings
from app.database.engine import Database
from app.drift.store import remove_old_states
from app.http.idempotency import remove_old_answers
from app.jobs.retention import remove_old_backtests
from app.jobs.schedules.running import housekeeping_due, note_housekeeping
from app.quarantine.store import remove_replaced
from app.registry.retention import remove_old_artifacts

log = structlog.get_logger()

APPLICATION = "shelfcast worker"
LONGEST_IDLE_SECONDS = 5.0
SWEEP_SECONDS = 3600.0
SPOOL_LEFTOVER_SECONDS = 86_400.0
FORGOTTEN_WORKER_HOURS = 24
_KEEPING_HOUSE = 7_306_204


async def show_presence(connection: AsyncConnection, worker: str) -> None:
    await connection.execute(
        text("""
        INSERT INTO workers (name) VALUES (:worker)
        ON CONFLICT (name) DO UPDATE SET heartbeat_at = clock_timestamp()"""),
        {"worker": worker},
    )


def longest_idle(lease_seconds: float) -> float:
    """Seconds that a worker's transaction may wait for its worker: well within the lease."""
    return min(LONGEST_IDLE_SECONDS, lease_seconds / 2)


async def end_frozen_sessions(connection: AsyncConnection, idle_seconds: float) -> int:
    """End workers' transactions that wait for a frozen worker amid a statement; returns how many.

    The server's own time-out sees only what is idle between statements. A session whose client has sent Parse, but no Bind
    yet, counts as active, and would keep its locks for as long as its worker is frozen.
    """
    ended = await connection.execute(
        text("""
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND application_name = :application
        AND state = 'active' AND wait_event = 'ClientRead'
        AND state_change < clock_timestamp() - make_interval(secs => :idle)"""),
        {"application": APPLICATION, "idle": idle_seconds},
    )
    count: int = ended.scalar_one()
    return count


async def end_presence(connection: AsyncConnection, worker: str) -> None:
    await connection.execute(text("DELETE FROM workers WHERE name = :worker"), {"worker": worker})


async def keep_house_when_due(database: Database, settings: Settings, *, now: datetime | None = None) -> bool:
    """Keep house if the schedule says so and no other worker does; the run is noted at the end, so that one which is cut off is
    made up for. Whether it was done. `now` is the database's clock unless a test gives it."""
    async with database.transaction() as connection:
        if await housekeeping_due(connection, now=now) is None:
            return False
    async with _alone(database) as alone:
        if not alone:
            return False
        async with database.transaction() as connection:
            due = await housekeeping_due(connection, now=now)  # another one may have ended meanwhile
        if due is None:
            return False
        await keep_house(database, settings)
        async with database.transaction() as connection:
            await note_housekeeping(connection, due)
    return True


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[bool]:
    """Whether no other worker keeps house. The lock is the session's: it goes with a worker that is lost."""
    async with database.reading() as driver:
        ours = await driver.fetchval("SELECT pg_try_advisory_lock($1)", _KEEPING_HOUSE)
        try:
            yield ours
        finally:
            if ours:
                await driver.execute("SELECT pg_advisory_unlock($1)", _KEEPING_HOUSE)


async def keep_house(database: Database, settings: Settings) -> None:
    """Remove what all machines share and what has had its time: finished jobs, kept answers, workers long gone, forecasts as
    issued, old artifacts, states of detectors, days in quarantine that were replaced. Scores of single series are put together by
    week. Each for itself: what fails is told by its name and tried again the next time, and the rest goes on."""

    async def removed(remove: Callable[[AsyncConnection], Awaitable[object]]) -> object:
        async with database.transaction() as connection:
            return await remove(connection)

    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "jobs": lambda: removed(partial(remove_old_jobs, days=settings.job_days)),
        "answers": lambda: removed(partial(remove_old_answers, hours=settings.idempotency_hours)),
        "workers": lambda: removed(remove_gone_workers),
        "issued": lambda: removed(remove_unread),
        "states": lambda: removed(remove_old_states),
        "quarantine": lambda: removed(remove_replaced),
        "weeks": lambda: put_weeks_together(database),
        "backtests": lambda: remove_old_backtests(database, settings),
        "artifacts": lambda: remove_old_artifacts(database, settings),
    }
    done: dict[str, object] = {}
    for name, step in steps.items():
        try:
            done[name] = await step()
        except Exception:
            log.exception("housekeeping_failed", step=name)
    failed = len(steps) - len(done)
    (log.warning if failed else log.info)("house_kept", failed=failed, **done)


async def sweep(settings: Settings) -> None:
    """Remove what was left on this machine."""
    files = await asyncio.to_thread(remove_spool_leftovers, settings.spool_folder)
    if files:
        log.info("spool_swept", files=files)


async def remove_old_jobs(connection: AsyncConnection, days: float) -> int:
    """Forget jobs that ended more than `days` ago; returns how many. Backtests with a table are retention.py's."""
    result = await connection.execute(
        text("""
        DELETE FROM jobs WHERE finished_at < now() - make_interval(secs => :seconds)
        AND result #>> '{table,sha256}' IS NULL"""),
        {"seconds": days * 86_400},
    )
    return result.rowcount


async def remove_gone_workers(connection: AsyncConnection) -> int:
    result = await connection.execute(
        text("DELETE FROM workers WHERE heartbeat_at < now() - make_interval(hours => :hours)"),
        {"hours": FORGOTTEN_WORKER_HOURS},
    )
    return result.rowcount


def remove_spool_leftovers(folder: Path) -> int:
    """Remove what an interrupted upload left more than a day ago; returns how many files."""
    if not folder.is_dir():
        return 0
    old = [
        file
        for file in folder.iterdir()
        if file.is_file() and file.stat().st_mtime < time.time() - SPOOL_LEFTOVER_SECONDS
    ]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)
