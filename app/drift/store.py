"""The SQL of drift: the detectors' states, staged by the process that computed them, and the drifts that were found.

A row of `drift_states` names the job that wrote it, and is read while that job is the one that scored the newest scored day: what
a lost job left behind is never read, and is swept away with what is older by `remove_old_states`.

Shapes: D series or segments, C columns of a state (models/online/drift.py).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import asyncpg
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accuracy.store import NEWEST_SCORED
from app.accuracy.sums import rows_by_block
from app.database.engine import begun
from app.database.filters import Filters
from app.database.pages import Page
from models.online.drift import COLUMNS, SEGMENTS, SERIES, Drift, untouched
from models.online.scoring import Doubles
from models.segments import SEGMENTS as NAMES

Scope = Literal["series", "segment"]
SegmentName = Literal["fast", "slow", "intermittent"]
Action = Literal["fine_tuning", "retraining"]
OF_SEGMENTS = -1
"""The block in which the state of the segments is kept, in their usual order."""

_NEWEST = f"(SELECT job_id FROM scored_days WHERE day = {NEWEST_SCORED})"
_READ = f"SELECT block, series_ids, state FROM drift_states WHERE job_id = {_NEWEST}"


@dataclass(frozen=True)
class States:
    """The states of the detectors: of series, in the order asked for, and of the segments."""

    series: Drift
    segments: Drift


@dataclass(frozen=True)
class FoundDrift:
    """A drift as it is recorded: of a series (by id) or of a segment; `size` in seasonal errors, `percent` of the loss before."""

    scope: Scope
    series_id: int | None
    segment: str | None
    found_on: str
    since: str
    size: float
    percent: float | None
    action: Action | None = None


async def read_states(driver: asyncpg.Connection, series_ids: NDArray[np.int64]) -> States:
    """What the newest scored day left; of a series that was not known then, and before any day, as if nothing had been seen.

    `series_ids` ascend.
    """
    series, segments = untouched(len(series_ids), SERIES).as_array(), untouched(len(NAMES), SEGMENTS)
    for row in await driver.fetch(_READ):
        known = np.array(row["series_ids"], np.int64)
        kept_DC = _unpacked(row["state"], len(NAMES) if row["block"] == OF_SEGMENTS else len(known))
        if row["block"] == OF_SEGMENTS:
            segments = Drift.of(kept_DC)
            continue
        at = np.searchsorted(series_ids, known)
        there = at < len(series_ids)
        there[there] = series_ids[at[there]] == known[there]
        series[at[there]] = kept_DC[there]
    return States(Drift.of(series), segments)


async def stage_states(
    connection: AsyncConnection, job_id: uuid.UUID, states: States, series_ids: NDArray[np.int64]
) -> None:
    """Keep what a job's newest scored day left, not counted yet."""
    driver = await begun(connection)
    state_DC = states.series.as_array()
    rows: list[tuple[Any, ...]] = [(job_id, OF_SEGMENTS, [], _packed(states.segments.as_array()))]
    for block, at in rows_by_block(series_ids):
        rows.append((job_id, block, series_ids[at].tolist(), _packed(state_DC[at])))
    await driver.execute("DELETE FROM drift_states WHERE job_id = $1", job_id)
    await driver.executemany(
        "INSERT INTO drift_states (job_id, block, series_ids, state) VALUES ($1, $2, $3, $4)", rows
    )


def as_kept(state: Drift) -> Drift:
    """A state as it comes back from the database: whether days come in one update or in several makes no difference then."""
    return Drift.of(state.as_array().astype(np.float32).astype(np.float64))


def _packed(state_DC: Doubles) -> bytes:
    """The bytes to store: column by column in single precision, compressed. Half the bytes are half the time of writing them."""
    packed: bytes = pa.compress(state_DC.T.astype("<f4").tobytes(), codec="zstd", asbytes=True)
    return packed


def _unpacked(stored: bytes, streams: int) -> Doubles:
    raw = pa.decompress(stored, 4 * COLUMNS * streams, codec="zstd")
    state_DC: Doubles = np.frombuffer(raw, "<f4").reshape(COLUMNS, streams).T.astype(np.float64)
    return state_DC


async def drifting_series(driver: asyncpg.Connection, after: date) -> set[int]:
    """The series of which drift was found on a day after this one."""
    rows = await driver.fetch("SELECT DISTINCT series_id FROM drifts WHERE scope = 'series' AND found_on > $1", after)
    return {row["series_id"] for row in rows}


async def record_drifts(connection: AsyncConnection, job_id: uuid.UUID, found: Sequence[dict[str, Any]]) -> None:
    """Let drifts count that a job found on days whose scores count as its own; a series deleted meanwhile is left out."""
    driver = await begun(connection)
    await driver.execute(
        """
        INSERT INTO drifts (scope, series_id, segment, found_on, since, size, percent, action, job_id)
        SELECT f.scope, f.series_id, f.segment, f.found_on, f.since, f.size, f.percent, f.action, $1
        FROM unnest($2::text[], $3::int[], $4::text[], $5::date[], $6::date[], $7::float8[], $8::float8[], $9::text[])
             WITH ORDINALITY AS f (scope, series_id, segment, found_on, since, size, percent, action, number)
        JOIN scored_days d ON d.day = f.found_on AND d.job_id = $1
        WHERE f.series_id IS NULL OR EXISTS (SELECT FROM series s WHERE s.id = f.series_id FOR KEY SHARE)
        ORDER BY f.number ON CONFLICT DO NOTHING""",
        job_id,
        *([_value(one, name) for one in found] for name in _WRITTEN),
    )


_WRITTEN = ("scope", "series_id", "segment", "found_on", "since", "size", "percent", "action")


def _value(found: dict[str, Any], name: str) -> Any:
    return date.fromisoformat(found[name]) if name in ("found_on", "since") else found[name]


async def again_after_learning(connection: AsyncConnection, job_id: uuid.UUID, days: int) -> list[int]:
    """The drifts of segments that this job found, at most `days` after one of the same segment was learned from at once."""
    found = await connection.execute(
        text("""
        SELECT d.id FROM drifts d WHERE d.job_id = :job_id AND d.scope = 'segment' AND EXISTS (
            SELECT FROM drifts b WHERE b.segment = d.segment AND b.action IS NOT NULL AND b.job_id <> d.job_id
            AND b.found_on BETWEEN d.found_on - CAST(:days AS int) AND d.found_on - 1)"""),
        {"job_id": job_id, "days": days},
    )
    return list(found.scalars())


async def retrained_lately(connection: AsyncConnection, job_id: uuid.UUID, days: int) -> bool:
    """Whether retraining was brought forward in the `days` before this job's newest drift."""
    found = await connection.execute(
        text("""
        SELECT EXISTS (SELECT FROM drifts b WHERE b.action = 'retraining' AND b.found_on > (
            SELECT max(d.found_on) FROM drifts d WHERE d.job_id = :job_id) - CAST(:days AS int))"""),
        {"job_id": job_id, "days": days},
    )
    return bool(found.scalar_one())


async def note_retraining(connection: AsyncConnection, drifts: Sequence[int]) -> None:
    await connection.execute(
        text("UPDATE drifts SET action = 'retraining' WHERE id = ANY(:drifts)"), {"drifts": list(drifts)}
    )


async def remove_old_states(connection: AsyncConnection) -> None:
    """Remove the states that are not the newest scored day's, but for those of jobs that have not ended. A newest day that was
    taken back may come again: its states stay as well."""
    await connection.execute(
        text(f"""
        DELETE FROM drift_states s WHERE s.job_id IS DISTINCT FROM {_NEWEST}
        AND s.job_id IS DISTINCT FROM (SELECT job_id FROM scored_days ORDER BY day DESC LIMIT 1)
        AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = s.job_id AND j.finished_at IS NULL)""")
    )


async def count_drifts(driver: asyncpg.Connection) -> dict[str, int]:
    """How many drifts there are, by scope."""
    return {"series": 0, "segment": 0} | dict(await driver.fetch("SELECT scope, count(*) FROM drifts GROUP BY scope"))


@dataclass(frozen=True)
class DriftFilter:
    """Which drifts are meant; None stands for any. Days are those they were found on, inclusive."""

    scope: Scope | None = None
    sku: str | None = None
    location: str | None = None
    segment: SegmentName | None = None
    first: date | None = None
    last: date | None = None

    def of_drifts(self, filters: Filters) -> None:
        """Hold `drifts` (alias d) and `series` (alias s) to them."""
        named = {"d.scope": self.scope, "s.sku": self.sku, "s.location": self.location, "d.segment": self.segment}
        for column, value in named.items():
            filters.equal(column, value)
        if self.first is not None:
            filters.add("d.found_on >= ?", self.first)
        if self.last is not None:
            filters.add("d.found_on <= ?", self.last)


async def drifts_page(
    connection: asyncpg.Connection, wanted: DriftFilter, page: Page
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of drifts, found last first, and the token of the next page."""
    filters = Filters()
    wanted.of_drifts(filters)
    after = page.after("drifts", int)
    if after is not None:
        filters.add("d.id < ?", *after)
    limit = filters.numbered("?::bigint", page.limit)
    rows = await connection.fetch(
        f"""
        SELECT d.id, d.scope, s.sku, s.location, d.segment, d.found_on, d.since, d.size, d.percent, d.action, d.job_id,
               d.created_at
        FROM drifts d LEFT JOIN series s ON s.id = d.series_id WHERE {filters.where} ORDER BY d.id DESC LIMIT {limit}""",
        *filters.values,
    )
    part, token = page.cut("drifts", rows, lambda row: (row["id"],))
    return [dict(row) | {"job_id": str(row["job_id"])} for row in part], token
