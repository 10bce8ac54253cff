"""When a schedule runs: pure functions of its plan, an instant and what is known. No SQL and no clock of their own.

A **slot** is a local day's planned time, told by that day. Fine-tuning, retraining and housekeeping have a slot every so many
days; the daily update is for a day of sales, once that is closed: at the latest by the slot of the day after.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Kind = Literal["update", "fine_tune", "train", "housekeeping"]

DAY = timedelta(days=1)
QUIET = timedelta(minutes=5)
"""So long without a row of it, and a day that the clock has closed is not waited for any more."""
LONGEST_WAIT = timedelta(minutes=30)
"""It is waited for so long at most, since its hour or since its first row, whichever came later."""
MOST_OPEN_DAYS = 7
"""So many of the newest days are looked at for whether their sales have come in: a day is older only where clocks are wrong."""


@dataclass(frozen=True)
class Schedule:
    """A plan and how far it has come.

    `since`: slots before it are not missed but were never planned. `last_day`: what the last run was for, a slot or (daily
    update) a day of sales. `newest_day`: the newest day of sales at that run. `looked_at`: the state of all sales in which no
    further day was found closed.
    """

    name: str
    kind: Kind
    every: int
    at: time
    timezone: str
    enabled: bool
    closed_share: float | None
    since: datetime
    last_day: date | None = None
    last_run: datetime | None = None
    newest_day: date | None = None
    looked_at: int | None = None

    def local_day(self, moment: datetime) -> date:
        return moment.astimezone(ZoneInfo(self.timezone)).date()


def instant(schedule: Schedule, day: date) -> datetime:
    """When a day's slot is. A time that the clocks skip is as much later as they skip; of one that comes twice, the first."""
    return datetime.combine(day, schedule.at, ZoneInfo(schedule.timezone)).astimezone(UTC)


def newest_slot(schedule: Schedule, now: datetime) -> date:
    """The newest day whose slot has come."""
    day = schedule.local_day(now)
    while instant(schedule, day) > now:
        day -= DAY
    return day


def counted_from(schedule: Schedule, now: datetime, learned: date | None) -> date:
    """The day that `every` counts from: the last run, or a training that somebody else asked for, or else its beginning.

    A day that is still to come was written by a clock that went wrong, and would hold the schedule up until then.
    """
    latest = newest_slot(schedule, now) + DAY
    days = [day for day in (schedule.last_day, learned) if day is not None and day <= latest]
    return max(days, default=schedule.local_day(schedule.since))


def due_slot(schedule: Schedule, now: datetime, learned: date | None = None) -> date | None:
    """The slot that is due: of those that have come since the last run the newest, so that one run makes up for all."""
    begin = counted_from(schedule, now, learned)
    rounds = (newest_slot(schedule, now) - begin).days // schedule.every
    slot = begin + rounds * schedule.every * DAY
    return slot if rounds > 0 and instant(schedule, slot) >= schedule.since else None


def next_slot(schedule: Schedule, now: datetime, learned: date | None = None) -> datetime:
    """When the first slot after the last run is; in the past where it is due."""
    day = counted_from(schedule, now, learned) + schedule.every * DAY
    while instant(schedule, day) < schedule.since:
        day += schedule.every * DAY
    return instant(schedule, day)


def known_day(schedule: Schedule, cutoff: date | None, newest: date | None) -> date | None:
    """The newest day of sales that a daily update need not learn again: the last one's, or the champion's own. A last one after
    the `newest` day that is posted was for sales that were deleted since."""
    ran = None if schedule.last_day is None or newest is None or schedule.last_day > newest else schedule.last_day
    return max((day for day in (ran, cutoff) if day is not None), default=None)


def closed_by_hour(schedule: Schedule, now: datetime, known: date | None, newest: date) -> date | None:
    """The newest day of sales that is closed by the clock and worth an update; `newest` is the newest that was posted."""
    day = min(newest, newest_slot(schedule, now) - DAY)
    return day if known is None or day >= known + schedule.every * DAY else None


def still_comes_in(schedule: Schedule, day: date, now: datetime, *, first: datetime, last: datetime) -> bool:
    """Whether a day that the clock has closed waits for more rows; `first` and `last` are when rows of it were posted."""
    return now < min(last + QUIET, max(instant(schedule, day + DAY), first) + LONGEST_WAIT)


def open_days(schedule: Schedule, now: datetime, known: date | None, newest: date) -> list[date]:
    """Posted days worth an update that the clock has not closed: their sales may all have come in. Newest first."""
    oldest = newest_slot(schedule, now)
    if known is not None:
        oldest = max(oldest, known + schedule.every * DAY)
    return [newest - number * DAY for number in range(min((newest - oldest).days + 1, MOST_OPEN_DAYS))]


def next_update(schedule: Schedule, known: date) -> datetime:
    """When the next day of sales is closed at the latest; in the past where it waits for sales."""
    return instant(schedule, known + (schedule.every + 1) * DAY)
