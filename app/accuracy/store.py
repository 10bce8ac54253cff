"""What counts of forecasts as issued and of their scores. The process that computed them wrote them down (issued.py).

A row of `issued` or `series_scores` names the job that wrote it, and counts when `issuances` or `scored_days` names that job:
what a lost job left behind is never read, and is swept away by `remove_unread`.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.sales.reading import UP_TO_SALES

KEPT_DAYS = 56
"""Days, counted from the newest cutoff, that forecasts are kept as issued; from then on their scores stay."""
COUNTS = """(s.days > 1 OR EXISTS (SELECT FROM scored_days d WHERE d.day = s.day AND d.job_id = s.job_id))"""
"""SQL: whether a row `s` of `series_scores` counts. A week was put together of days that did."""

NEWEST_SCORED = f"(SELECT max(day) FROM scored_days WHERE {UP_TO_SALES})"


@dataclass(frozen=True)
class Issuance:
    """What one job issued. `live` tells whether callers read the update's version from then on, or the champion before it."""

    cutoff: date
    job_id: uuid.UUID
    version: int | None
    champion: int
    horizon: int

    @property
    def candidate_is_live(self) -> bool:
        return self.version is not None and self.version == self.champion


async def scored_until(driver: asyncpg.Connection) -> date | None:
    """The newest day that was scored, of those up to the newest with sales."""
    day: date | None = await driver.fetchval(f"SELECT {NEWEST_SCORED}")
    return day


async def all_kept(driver: asyncpg.Connection, days: Sequence[date]) -> set[date]:
    """Those of some days of which all is still kept that was forecast: others can not be scored anew as they were."""
    rows = await driver.fetch(
        """
        SELECT day FROM unnest($1::date[]) AS d (day) WHERE NOT EXISTS (
            SELECT FROM issuances x WHERE x.cutoff < day AND x.cutoff + x.horizon >= day
            AND NOT EXISTS (SELECT FROM issued i WHERE i.job_id = x.job_id))""",
        days,
    )
    return {row["day"] for row in rows}


async def record_issuance(connection: AsyncConnection, issuance: Issuance) -> None:
    """Let what a job issued count. The first issue of a cutoff stays: it is what callers read that day."""
    await connection.execute(
        text("""
        INSERT INTO issuances (cutoff, job_id, version, champion, horizon)
        VALUES (:cutoff, :job_id, :version, :champion, :horizon) ON CONFLICT DO NOTHING"""),
        vars(issuance),
    )


async def record_scores(connection: AsyncConnection, job_id: uuid.UUID, days: dict[str, list[dict[str, Any]]]) -> None:
    """Let the scores of days count: for each day its rows of `scores`. They take the place of what was scored before some of the
    day's sales came, or were corrected."""
    for day, rows in days.items():
        scored = {"day": date.fromisoformat(day), "job_id": job_id}
        await connection.execute(
            text("""
            INSERT INTO scored_days (day, job_id) VALUES (:day, :job_id)
            ON CONFLICT (day) DO UPDATE SET job_id = excluded.job_id"""),
            scored,
        )
        await connection.execute(text("DELETE FROM scores WHERE day = :day"), scored)
        if rows:
            await connection.execute(
                text("""
                INSERT INTO scores (day, source, segment, stretch, sums)
                VALUES (:day, :source, :segment, :stretch, :sums)"""),
                [row | {"day": scored["day"]} for row in rows],
            )


async def remove_unread(connection: AsyncConnection) -> int:
    """Remove forecasts as issued that are older than KEPT_DAYS, counted from the newest cutoff up to the newest day of sales, and
    what jobs that ended left behind unpublished; returns how many blocks."""
    newest = await connection.execute(
        text(f"SELECT max(day) FROM (SELECT cutoff AS day FROM issuances) AS cutoffs WHERE {UP_TO_SALES}")
    )
    cutoff = newest.scalar_one_or_none()
    if cutoff is None:
        return 0
    removed = await connection.execute(
        text("""
        DELETE FROM issued WHERE job_id IN (
            SELECT job_id FROM issuances WHERE cutoff <= CAST(:newest AS date) - CAST(:kept AS int)
            UNION ALL
            SELECT i.job_id FROM issued i WHERE NOT EXISTS (SELECT FROM issuances x WHERE x.job_id = i.job_id)
            AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = i.job_id AND j.finished_at IS NULL))"""),
        {"newest": cutoff, "kept": KEPT_DAYS},
    )
    await connection.execute(
        text(f"""
        DELETE FROM series_scores s WHERE NOT {COUNTS}
        AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = s.job_id AND j.finished_at IS NULL)""")
    )
    return removed.rowcount
