"""What an update reads before it works, all from one snapshot: where it begins, all sales, and which days came in.

It begins at the head of the lineage: the newest version that came of the champion since that was promoted, else the champion
itself. So a lineage that was refused lives on in the shadow, and after a roll-back or a promotion by hand a new one begins.

What was said of these days is read day by day (update_days.py): once published it does not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accuracy.store import all_kept, scored_until
from app.database.engine import Database, begun
from app.drift.finding import LATELY_DAYS
from app.drift.store import States, drifting_series, read_states
from app.jobs.task import Champion, last_day_over
from app.quarantine.store import FREED, not_held
from app.registry.lines import line_of
from app.sales.panel import TrainingData, read_panel
from models.online.finetuning import last_complete_day
from models.online.stream import FINE_TUNING_DAYS
from models.online.tracking import REMEMBERED_DAYS
from models.windows import MEMORY

AGAIN_AT_MOST = 7
"""Days learned before that are learned again in one update, the newest ones, when they were corrected."""
SCORED_AT_MOST = 56
"""Days that one update scores at most, the newest ones: forecasts as issued are not kept longer."""
RECORD_DAYS = 182
"""Of the live record, which the gate reads; as many as the settings of its days may ask for."""


@dataclass(frozen=True)
class Line:
    """Where an update begins. `jobs` made the lineage's versions beside the same networks as trained: experts are learned about
    from what these issued. `recorded` are those of the live record: across trainings that took the lineage over, since the last
    roll-back. `came_back`: whether the champion is one that a roll-back went to. `learned_until` is the head's newest day,
    `fine_tuned_until` that of its networks."""

    champion: Champion
    head: Champion
    jobs: frozenset[UUID]
    recorded: frozenset[UUID]
    came_back: bool
    learned_until: date
    fine_tuned_until: date


@dataclass(frozen=True)
class UpdateReading:
    """`posted` is the newest day with sales, `newest` the newest one to learn from; `came` are days to learn from, `again`
    corrected ones, `to_score` those to score, and `anew` those of `again` that can be scored as they were before.

    `record`: for each scored day of the lineage its sums by (source, segment, stretch). `states` are those of the detectors of
    drift, `drifting` the series that were found to drift lately and not learned from since.
    """

    data: TrainingData
    line: Line
    posted: date
    newest: date
    came: list[date]
    again: list[date]
    to_score: list[date]
    anew: set[date]
    record: dict[date, dict[tuple[str, str, str], list[float]]]
    states: States
    drifting: set[int]


async def read_update(
    database: Database, *, fine_tune: bool | None, until: date | None, kept: Path, without: Sequence[int] = ()
) -> UpdateReading | None:
    """None without a champion, or without sales of a day that may be learned. All history is read where networks learn on, else
    what forecasts need, and of that only what is not `kept` in a file.

    `until`: no later day is read, and the newest one is learned from, complete or not; None: the newest complete one that is
    over. `without`: versions that cannot be loaded, so that the lineage goes on from the newest one before them.
    """
    async with database.snapshot() as connection:
        driver = await begun(connection)
        line = await _line(driver, without)
        if line is None:
            return None
        posted: date | None = await driver.fetchval("SELECT max(last_day) FROM series WHERE rows > 0")
        if posted is None:
            return None
        last = min(posted, until or await last_day_over(connection))
        data = await _panel(connection, line, last=last, fine_tune=fine_tune, kept=kept)
        if data is None:
            return None
        newest = _date(data, last_complete_day(data.panel)) if until is None else data.cutoff
        first = newest - timedelta(days=SCORED_AT_MOST - 1)
        scored = await scored_until(driver)
        to_score = _days(first if scored is None else max(first, scored + timedelta(days=1)), newest)
        came = _days(max(first, line.learned_until + timedelta(days=1)), newest)
        again = await _corrected(driver, line, newest)
        return UpdateReading(
            data,
            line,
            posted,
            newest,
            came,
            again,
            to_score,
            await all_kept(driver, again),
            await _record(driver, line, scored or newest),
            await read_states(driver, data.series_ids),
            await drifting_series(driver, max(newest - timedelta(days=LATELY_DAYS), line.fine_tuned_until)),
        )


async def _line(driver: asyncpg.Connection, without: Sequence[int]) -> Line | None:
    rows = await driver.fetch(
        f"""
        WITH RECURSIVE rollback AS (SELECT max(promoted_at) AS at FROM promotions WHERE kind = 'rollback'),
        promoted AS (
            SELECT a.version, p.promoted_at, p.kind = 'rollback' AS came_back
            FROM aliases a JOIN promotions p USING (version) WHERE a.alias = 'champion' ORDER BY p.id DESC LIMIT 1),
        down AS (
            SELECT v.version FROM versions v JOIN promoted USING (version)
            UNION ALL
            SELECT v.version FROM versions v JOIN down ON v.parent = down.version CROSS JOIN promoted p
            WHERE v.kind = 'update' AND v.created_at > p.promoted_at AND v.artifact_removed_at IS NULL
            AND v.version <> ALL($1::int[])),
        {line_of("(SELECT max(version) FROM down)")}
        SELECT line.version, line.kind, line.job_id, line.artifact_sha256, line.trained_on ->> 'cutoff' AS cutoff,
               line.config #>> '{{lineage,trained_until}}' AS fine_tuned, line.trainings, p.came_back,
               line.created_at > coalesce(rollback.at, '-infinity') AS recorded,
               p.version AS champion, c.artifact_sha256 AS champion_sha256
        FROM line CROSS JOIN promoted p CROSS JOIN rollback JOIN versions c ON c.version = p.version
        ORDER BY line.version DESC""",
        list(without),
    )
    if not rows:
        return None
    head, root = rows[0], next(row for row in rows if row["kind"] == "train")
    learned_until = date.fromisoformat(head["cutoff"])
    fine_tuned = head["fine_tuned"] or root["cutoff"]
    updates = [row for row in rows if row["kind"] == "update"]
    return Line(
        Champion(head["champion"], head["champion_sha256"]),
        Champion(head["version"], head["artifact_sha256"]),
        frozenset(row["job_id"] for row in updates if not row["trainings"]),
        frozenset(row["job_id"] for row in updates if row["recorded"]),
        head["came_back"],
        learned_until,
        date.fromisoformat(fine_tuned),
    )


async def _panel(
    connection: AsyncConnection, line: Line, *, last: date, fine_tune: bool | None, kept: Path
) -> TrainingData | None:
    """Sales up to a day."""
    due = fine_tune or (fine_tune is None and (last - line.fine_tuned_until).days >= FINE_TUNING_DAYS)
    since = None if due else last - timedelta(days=MEMORY + SCORED_AT_MOST)
    return await read_panel(connection, since=since, until=last, kept=kept)


async def _corrected(driver: asyncpg.Connection, line: Line, newest: date) -> list[date]:
    """Days that the head has learned from and of which a quantity differs since it read its sales, by posts or by decisions about
    the quarantine: the newest of them, oldest first. A day after `newest` was taken back, and is learned again when it comes."""
    first = line.learned_until - timedelta(days=REMEMBERED_DAYS - 1)
    last = min(line.learned_until, newest)
    rows = await driver.fetch(_CORRECTED, first, last, line.head.version, AGAIN_AT_MOST)
    return sorted(row["day"] for row in rows)


# What stood there when the head read is what the first of the later posts replaced, unless another of them had written it: then
# there was nothing. So a post that says the same again, or another price, is no correction, nor is one that was undone.
_CORRECTED = f"""
WITH head AS (  -- its job began before it read, and sales may have come while it worked
    SELECT coalesce(j.started_at, v.created_at) AS read_at
    FROM versions v LEFT JOIN jobs j ON j.id = v.job_id WHERE v.version = $3),
later AS (
    SELECT p.id, series.id AS series_id, greatest(p.first_day, $1::date) AS first, least(p.last_day, $2::date) AS last
    FROM head JOIN posts p ON p.created_at > head.read_at AND p.first_day <= $2 AND p.last_day >= $1
    CROSS JOIN LATERAL unnest(p.series_ids) AS series (id)),
replaced AS (
    SELECT DISTINCT ON (r.series_id, r.day) r.series_id, r.day, r.quantity, r.in_stock,
        r.replaced_post_id NOT IN (SELECT p.id FROM posts p, head WHERE p.created_at > head.read_at) AS stood
    FROM later JOIN replaced_sales r ON r.series_id = later.series_id AND r.day BETWEEN first AND last AND r.post_id = later.id
    ORDER BY r.series_id, r.day, r.post_id),
added AS (
    SELECT s.series_id, s.day
    FROM later JOIN sales s ON s.series_id = later.series_id AND s.day BETWEEN first AND last AND s.post_id = later.id
    UNION  -- what the undo of a delete brought back is again the post's that had written it
    SELECT r.series_id, r.day FROM later JOIN posts p ON p.undone_by = later.id AND p.kind = 'delete'
    JOIN replaced_sales r ON r.series_id = later.series_id AND r.day BETWEEN first AND last AND r.post_id = p.id
    EXCEPT SELECT series_id, day FROM replaced),
before AS (
    SELECT series_id, day, CASE WHEN stood THEN quantity END AS quantity, CASE WHEN stood THEN in_stock END AS in_stock
    FROM replaced
    UNION ALL SELECT series_id, day, NULL, NULL FROM added)
SELECT day FROM (
    SELECT b.day, false AS dismissed FROM before b LEFT JOIN sales s USING (series_id, day)
    WHERE CASE WHEN {not_held("b")} THEN s.quantity END IS DISTINCT FROM b.quantity OR s.in_stock IS DISTINCT FROM b.in_stock
    UNION ALL  -- confirmed, or given free by a post; a dismissed day was perhaps confirmed when it was learned
    SELECT q.day, q.status = 'dismissed' FROM quarantine q, head
    WHERE (q.status IN ('confirmed', 'dismissed') OR {FREED}) AND q.decided_at > head.read_at AND q.day BETWEEN $1 AND $2
) AS differing
GROUP BY day ORDER BY bool_and(dismissed), day DESC LIMIT $4"""


async def _record(
    driver: asyncpg.Connection, line: Line, last: date
) -> dict[date, dict[tuple[str, str, str], list[float]]]:
    """The lineage's live record up to a day: sums of the days that its own jobs scored."""
    rows = await driver.fetch(
        """
        SELECT s.day, s.source, s.segment, s.stretch, s.sums FROM scores s JOIN scored_days d USING (day)
        WHERE d.job_id = ANY($1) AND s.source LIKE 'lineage%'
        AND s.day BETWEEN $2 AND $3""",
        list(line.recorded),
        last - timedelta(days=RECORD_DAYS - 1),
        last,
    )
    found: dict[date, dict[tuple[str, str, str], list[float]]] = {}
    for row in rows:
        found.setdefault(row["day"], {})[row["source"], row["segment"], row["stretch"]] = row["sums"]
    return found


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _date(data: TrainingData, index: int) -> date:
    day: Any = (data.panel.start + np.timedelta64(index, "D")).item()
    assert isinstance(day, date)
    return day


def row_index(data: TrainingData, day: date) -> int:
    """The day's index in the panel."""
    return data.panel.day_index(np.datetime64(day))
