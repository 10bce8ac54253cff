"""Dates and times as requests write them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.days import Day, Moment

DAYS: TypeAdapter[date] = TypeAdapter(Day)
MOMENTS: TypeAdapter[datetime] = TypeAdapter(Moment)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.dates())
def test_a_day_is_read_as_it_is_written(day: date) -> None:
    assert DAYS.validate_python(day.isoformat()) == day


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=ZONES))
def test_a_time_is_read_in_utc(moment: datetime) -> None:
    found = MOMENTS.validate_python(moment.isoformat())
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize("text", ["2026-11-24T08:00:00Z", "2026-11-24t09:00:00+01:00", "2026-11-24 08:00:00.000z"])
def test_spellings_of_one_time(text: str) -> None:
    assert MOMENTS.validate_python(text) == datetime(2026, 11, 24, 8, tzinfo=UTC)


@given(st.text(max_size=30) | st.integers() | st.floats() | st.booleans() | st.none())
def test_nothing_else_is_a_day_or_a_time(value: object) -> None:
    for adapter in (DAYS, MOMENTS):
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


@pytest.mark.parametrize(
    "value",
    ["2026-02-30", "2026-13-01", "20260101", "2026-1-1", " 2026-01-01", "2026-01-01\n", "2026-W01-1", "٢٠٢٦-٠١-٠١"],
)
def test_what_is_no_day(value: str) -> None:
    with pytest.raises(ValidationError):
        DAYS.validate_python(value)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-24",
        "2026-11-24T08:00:00",
        "2026-11-24T25:00:00Z",
        "2026-11-24T08:00:00+0100",
        "2026-11-24T08:00:00 01:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        1764000000,
    ],
)
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValidationError):
        MOMENTS.validate_python(value)
