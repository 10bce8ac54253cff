"""The SQL of forecasts as issued and of their scores: staged by the process that computed them, counted once it is published.

A row of `issued` or `series_scores` names the job that wrote it, and counts when `issuances` or `scored_days` names that job:
what a lost job left behind is never read, and is swept away by `remove_unread`.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accuracy import blocks
from app.accuracy.blocks import Block
from app.accuracy.sums import packed
from app.database.engine import begun
from models.panel import Floats

EXPERTS, ANSWERS = ("trained", "lineage"), ("candidate", "champion", "frozen")
KEPT_DAYS = 56
"""Days, counted from the newest cutoff, that forecasts are kept as issued; from then on their scores stay."""
COUNTS = """(s.days > 1 OR EXISTS (SELECT FROM scored_days d WHERE d.day = s.day AND d.job_id = s.job_id))"""
"""SQL: whether a row `s` of `series_scores` counts. A week was put together of days that did."""


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


@dataclass(frozen=True)
class SaidOfDay:
    """What an issuance had said of one day, of the series in the order asked for (NaN: nothing); None where it held nothing."""

    trained_SQ: Floats
    lineage_SQ: Floats | None
    candidate_SW: Floats | None
    live_SW: Floats
    frozen_SW: Floats


async def stage(connection: AsyncConnection, job_id: uuid.UUID, rows: Sequence[Block]) -> None:
    """Keep what a job issued, not counted yet."""
    driver = await begun(connection)
    await driver.execute("DELETE FROM issued WHERE job_id = $1", job_id)
    await driver.executemany(
        "INSERT INTO issued (job_id, block, series_ids, scales, trained, lineage, candidate, champion, frozen)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (job_id, b.block, b.series_ids, b.scales, b.trained, b.lineage, b.candidate, b.champion, b.frozen)
            for b in rows
        ],
    )


async def stage_series_scores(
    connection: AsyncConnection, job_id: uuid.UUID, day: date, series_ids: NDArray[np.int64], sums: Floats
) -> None:
    """Keep the sums of a day, (S, sources, K, X), not counted yet."""
    driver = await begun(connection)
    number_S = series_ids // blocks.BLOCK
    rows = []
    for block in np.unique(number_S).tolist():
        at = np.flatnonzero(number_S == block)
        rows.append((block, day, job_id, series_ids[at].tolist(), packed(sums[at])))
    await driver.execute("DELETE FROM series_scores WHERE job_id = $1 AND day = $2", job_id, day)
    await driver.executemany(
        "INSERT INTO series_scores (block, day, job_id, series_ids, sums) VALUES ($1, $2, $3, $4, $5)", rows
    )


async def issuances(driver: asyncpg.Connection, first: date, last: date) -> list[Issuance]:
    """What was issued at the cutoffs of a span, the oldest first."""
    rows = await driver.fetch(
        "SELECT cutoff, job_id, version, champion, horizon FROM issuances WHERE cutoff BETWEEN $1 AND $2 ORDER BY cutoff",
        first,
        last,
    )
    return [Issuance(*row) for row in rows]


async def said_of_day(
    driver: asyncpg.Connection, issuance: Issuance, day: date, row_of: dict[int, int]
) -> SaidOfDay | None:
    """What an issuance had said of a day; `row_of` gives each wanted series' row. None for a day that it did not reach.

    Series that are not wanted any more (deleted since) are left out, those it did not know have NaN.
    """
    ahead = (day - issuance.cutoff).days
    if not 1 <= ahead <= issuance.horizon:
        return None
    rows = await driver.fetch(_PIECES, issuance.job_id, ahead - 1, blocks.expert_bytes(1), blocks.answer_bytes(1))
    found: dict[str, Floats] = {}
    for row in rows:
        wanted = np.array([row_of.get(series_id, -1) for series_id in row["series_ids"]])
        here = wanted >= 0
        for name, values in _pieces(row).items():
            if name not in found:
                found[name] = np.full((len(row_of), values.shape[1]), np.nan, np.float32)
            found[name][wanted[here]] = values[here]
    if "trained" not in found:
        return None
    candidate = found.get("candidate")
    champion = found.get("champion", candidate)
    live = candidate if issuance.candidate_is_live else champion
    assert live is not None
    return SaidOfDay(found["trained"], found.get("lineage"), candidate, live, found["frozen"])


def _piece(name: str, width: str) -> str:
    """SQL for what an array says of one day: $2 the day's index, `width` the bytes a series."""
    size = f"cardinality(series_ids) * {width}::int"
    return f"substring({name} FROM 1 + $2::int * {size} FOR {size}) AS {name}"


_PIECES = (
    "SELECT series_ids, scales, "
    + ", ".join([_piece(name, "$3") for name in EXPERTS] + [_piece(name, "$4") for name in ANSWERS])
    + " FROM issued WHERE job_id = $1"
)


def _pieces(row: asyncpg.Record) -> dict[str, Floats]:
    experts = {name: blocks.expert_piece(row[name], row["scales"]) for name in EXPERTS if row[name] is not None}
    answers = {name: blocks.answer_piece(row[name]) for name in ANSWERS if row[name] is not None}
    return experts | answers


async def scored_until(driver: asyncpg.Connection) -> date | None:
    """The newest day that was scored."""
    day: date | None = await driver.fetchval("SELECT max(day) FROM scored_days")
    return day


async def record_issuance(connection: AsyncConnection, issuance: Issuance) -> None:
    """Let what a job issued count. The first issue of a cutoff stays: it is what callers read that day."""
    await connection.execute(
        text("""
        INSERT INTO issuances (cutoff, job_id, version, champion, horizon)
        VALUES (:cutoff, :job_id, :version, :champion, :horizon) ON CONFLICT DO NOTHING"""),
        vars(issuance),
    )


async def record_scores(connection: AsyncConnection, job_id: uuid.UUID, days: dict[str, list[dict[str, Any]]]) -> None:
    """Let the scores of days count: for each day its rows of `scores`. A day that was scored already stays as it is."""
    for day, rows in days.items():
        made = await connection.execute(
            text("INSERT INTO scored_days (day, job_id) VALUES (:day, :job_id) ON CONFLICT DO NOTHING"),
            {"day": date.fromisoformat(day), "job_id": job_id},
        )
        if made.rowcount and rows:
            await connection.execute(
                text("""
                INSERT INTO scores (day, source, segment, stretch, sums)
                VALUES (:day, :source, :segment, :stretch, :sums)"""),
                [row | {"day": date.fromisoformat(day)} for row in rows],
            )


async def remove_unread(connection: AsyncConnection) -> int:
    """Remove forecasts as issued that are older than KEPT_DAYS, counted from the newest cutoff, and what jobs that ended left
    behind unpublished; returns how many blocks."""
    newest = await connection.execute(text("SELECT max(cutoff) FROM issuances"))
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
