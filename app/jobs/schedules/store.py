"""The SQL of schedules: plans read, locked and changed, what there is to learn, and the jobs that come of them."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert as insert_or_leave
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.tables import jobs, schedules
from app.jobs.queue import wake
from app.jobs.schedules.due import Schedule

USUAL_WEEKS, OF_WEEKS = 3, 4
"""A series is usual on a day when it has a row on three of the four days a week, two, three and four weeks before."""


@dataclass(frozen=True)
class Learned:
    """A training that was asked for or promoted: when, and the newest day of sales that it has seen."""

    at: datetime
    cutoff: date | None


@dataclass(frozen=True)
class Champion:
    """The champion: its newest day of sales, when it came to be and whether by a schedule; and two trainings, its own or others'.

    `trained` is the newest training, `promoted` the newest one that became champion.
    """

    version: int
    cutoff: date | None
    created: datetime
    by_schedule: bool
    trained: Learned | None
    promoted: Learned | None


@dataclass(frozen=True)
class Sales:
    """The newest day of sales that was posted, and a number that moves with every change of sales."""

    newest: date
    state: int


@dataclass(frozen=True)
class Posted:
    """When the first and the last of some posts came."""

    first: datetime
    last: datetime


async def database_now(connection: AsyncConnection) -> datetime:
    """The database's clock decides, as it does about leases: machines of workers may disagree."""
    now: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return now


async def read_schedules(connection: AsyncConnection) -> list[Schedule]:
    """All schedules, by name."""
    return await _schedules(connection, select(schedules))


async def due_to_look_at(connection: AsyncConnection) -> list[Schedule]:
    """Lock the enabled schedules of jobs that nobody else is looking at, to the end of the transaction."""
    wanted = select(schedules).where(schedules.c.enabled, schedules.c.kind != "housekeeping")
    return await _schedules(connection, wanted.with_for_update(skip_locked=True))


async def locked(connection: AsyncConnection, name: str) -> Schedule | None:
    """Lock one schedule, waiting for whoever looks at it, to the end of the transaction."""
    return next(
        iter(await _schedules(connection, select(schedules).where(schedules.c.name == name).with_for_update())), None
    )


async def change(connection: AsyncConnection, changes: dict[str, dict[str, Any]]) -> None:
    """Change fields of plans by name. What is changed counts from now: earlier slots of the new plan were not missed."""
    for present in await _schedules(
        connection, select(schedules).where(schedules.c.name.in_(changes)).with_for_update()
    ):
        fields = changes[present.name]
        if any(getattr(present, name) != value for name, value in fields.items()):
            since = text("clock_timestamp()")
            await connection.execute(
                update(schedules).where(schedules.c.name == present.name).values(**fields, since=since, looked_at=None)
            )


async def note_look(connection: AsyncConnection, schedule: Schedule, state: int) -> None:
    """No further day was found closed in this state of all sales: there is no need to look again before it changes."""
    await connection.execute(update(schedules).where(schedules.c.name == schedule.name).values(looked_at=state))


async def note_run(
    connection: AsyncConnection, schedule: Schedule, day: date, *, now: datetime, newest: date | None
) -> None:
    await connection.execute(
        update(schedules)
        .where(schedules.c.name == schedule.name)
        .values(last_day=day, last_run=now, newest_day=newest, looked_at=None)
    )


async def add_scheduled_job(
    connection: AsyncConnection, schedule: Schedule, day: date, request: dict[str, Any]
) -> UUID | None:
    """Put the job of a schedule's day on the queue and wake a worker; None when there was one already."""
    added = (
        insert_or_leave(jobs)
        .values(kind=request["kind"], request=request, schedule=schedule.name, scheduled_for=day)
        .on_conflict_do_nothing()
        .returning(jobs.c.id)
    )
    job: UUID | None = (await connection.execute(added)).scalar_one_or_none()
    if job is not None:
        await wake(connection, job)
    return job


async def has_unfinished_job(connection: AsyncConnection, schedule: Schedule) -> bool:
    found = await connection.execute(
        text("SELECT EXISTS (SELECT FROM jobs WHERE schedule = :name AND status IN ('queued', 'running'))"),
        {"name": schedule.name},
    )
    return bool(found.scalar_one())


async def read_champion(connection: AsyncConnection) -> Champion | None:
    row = (await connection.execute(text(_CHAMPION))).one_or_none()
    if row is None:
        return None
    trained = None if row.trained_at is None else Learned(row.trained_at, row.trained_cutoff)
    promoted = None if row.promoted_at is None else Learned(row.promoted_at, row.promoted_cutoff)
    return Champion(row.version, row.cutoff, row.created_at, row.by_schedule, trained, promoted)


_CHAMPION = """
SELECT v.version, CAST(v.trained_on ->> 'cutoff' AS date) AS cutoff, v.created_at,
       EXISTS (SELECT FROM jobs WHERE id = v.job_id AND schedule IS NOT NULL) AS by_schedule,
       t.created_at AS trained_at, CAST(t.trained_on ->> 'cutoff' AS date) AS trained_cutoff,
       p.promoted_at, CAST(p.trained_on ->> 'cutoff' AS date) AS promoted_cutoff
FROM aliases JOIN versions v USING (version)
LEFT JOIN LATERAL (
    SELECT created_at, trained_on FROM versions WHERE kind = 'train' ORDER BY version DESC LIMIT 1) t ON true
LEFT JOIN LATERAL (
    SELECT promoted_at, w.trained_on FROM promotions JOIN versions w USING (version)
    WHERE w.kind = 'train' ORDER BY promotions.id DESC LIMIT 1) p ON true
WHERE alias = 'champion'"""


async def read_configuration(connection: AsyncConnection, version: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A version's configuration, and what was decided when the training that it descends from was distilled."""
    found = await connection.execute(
        text("""
        WITH RECURSIVE line AS (
            SELECT version, parent, config, metrics FROM versions WHERE version = :version
            UNION ALL SELECT v.version, v.parent, v.config, v.metrics FROM versions v JOIN line ON v.version = line.parent)
        SELECT (SELECT CAST(config AS text) FROM line WHERE version = :version),
               (SELECT CAST(metrics -> 'compressed' AS text) FROM line WHERE parent IS NULL)"""),
        {"version": version},
    )
    config, compressed = found.one()
    return orjson.loads(config), None if compressed is None else orjson.loads(compressed)


async def read_sales(connection: AsyncConnection) -> Sales | None:
    """None: nothing was ever posted."""
    found = await connection.execute(
        text("SELECT max(last_day) AS newest, CAST(sum(revision) AS bigint) AS state FROM series")
    )
    row = found.one()
    return None if row.newest is None else Sales(row.newest, row.state)


async def posts_of_day(connection: AsyncConnection, day: date, *, now: datetime) -> Posted | None:
    """The posts of sales that have come by now and span a day; None: there are none. Looked for from the day before it on, for
    nobody posts a day earlier, whatever his time zone."""
    found = await connection.execute(
        text("""
        SELECT min(created_at) AS first, max(created_at) AS last FROM posts
        WHERE created_at BETWEEN CAST(:day AS date) - 1 AND :now
        AND kind = 'sales' AND first_day <= :day AND last_day >= :day AND series_ids <> '{}'"""),
        {"day": day, "now": now},
    )
    row = found.one()
    return None if row.first is None else Posted(row.first, row.last)


async def newest_complete_day(connection: AsyncConnection, days: list[date], share: float) -> date | None:
    """The newest of these days for which at least this share of its usual series have a row."""
    found = await connection.execute(
        text(_COMPLETE),
        {"days": days, "share": share, "usual": USUAL_WEEKS},
    )
    day: date | None = found.scalar_one()
    return day


# Five look-ups of the primary key for each series and day: no index by day is needed, and nothing else is read. The share is
# multiplied as a decimal number, for 0.07 of 100 series as floats are more than seven.
_COMPLETE = f"""
SELECT max(day) FROM (
    SELECT asked.day, count(*) AS usual, count(*) FILTER (WHERE came) AS came
    FROM unnest(CAST(:days AS date[])) AS asked (day)
    JOIN series ON first_day <= asked.day - 7 AND last_day >= asked.day - {7 * OF_WEEKS}
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE sales.day < asked.day) AS weeks, bool_or(sales.day = asked.day) AS came
        FROM sales WHERE series_id = series.id
        AND sales.day IN (asked.day, {", ".join(f"asked.day - {7 * week}" for week in range(1, OF_WEEKS + 1))})) AS rows
    WHERE weeks >= :usual GROUP BY asked.day) AS counted
WHERE came >= CAST(CAST(:share AS float8) AS numeric) * usual"""


async def _schedules(connection: AsyncConnection, wanted: Any) -> list[Schedule]:
    rows = await connection.execute(wanted.order_by(schedules.c.name))
    return [Schedule(**row._mapping) for row in rows]
