"""Forgetting backtests: their jobs together with their tables, and tables that no job came to name.

Of an old backtest the file goes first and the job after it: an interruption then leaves a job that is forgotten the next
time, and never a file that nobody names. Files of unknown origin are left alone.
"""

import asyncio
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.config import Settings
from app.database.engine import Database
from app.jobs import results
from app.registry.retention import GARBAGE_AGE


async def remove_old_backtests(database: Database, settings: Settings) -> int:
    """Forget backtests that ended more than `job_days` ago; returns how many. Safe to repeat and to run twice at once.

    Tables that an ended job saved and does not name, because its worker was lost in between, go after a day.
    """
    location = settings.artifacts_location
    async with database.snapshot() as connection:
        old = await _ended_before(connection, settings.job_days)
    for sha256 in old.values():
        await asyncio.to_thread(results.remove, location, sha256)
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM jobs WHERE id = ANY(:ids)"), {"ids": list(old)})
    there = await asyncio.to_thread(results.stored, location)
    async with database.snapshot() as connection:
        unnamed = there - await _named(connection)
    aged = await asyncio.to_thread(results.older, location, unnamed, GARBAGE_AGE)
    async with database.snapshot() as connection:
        # Asked anew, since a job may have ended well meanwhile; one that still runs may yet name its table.
        ended = await _ended(connection, list(aged.values()))
        named = await _named(connection)
    for sha256, job in aged.items():
        if job in ended and sha256 not in named:
            await asyncio.to_thread(results.remove, location, sha256)
    return len(old)


async def _ended_before(connection: AsyncConnection, days: float) -> dict[UUID, str]:
    """The backtests that ended more than `days` ago, with the addresses of their tables."""
    rows = await connection.execute(
        text("""
        SELECT id, result #>> '{table,sha256}' AS sha256 FROM jobs
        WHERE kind = 'backtest' AND status = 'succeeded' AND finished_at < now() - make_interval(secs => :seconds)"""),
        {"seconds": days * 86_400},
    )
    return {row.id: row.sha256 for row in rows}


async def _named(connection: AsyncConnection) -> set[str]:
    rows = await connection.execute(
        text("SELECT result #>> '{table,sha256}' FROM jobs WHERE kind = 'backtest' AND status = 'succeeded'")
    )
    return set(rows.scalars())


async def _ended(connection: AsyncConnection, jobs: list[UUID]) -> set[UUID]:
    rows = await connection.execute(
        text("SELECT id FROM jobs WHERE id = ANY(:jobs) AND finished_at IS NOT NULL"), {"jobs": jobs}
    )
    return set(rows.scalars())
