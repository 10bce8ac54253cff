"""When schedules run, by instants worked out by hand: time zones, days on which clocks change, missed runs, clocks gone wrong."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from itertools import pairwise
from typing import Any

import pytest

from app.jobs.schedules import due
from app.jobs.schedules.due import Schedule


def plan(zone: str = "UTC", at: str = "03:00", **fields: Any) -> Schedule:
    known: dict[str, Any] = {"every": 1, "since": moment("2020-01-01T00:00"), "enabled": True, "closed_share": None}
    return Schedule(
        name="housekeeping", kind="housekeeping", at=time.fromisoformat(at), timezone=zone, **known | fields
    )


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def day(text: str) -> date:
    return date.fromisoformat(text)


@pytest.mark.parametrize(
    ("zone", "at", "on", "expected"),
    [
        ("UTC", "03:00", "2026-11-24", "2026-11-24T03:00"),
        ("Europe/Berlin", "03:00", "2026-01-15", "2026-01-15T02:00"),  # UTC+1
        ("Europe/Berlin", "03:00", "2026-07-15", "2026-07-15T01:00"),  # UTC+2
        ("Europe/Berlin", "00:30", "2026-07-15", "2026-07-14T22:30"),
        ("Europe/Berlin", "02:30", "2026-03-29", "2026-03-29T01:30"),  # clocks go from 02:00 to 03:00: 03:30, UTC+2
        ("Europe/Berlin", "02:30", "2026-10-25", "2026-10-25T00:30"),  # 02:30 comes twice: the first, UTC+2
        ("Europe/Berlin", "03:00", "2026-10-25", "2026-10-25T02:00"),
        ("America/New_York", "02:30", "2026-03-08", "2026-03-08T07:30"),  # skipped: 03:30, UTC-4
        ("America/New_York", "01:30", "2026-11-01", "2026-11-01T05:30"),  # twice: the first, UTC-4
        ("America/New_York", "23:00", "2026-12-31", "2027-01-01T04:00"),
        ("Asia/Kathmandu", "03:00", "2026-11-24", "2026-11-23T21:15"),  # UTC+5:45
        ("Pacific/Apia", "03:00", "2011-12-30", "2011-12-30T13:00"),  # a day that Samoa skipped
    ],
)
def test_the_instant_of_a_slot(zone: str, at: str, on: str, expected: str) -> None:
    assert due.instant(plan(zone, at), day(on)) == moment(expected)


@pytest.mark.parametrize(
    ("zone", "at", "now", "newest"),
    [
        ("UTC", "03:00", "2026-11-24T02:59", "2026-11-23"),
        ("UTC", "03:00", "2026-11-24T03:00", "2026-11-24"),
        ("UTC", "03:00", "2027-01-01T00:00", "2026-12-31"),
        ("Europe/Berlin", "03:00", "2026-11-24T01:59", "2026-11-23"),
        ("Europe/Berlin", "03:00", "2026-11-24T02:00", "2026-11-24"),
        ("Europe/Berlin", "02:30", "2026-03-29T01:29", "2026-03-28"),
        ("Europe/Berlin", "02:30", "2026-03-29T01:30", "2026-03-29"),
        ("Europe/Berlin", "02:30", "2026-10-25T00:30", "2026-10-25"),
        ("Europe/Berlin", "02:30", "2026-10-25T01:30", "2026-10-25"),  # the second 02:30 is the same slot
        ("America/New_York", "23:00", "2026-11-25T03:59", "2026-11-23"),
        ("America/New_York", "23:00", "2026-11-25T04:00", "2026-11-24"),
        ("Asia/Kathmandu", "03:00", "2026-11-23T21:14", "2026-11-23"),
        ("Asia/Kathmandu", "03:00", "2026-11-23T21:15", "2026-11-24"),
        ("Pacific/Apia", "03:00", "2011-12-30T12:00", "2011-12-29"),
    ],
)
def test_the_newest_slot_that_has_come(zone: str, at: str, now: str, newest: str) -> None:
    assert due.newest_slot(plan(zone, at), moment(now)) == day(newest)


@pytest.mark.parametrize(("zone", "skipped"), [("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25")])
def test_a_slot_on_a_day_on_which_clocks_change_runs_once(zone: str, skipped: str) -> None:
    """Looked at every ten minutes of sixty hours, as a worker would: one run a day."""
    schedule, runs = plan(zone, "02:30", last_day=day(skipped) - 2 * due.DAY), []
    now = due.instant(schedule, day(skipped) - due.DAY)
    for _ in range(6 * 60):
        slot = due.due_slot(schedule, now)
        if slot is not None:
            runs.append((slot, now))
            schedule = replace(schedule, last_day=slot)
        now += due.DAY / 144
    days = [day(skipped) + number * due.DAY for number in (-1, 0, 1)]
    assert [slot for slot, _ in runs] == days
    assert all(at - due.instant(schedule, slot) < due.DAY / 144 for slot, at in runs)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Europe/Berlin", "America/New_York"),  # the local day begins anew
        ("America/New_York", "Europe/Berlin"),
        ("Pacific/Pago_Pago", "Pacific/Kiritimati"),  # 25 hours further: a day is gone
        ("Pacific/Kiritimati", "Pacific/Pago_Pago"),  # and comes twice
    ],
)
def test_a_schedule_that_moves_to_another_time_zone_runs_no_day_twice_and_goes_on(before: str, after: str) -> None:
    """Looked at every ten minutes of four days, and moved at every hour of the second one."""
    for hour in range(24):
        schedule, now = plan(before, last_day=day("2026-11-20")), moment("2026-11-21T00:00")
        moved, runs = moment("2026-11-22T00:00") + hour * due.DAY / 24, []
        while now < moment("2026-11-25T00:00"):
            if now == moved:
                schedule = replace(schedule, timezone=after, since=now)  # as a change over the API does
            slot = due.due_slot(schedule, now)
            if slot is not None:
                runs.append((slot, now))
                schedule = replace(schedule, last_day=slot)
            now += due.DAY / 144
        slots, times = zip(*runs, strict=True)
        assert list(slots) == sorted(set(slots)), hour
        assert all(later - earlier <= 49 / 24 * due.DAY for earlier, later in pairwise(times)), hour
        assert now - times[-1] <= due.DAY, hour


def test_missed_slots_are_made_up_for_by_one_and_the_weekday_stays() -> None:
    weekly = plan(every=7, last_day=day("2026-11-01"))  # a Sunday
    assert due.due_slot(weekly, moment("2026-11-08T02:59")) is None
    assert due.due_slot(weekly, moment("2026-11-08T03:00")) == day("2026-11-08")
    # Down for three weeks and two days: one run, for the newest Sunday; the next one is a Sunday again.
    assert due.due_slot(weekly, moment("2026-12-01T12:00")) == day("2026-11-29")
    caught_up = replace(weekly, last_day=day("2026-11-29"))
    assert due.due_slot(caught_up, moment("2026-12-01T12:00")) is None
    assert due.next_slot(caught_up, moment("2026-12-01T12:00")) == moment("2026-12-06T03:00")
    assert due.next_slot(weekly, moment("2026-12-01T12:00")) == moment("2026-11-08T03:00"), "past: it is due"


def test_slots_before_a_schedule_began_were_not_missed() -> None:
    begun = plan(every=7, last_day=day("2026-11-01"), since=moment("2026-11-10T12:00"))
    for now in ("2026-11-10T12:00", "2026-11-15T02:59"):
        assert due.due_slot(begun, moment(now)) is None
        assert due.next_slot(begun, moment(now)) == moment("2026-11-15T03:00")
    assert due.due_slot(begun, moment("2026-11-15T03:00")) == day("2026-11-15")
    never = plan(since=moment("2026-11-10T12:00"))
    assert due.next_slot(never, moment("2026-11-10T12:00")) == moment("2026-11-11T03:00")
    assert due.due_slot(never, moment("2026-11-11T03:00")) == day("2026-11-11")


def test_a_training_that_somebody_asked_for_counts_as_a_run() -> None:
    monthly = plan(every=28, last_day=day("2026-10-01"))
    learned = day("2026-10-20")
    assert due.due_slot(monthly, moment("2026-11-10T12:00"), learned) is None
    assert due.next_slot(monthly, moment("2026-11-10T12:00"), learned) == moment("2026-11-17T03:00")
    assert due.due_slot(monthly, moment("2026-11-10T12:00")) == day("2026-10-29")


def test_a_clock_set_back_runs_nothing_twice_and_one_gone_wrong_holds_nothing_up() -> None:
    schedule = plan(last_day=day("2026-11-24"))
    for now in ("2026-11-24T04:00", "2026-11-23T12:00", "2026-11-25T02:59"):
        assert due.due_slot(schedule, moment(now)) is None
    ahead = plan(last_day=day("2031-01-01"), since=moment("2026-11-01T00:00"))  # a run by a clock five years ahead
    assert due.due_slot(ahead, moment("2026-11-24T04:00")) == day("2026-11-24")


def closing(**fields: Any) -> Schedule:
    return replace(plan("Europe/Berlin", **fields), name="daily-update", kind="update", closed_share=0.95)


@pytest.mark.parametrize(
    ("now", "known", "newest", "by_hour", "still_open"),
    [
        # The 24th closes by the clock at 03:00 of the 25th in Berlin, 02:00 UTC.
        ("2026-11-25T01:59", "2026-11-22", "2026-11-24", "2026-11-23", ["2026-11-24"]),
        ("2026-11-25T02:00", "2026-11-22", "2026-11-24", "2026-11-24", []),
        ("2026-11-25T01:59", "2026-11-23", "2026-11-24", None, ["2026-11-24"]),
        ("2026-11-25T02:00", "2026-11-24", "2026-11-24", None, []),
        # A week without sales: the newest posted day counts, not the clock.
        ("2026-12-01T12:00", "2026-11-24", "2026-11-24", None, []),
        ("2026-12-01T12:00", "2026-11-22", "2026-11-24", "2026-11-24", []),
        # Years of history at once: its newest day.
        ("2026-11-25T12:00", "2020-01-01", "2026-11-24", "2026-11-24", []),
        ("2026-11-25T12:00", None, "2026-11-24", "2026-11-24", []),
        # Today's and tomorrow's sales are there already.
        ("2026-11-25T12:00", "2026-11-24", "2026-11-26", None, ["2026-11-26", "2026-11-25"]),
        ("2026-11-25T12:00", "2026-11-23", "2026-11-26", "2026-11-24", ["2026-11-26", "2026-11-25"]),
        # Posted days far beyond the clock: only so many are looked at.
        (
            "2026-01-01T12:00",
            None,
            "2026-11-24",
            "2025-12-31",
            [f"2026-11-{number}" for number in range(24, 17, -1)],
        ),
    ],
)
def test_days_of_sales_that_are_closed_or_may_be(
    now: str, known: str | None, newest: str, by_hour: str | None, still_open: list[str]
) -> None:
    learned = None if known is None else day(known)
    closed = due.closed_by_hour(closing(), moment(now), learned, day(newest))
    assert closed == (None if by_hour is None else day(by_hour))
    assert due.open_days(closing(), moment(now), learned, day(newest)) == [day(text) for text in still_open]


def test_an_update_every_third_day_waits_for_three_days_of_sales() -> None:
    schedule, now = closing(every=3), moment("2026-11-25T12:00")
    assert due.closed_by_hour(schedule, now, day("2026-11-22"), day("2026-11-24")) is None
    assert due.closed_by_hour(schedule, now, day("2026-11-21"), day("2026-11-24")) == day("2026-11-24")
    assert due.open_days(schedule, now, day("2026-11-23"), day("2026-11-25")) == []
    assert due.open_days(schedule, now, day("2026-11-22"), day("2026-11-25")) == [day("2026-11-25")]
    assert due.next_update(schedule, day("2026-11-22")) == moment("2026-11-26T02:00")


def test_what_an_update_knows_is_the_newer_of_the_champion_and_the_last_update() -> None:
    schedule = replace(closing(), last_day=day("2026-11-20"))
    newest = day("2026-11-22")
    assert due.known_day(schedule, day("2026-11-22"), newest) == day("2026-11-22")
    assert due.known_day(schedule, day("2026-11-18"), newest) == day("2026-11-20"), "a roll-back is not learned anew"
    assert due.known_day(schedule, day("2026-11-18"), day("2026-11-19")) == day("2026-11-18"), "sales were deleted"
    assert due.known_day(closing(), None, newest) is None
