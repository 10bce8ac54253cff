"""Forecasts as issued, by the process that made them: written block by block, and what was said of a day read from the blocks.

A row of `issued` or `series_scores` names the job that wrote it. When it counts is the matter of store.py.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accuracy import blocks
from app.accuracy.blocks import Block
from app.accuracy.store import Issuance
from app.accuracy.sums import packed, rows_by_block
from app.database.engine import begun
from models.days import Index, side_by_side
from models.panel import Floats

EXPERTS = ("trained", "lineage")
USUAL_DAYS = 28
"""A longer horizon takes as much room as there are days ahead of which something is kept."""


@dataclass(frozen=True)
class SaidOfDay:
    """What was said of one day, J days ahead (the latest cutoff first), of the series asked for, in their order (NaN: nothing).

    Of what callers read, of the networks as trained, and, only as far as the lineage's own updates said it, of the lineage, and
    of the experts behind those that have the same networks as trained."""

    day: date
    live_SJW: Floats
    frozen_SJW: Floats
    lineage_SJW: Floats
    trained_expert_SJQ: Floats
    lineage_expert_SJQ: Floats

    @property
    def horizon(self) -> int:
        """Days ahead, at most, of which something was said."""
        return int(self.live_SJW.shape[1])


async def unstage(connection: AsyncConnection, job_id: uuid.UUID) -> None:
    """Forget what a job issued, before it issues again."""
    await (await begun(connection)).execute("DELETE FROM issued WHERE job_id = $1", job_id)


async def stage(connection: AsyncConnection, job_id: uuid.UUID, rows: Sequence[Block]) -> None:
    """Keep what a job issued of some blocks, not counted yet. The commit that lets it count waits for the disk; this need not."""
    driver = await begun(connection)
    await driver.execute("SET LOCAL synchronous_commit = off")
    await driver.executemany(
        "INSERT INTO issued (job_id, block, series_ids, scales, trained, lineage, candidate, champion, frozen)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (job_id, b.block, b.series_ids, b.scales, b.trained, b.lineage, b.candidate, b.champion, b.frozen)
            for b in rows
        ],
    )


async def stage_champion(connection: AsyncConnection, job_id: uuid.UUID, answers: Sequence[tuple[int, bytes]]) -> None:
    """Keep what the champion said as well, block by block: callers go on reading that."""
    await (await begun(connection)).executemany(
        "UPDATE issued SET champion = $3 WHERE job_id = $1 AND block = $2",
        [(job_id, block, said) for block, said in answers],
    )


async def stage_series_scores(
    connection: AsyncConnection, job_id: uuid.UUID, day: date, series_ids: NDArray[np.int64], sums: Floats
) -> None:
    """Keep the sums of a day, (S, sources, K, X), not counted yet."""
    driver = await begun(connection)
    rows = [(block, day, job_id, series_ids[at].tolist(), packed(sums[at])) for block, at in rows_by_block(series_ids)]
    await driver.execute("DELETE FROM series_scores WHERE job_id = $1 AND day = $2", job_id, day)
    await driver.executemany(
        "INSERT INTO series_scores (block, day, job_id, series_ids, sums) VALUES ($1, $2, $3, $4, $5)", rows
    )


async def issuances(driver: asyncpg.Connection, first: date, last: date) -> list[Issuance]:
    """What was issued at the cutoffs of a span and is still kept, the oldest first."""
    rows = await driver.fetch(
        "SELECT cutoff, job_id, version, champion, horizon FROM issuances x WHERE cutoff BETWEEN $1 AND $2"
        " AND EXISTS (SELECT FROM issued i WHERE i.job_id = x.job_id) ORDER BY cutoff",
        first,
        last,
    )
    return [Issuance(*row) for row in rows]


async def said_of_day(
    driver: asyncpg.Connection,
    day: date,
    series_ids: NDArray[np.int64],
    *,
    ours: frozenset[uuid.UUID],
    experts: frozenset[uuid.UUID],
) -> SaidOfDay | None:
    """What was said of a day of some series (their ids, ascending), as far as it is kept; None where nothing was. `ours` are the
    jobs whose updates are the lineage, `experts` those of them whose experts count.

    Series that are not wanted any more (deleted since) are left out, those that were not known have NaN.
    """
    first = day - timedelta(days=blocks.LONGEST_HORIZON)
    made = await issuances(driver, first, day - timedelta(days=1))
    made = [one for one in made if (day - one.cutoff).days <= one.horizon]
    horizon = max((min(one.horizon, max(USUAL_DAYS, (day - one.cutoff).days)) for one in made), default=0)
    said: SaidOfDay | None = None
    places = _Places(series_ids)
    for one in made:  # one after the other: together they would take as much memory again
        ahead = (day - one.cutoff).days - 1
        for row in await _pieces_of(driver, one, ahead, experts=one.job_id in experts):
            said = said or _nothing_said(day, len(series_ids), horizon)
            at, known = places.of(row)
            for array, values in _told(said, row, one, ours=one.job_id in ours):
                array[at, ahead] = values[known]
    return said


class _Places:
    """Where the series of a block stand among those that are wanted. Most issuances have the same series in a block."""

    def __init__(self, series_ids: NDArray[np.int64]) -> None:
        self._series_ids = series_ids
        self._found: dict[int, tuple[list[int], Index | slice, Index | slice]] = {}

    def of(self, row: asyncpg.Record) -> tuple[Index | slice, Index | slice]:
        """Their rows, and which of the block's series these are."""
        before = self._found.get(row["block"])
        if before is None or before[0] != row["series_ids"]:
            ids = np.array(row["series_ids"], np.int64)
            at = np.searchsorted(self._series_ids, ids)
            known = np.flatnonzero(self._series_ids[np.minimum(at, len(self._series_ids) - 1)] == ids)
            before = self._found[row["block"]] = (row["series_ids"], side_by_side(at[known]), side_by_side(known))
        return before[1], before[2]


def _nothing_said(day: date, series: int, horizon: int) -> SaidOfDay:
    def empty(width: int) -> Floats:
        return np.full((series, horizon, width), np.nan, np.float32)

    answers, experts = blocks.ANSWERED, blocks.EXPERT
    return SaidOfDay(day, empty(answers), empty(answers), empty(answers), empty(experts), empty(experts))


def _told(said: SaidOfDay, row: asyncpg.Record, issuance: Issuance, *, ours: bool) -> Iterator[tuple[Floats, Floats]]:
    """Each array that a block says something for, and what it says of its series."""
    candidate, champion = row["candidate"], row["champion"]
    live = candidate if issuance.candidate_is_live or champion is None else champion
    yield said.live_SJW, blocks.answer_piece(live)
    yield said.frozen_SJW, blocks.answer_piece(row["frozen"])
    if ours and candidate is not None:
        yield said.lineage_SJW, blocks.answer_piece(candidate)
    if row["trained"] is not None:
        yield said.trained_expert_SJQ, blocks.expert_piece(row["trained"], row["scales"])
    if row["lineage"] is not None:
        yield said.lineage_expert_SJQ, blocks.expert_piece(row["lineage"], row["scales"])


def _piece(name: str, width: str, wanted: str = "true") -> str:
    """SQL for what an array says of one day: $2 the day's index, `width` the bytes a series. Null, and not read, where it is not
    `wanted`."""
    size = f"cardinality(series_ids) * {width}::int"
    return f"CASE WHEN {wanted} THEN substring({name} FROM 1 + $2::int * {size} FOR {size}) END AS {name}"


_PIECES = (
    "SELECT block, series_ids, scales, "
    + ", ".join(_piece(name, "$3", "$5::bool") for name in EXPERTS)
    + f", {_piece('candidate', '$4')}, {_piece('frozen', '$4')}, {_piece('champion', '$4', '$6::bool')}"
    + " FROM issued WHERE job_id = $1"
)


async def _pieces_of(
    driver: asyncpg.Connection, issuance: Issuance, ahead: int, *, experts: bool
) -> list[asyncpg.Record]:
    """What an issuance says of one of its days, by index, block by block: `experts` where these count, the champion before where
    callers went on reading that."""
    rows: list[asyncpg.Record] = await driver.fetch(
        _PIECES,
        issuance.job_id,
        ahead,
        blocks.expert_bytes(1),
        blocks.answer_bytes(1),
        experts,
        not issuance.candidate_is_live,
    )
    return rows
