"""The shapes of schedules: as they are shown, and what may be changed of them."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from app.catalog.fields import wrong_with_timezone
from app.jobs.schedules.due import Kind
from app.jobs.schemas import Strict

Name = Literal["daily-update", "fine-tuning", "retraining", "housekeeping"]

_TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_EXAMPLE: dict[str, Any] = {
    "name": "daily-update",
    "kind": "update",
    "every": 1,
    "at": "03:00",
    "timezone": "Europe/Berlin",
    "enabled": True,
    "closed_share": 0.95,
    "last_run": "2026-11-24T19:40:12Z",
    "next_run": "2026-11-26T02:00:00Z",
}


class ShownSchedule(BaseModel):
    """What runs by itself, and when."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Name
    kind: Kind = Field(description="What it does: an update, one whose networks learn on, a training, or housekeeping.")
    every: int = Field(description="Days from one run to the next.")
    at: str = Field(description="Time of day in `timezone`, HH:MM.")
    timezone: str = Field(description="Of the IANA database.")
    enabled: bool
    closed_share: float | None = Field(
        description="Only of the daily update: a day is closed as soon as this share of its usual series has come in; null: at "
        "the hour only."
    )
    last_run: datetime | None
    next_run: datetime | None = Field(
        description="When it runs next, at the latest; in the past: it is due and waits for sales or its last job; null: it is "
        "off, or there is no champion."
    )


class ShownSchedules(BaseModel):
    schedules: list[ShownSchedule]


def _time_of_day(given: str) -> str:
    if not re.fullmatch(_TIME_OF_DAY, given):
        raise ValueError(f"must be a time of day from 00:00 to 23:59, such as '03:30', not {given[:40]!r}")
    return given


def _zone(given: str) -> str:
    wrong = wrong_with_timezone(given)
    if wrong is not None:
        raise ValueError(wrong)
    return given


def _as_it_is() -> Any:
    """A field that may be absent and must not be null: what is not set is never read."""
    return None


class ScheduleChange(Strict):
    """What is to be changed of one schedule; an absent field stays as it is. What GET answers may be sent back: fields
    that cannot be changed are ignored."""

    name: Name
    kind: Any = Field(default_factory=_as_it_is, exclude=True, description="Ignored.")
    last_run: Any = Field(default_factory=_as_it_is, exclude=True, description="Ignored.")
    next_run: Any = Field(default_factory=_as_it_is, exclude=True, description="Ignored.")
    every: int = Field(default_factory=_as_it_is, ge=1, le=365, description="Days from one run to the next.")
    at: Annotated[str, AfterValidator(_time_of_day)] = Field(
        default_factory=_as_it_is, json_schema_extra={"pattern": _TIME_OF_DAY}, description="Time of day in `timezone`."
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default_factory=_as_it_is, examples=["Europe/Berlin"], description="Of the IANA database."
    )
    enabled: bool = Field(default_factory=_as_it_is)
    closed_share: float | None = Field(
        default_factory=_as_it_is,
        ge=0,
        le=1,
        description="Only of the daily update; null: days are closed by the hour only. Of others it is null.",
    )

    @field_validator("closed_share")
    @classmethod
    def _is_for_days(cls, given: float | None, others: ValidationInfo) -> float | None:
        name = others.data.get("name", "daily-update")
        if name != "daily-update" and given is not None:
            raise ValueError(f"is only of daily-update: {name} runs by the clock alone")
        return given


class ScheduleChanges(Strict):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"schedules": [{"name": "daily-update", "timezone": "Europe/Berlin"}]}]}
    )

    schedules: list[ScheduleChange] = Field(max_length=100)

    @model_validator(mode="after")
    def _each_once(self) -> "ScheduleChanges":
        names = [change.name for change in self.schedules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Each schedule is named once; {', '.join(twice)} came again.")
        return self
