"""Removing artifacts that nobody needs: of versions long unused, and of jobs that never came to publish theirs.

The records of versions stay. An artifact location belongs to one database; still, nothing is removed here that this database
cannot name: files of unknown origin are left alone.
"""

import asyncio
from datetime import timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.config import Settings
from app.database.engine import Database
from app.registry import artifacts
from app.registry.promotions import lock_registry

log = structlog.get_logger()

KEPT_PROMOTIONS = 10
GARBAGE_AGE = timedelta(days=1)


class Removed(NamedTuple):
    """The versions whose artifacts were removed now, and how many artifacts that no version names."""

    versions: list[int]
    unpublished: int


async def remove_old_artifacts(database: Database, settings: Settings) -> Removed:
    """Remove the artifacts of versions unused for `artifact_days`, and what no version names after a day.

    Never those of the champion, of the version whose networks it came of (it may go back to that by itself), of the last ten
    promotions, or of the last ten that a roll-back can reach. Safe to repeat and to run twice at once: the database is told
    first, so that what an interruption leaves is removed the next time.
    """
    async with database.transaction() as connection:
        versions = await _retire(connection, timedelta(days=settings.artifact_days))
    location = settings.artifacts_location
    there = await asyncio.to_thread(artifacts.stored, location)
    async with database.snapshot() as connection:
        named = await _named(connection, there)
    for sha256 in sorted(named.retired):
        await asyncio.to_thread(artifacts.remove, location, sha256)
    unpublished = await _remove_unpublished(database, location, there - named.needed - named.retired)
    await asyncio.to_thread(artifacts.remove_unfinished, location, GARBAGE_AGE)
    if versions or unpublished:
        log.info("artifacts_removed", versions=versions, unpublished=unpublished)
    return Removed(versions, unpublished)


async def _retire(connection: AsyncConnection, unused: timedelta) -> list[int]:
    """Mark the artifacts of long unused versions as removed."""
    await lock_registry(connection)
    retired = await connection.execute(
        text("""
            WITH RECURSIVE line AS (
                SELECT v.version, v.parent FROM versions v JOIN aliases a USING (version) WHERE a.alias = 'champion'
                UNION ALL
                SELECT v.version, v.parent FROM versions v JOIN line ON v.version = line.parent)
            UPDATE versions SET artifact_removed_at = now()
            WHERE artifact_removed_at IS NULL AND last_used_at < now() - CAST(:unused AS interval) AND version NOT IN (
                SELECT version FROM line WHERE parent IS NULL
                UNION SELECT version FROM aliases WHERE alias = 'champion'
                UNION (SELECT version FROM promotions ORDER BY id DESC LIMIT :kept)
                UNION (SELECT version FROM promotions WHERE kind <> 'rollback' ORDER BY id DESC LIMIT :kept)
                UNION (SELECT version FROM promotions WHERE kind <> 'rollback' AND NOT rolled_back
                       ORDER BY id DESC LIMIT :kept))
            RETURNING version"""),
        {"unused": unused, "kept": KEPT_PROMOTIONS},
    )
    return sorted(retired.scalars())


class _Named(NamedTuple):
    """Addresses by what the versions that name them say: one still needs it, or all have let it go."""

    needed: set[str]
    retired: set[str]


async def _named(connection: AsyncConnection, there: set[str]) -> _Named:
    rows = await connection.execute(
        text("""
            SELECT artifact_sha256, bool_or(artifact_removed_at IS NULL) AS needed
            FROM versions WHERE artifact_sha256 = ANY(:there) GROUP BY artifact_sha256"""),
        {"there": sorted(there)},
    )
    found = [(row.artifact_sha256, row.needed) for row in rows]
    return _Named({s for s, needed in found if needed}, {s for s, needed in found if not needed})


async def _remove_unpublished(database: Database, location: str, unnamed: set[str]) -> int:
    """Remove what a job of this database saved more than a day ago and never published."""
    old = await asyncio.to_thread(artifacts.older, location, unnamed, GARBAGE_AGE)
    if not old:
        return 0
    async with database.snapshot() as connection:
        # Asked again, since a publication may have come between; a job that still runs may yet publish.
        ended = await connection.execute(
            text("""
                SELECT id FROM jobs WHERE id = ANY(:jobs) AND status IN ('succeeded', 'failed', 'cancelled')
                AND NOT EXISTS (SELECT FROM versions WHERE artifact_sha256 = ANY(:addresses) AND job_id = jobs.id)"""),
            {"jobs": [a.job_id for a in old if a.job_id is not None], "addresses": [a.sha256 for a in old]},
        )
        ours = set(ended.scalars())
    gone = [artifact.sha256 for artifact in old if artifact.job_id in ours]
    for sha256 in gone:
        await asyncio.to_thread(artifacts.remove, location, sha256)
    return len(gone)
