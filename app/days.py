"""Dates and times as requests write them: `YYYY-MM-DD` by the letter, and RFC 3339 with its zone. Nothing is guessed."""

import re
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.errors import Problem

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def parse_day(value: object) -> date:
    """The date in a text; an error that says what a date looks like."""
    if type(value) is date:
        return value
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise PydanticCustomError("day_not_valid", "there is no day {value}", {"value": value}) from None
    raise PydanticCustomError("day_not_valid", "must be a date written YYYY-MM-DD")


def parse_moment(value: object) -> datetime:
    """The UTC time in an RFC 3339 text with a zone."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        hint = "; in a URL write + as %2B" if isinstance(value, str) and " " in value else ""
        raise PydanticCustomError(
            "time_not_valid", "must be a time with its zone, such as 2026-11-24T08:00:00Z{hint}", {"hint": hint}
        )
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("time_not_valid", "there is no time {value}", {"value": value}) from None


def check_ordered(first: date | None, last: date | None) -> None:
    """A 422 when the query's `from` is after its `to`."""
    if first is not None and last is not None and first > last:
        detail = f"from ({first}) is after to ({last})."
        error = {"row": None, "field": "from", "code": "days_reversed", "detail": detail}
        raise Problem("invalid_request", detail, errors=[error])


Day = Annotated[date, BeforeValidator(parse_day), WithJsonSchema({"type": "string", "format": "date"})]
Moment = Annotated[datetime, BeforeValidator(parse_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
