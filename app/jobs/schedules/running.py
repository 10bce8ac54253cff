"""What is due now becomes a job, once: the schedule's row is locked while this is decided, and its job is unique by day.

Every worker calls `run_due` once a minute. Whoever comes first makes the job; who comes meanwhile passes by, and who comes after
finds the run noted. Housekeeping makes no job: the worker that does it (upkeep.py) notes its run at the end.
"""

from dataclasses import dataclass
from datetime import date, datetime

import structlog
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import is_gone
from app.jobs.schedules import due, store
from app.jobs.schedules.due import Kind, Schedule
from app.jobs.schedules.requests import Retraining, fine_tuning_request, retraining, update_request
from app.jobs.schedules.store import Champion, Learned, Sales

log = structlog.get_logger()


@dataclass(frozen=True)
class Housekeeping:
    """A round of housekeeping: what it is due for, and when it began."""

    schedule: Schedule
    slot: date
    begun: datetime


async def run_due(connection: AsyncConnection, *, now: datetime | None = None) -> list[Kind]:
    """Make the jobs that are due and note the runs; the kinds of the schedules that ran. The caller commits.

    A schedule that fails is told and stops no other. `now` is the database's clock unless a test gives it.
    """
    schedules = await store.due_to_look_at(connection)
    if not schedules:
        return []
    now = now or await store.database_now(connection)
    champion, sales = await store.read_champion(connection), await store.read_sales(connection)
    ran: list[Kind] = []
    for schedule in schedules:
        try:
            async with connection.begin_nested():
                if await _ran(connection, schedule, now, champion, sales):
                    ran.append(schedule.kind)
        except Exception as error:
            if is_gone(error):
                raise
            log.exception("schedule_failed", schedule=schedule.name)
    return ran


async def _ran(
    connection: AsyncConnection, schedule: Schedule, now: datetime, champion: Champion | None, sales: Sales | None
) -> bool:
    """Whether a schedule was due; then its job is made and the run noted."""
    if champion is None or sales is None:
        return False
    day = await _due_day(connection, schedule, now, champion, sales)
    if day is None:
        return False
    await _run(connection, schedule, day, champion)
    await store.note_run(connection, schedule, day, now=now, newest=sales.newest)
    return True


async def housekeeping_due(connection: AsyncConnection, *, now: datetime | None = None) -> Housekeeping | None:
    """The housekeeping that is due; None: nothing is, or it is off."""
    schedule = next(one for one in await store.read_schedules(connection) if one.kind == "housekeeping")
    now = now or await store.database_now(connection)
    slot = due.due_slot(schedule, now) if schedule.enabled else None
    return None if slot is None else Housekeeping(schedule, slot, now)


async def note_housekeeping(connection: AsyncConnection, done: Housekeeping) -> None:
    await store.note_run(connection, done.schedule, done.slot, now=done.begun, newest=None)


async def bring_forward(connection: AsyncConnection, name: str) -> bool:
    """Let a schedule run now instead of when it would be due; the next run counts from this one. False where it is off, its job
    has not ended, it ran today already, or there is nothing to go on from. The caller commits."""
    schedule = await store.locked(connection, name)
    champion, sales = await store.read_champion(connection), await store.read_sales(connection)
    if schedule is None or not schedule.enabled or champion is None or sales is None:
        return False
    now = await store.database_now(connection)
    day = due.newest_slot(schedule, now)
    if await store.has_unfinished_job(connection, schedule) or not await _run(connection, schedule, day, champion):
        return False
    await store.note_run(connection, schedule, day, now=now, newest=sales.newest)
    return True


def next_run(schedule: Schedule, champion: Champion | None, sales: Sales | None, now: datetime) -> datetime | None:
    """When a schedule runs next, at the latest; in the past where it waits; None where it is off or has nothing to go on from."""
    if not schedule.enabled or (champion is None and schedule.kind != "housekeeping"):
        return None
    if schedule.kind == "update":
        known = _known_day(schedule, champion, sales)
        return None if known is None else due.next_update(schedule, known)
    return due.next_slot(schedule, now, _learned_on(schedule, champion))


async def _due_day(
    connection: AsyncConnection, schedule: Schedule, now: datetime, champion: Champion, sales: Sales
) -> date | None:
    """The day that a run is due for; None: nothing is due, or there is nothing to learn, or the last job has not ended."""
    if await store.has_unfinished_job(connection, schedule):
        return None
    if schedule.kind == "update":
        return await _day_to_learn(connection, schedule, now, champion, sales)
    # A later day than the newest is of sales that were deleted since.
    if sales.newest in (schedule.newest_day, _seen(schedule, champion)):
        return None
    return due.due_slot(schedule, now, _learned_on(schedule, champion))


async def _day_to_learn(
    connection: AsyncConnection, schedule: Schedule, now: datetime, champion: Champion, sales: Sales
) -> date | None:
    """The newest closed day of sales that is to be learned: by what has come in where that says more than the clock. A day that
    the clock has closed waits a while for rows that still come in: it has one update."""
    known = _known_day(schedule, champion, sales)
    by_hour = due.closed_by_hour(schedule, now, known, sales.newest)
    days = due.open_days(schedule, now, known, sales.newest)
    if by_hour is not None and await _still_comes_in(connection, schedule, by_hour, now):
        days.append(by_hour)
        by_hour = None
    if days and schedule.closed_share is not None and schedule.looked_at != sales.state:
        complete = await store.newest_complete_day(connection, days, schedule.closed_share)
        if complete is not None:
            return complete
        await store.note_look(connection, schedule, sales.state)
    return by_hour


async def _still_comes_in(connection: AsyncConnection, schedule: Schedule, day: date, now: datetime) -> bool:
    """Whether rows of a day that the clock has closed came a moment ago, and it has not been waited for them for long."""
    came = await store.posts_of_day(connection, day, now=now)
    return came is not None and due.still_comes_in(schedule, day, now, first=came.first, last=came.last)


async def _run(connection: AsyncConnection, schedule: Schedule, day: date, champion: Champion) -> bool:
    """Put the job of a schedule on the queue; whether one was put there."""
    if schedule.kind == "train":
        asked = await _retraining(connection, champion)
        if asked is None:
            return False
        request = asked.request
    else:
        request = update_request(day) if schedule.kind == "update" else fine_tuning_request()
    job = await store.add_scheduled_job(connection, schedule, day, request)
    if job is not None:
        log.info("job_scheduled", job=str(job), schedule=schedule.name, day=str(day))
    return job is not None


async def _retraining(connection: AsyncConnection, champion: Champion) -> Retraining | None:
    """A training as the champion's own; what could not be taken over is told. None where it cannot be asked for at all."""
    try:
        asked = retraining(*await store.read_configuration(connection, champion.version))
    except (ValidationError, KeyError) as error:
        log.error("retraining_impossible", version=champion.version, reason=str(error))
        return None
    if asked.left_out:
        log.warning("retraining_differs", version=champion.version, left_to_defaults=asked.left_out)
    return asked


def _known_day(schedule: Schedule, champion: Champion | None, sales: Sales | None) -> date | None:
    """The newest day of sales that need not be learned again.

    Where sales come in around the clock, a nightly job has seen the first hours of the day that has just begun: that day is not
    known by it. A training that somebody asked for has learned what he wanted it to.
    """
    cutoff = None if champion is None else champion.cutoff
    if champion is not None and champion.by_schedule and cutoff is not None:
        cutoff = min(cutoff, due.newest_slot(schedule, champion.created) - due.DAY)
    return due.known_day(schedule, cutoff, None if sales is None else sales.newest)


def _training(schedule: Schedule, champion: Champion | None) -> Learned | None:
    """The training that a schedule counts from: retraining from any, fine-tuning from one that became champion."""
    if champion is None or schedule.kind == "housekeeping":
        return None
    return champion.trained if schedule.kind == "train" else champion.promoted


def _learned_on(schedule: Schedule, champion: Champion | None) -> date | None:
    training = _training(schedule, champion)
    return None if training is None else schedule.local_day(training.at)


def _seen(schedule: Schedule, champion: Champion) -> date | None:
    training = _training(schedule, champion)
    return None if training is None else training.cutoff
