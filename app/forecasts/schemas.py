"""What callers ask of forecasts and what they are told.

Answers are written by answers.py from arrays, not through these models; they say in OpenAPI what is written.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.days import Moment
from app.forecasts.levels import DEFAULT_LEVELS, LevelsInBody, LevelsInQuery
from app.forecasts.periods import Period
from app.names import Location, Sku
from app.quarantine.checks import Reason as HeldReason

LONGEST_HORIZON = 365
MOST_SERIES = 50_000
LARGEST_VERSION = 2**31 - 1

Method = Literal["climatology", "few_days", "no_history", "former_champion", "new_item:replaces", "new_item:siblings"]
Reason = Literal["no_champion", "champion_unavailable", "too_little_history", "not_finite", "no_sales"]
Horizon = Annotated[int, Field(ge=1, le=LONGEST_HORIZON)]
LeadDays = Annotated[
    int,
    Field(
        ge=0,
        lt=LONGEST_HORIZON,
        description="Days ahead that are left out: with 5, `horizon=12` and `period=total`, the days 6 to 12 as one.",
    ),
]
AskedPeriod = Annotated[
    Period, Field(description="`total`: all days as one, from the first after `lead_days` to the horizon.")
]
Version = Annotated[int, Field(ge=1, le=LARGEST_VERSION)]


@dataclass(frozen=True)
class Wanted:
    """What is asked of every series; `horizon` and `version` None: the champion's. `lead_days`: days ahead that are left out."""

    horizon: int | None
    levels: tuple[float, ...]
    period: Period
    version: int | None
    lead_days: int


class ForecastQuestion(BaseModel):
    """What is asked of one series, in the query of a GET."""

    model_config = ConfigDict(extra="forbid")

    sku: Sku
    location: Location = ""
    horizon: Horizon | None = Field(None, description="Days ahead; the version's own when absent (28 without one).")
    quantiles: LevelsInQuery = Field(
        DEFAULT_LEVELS, validate_default=True, description="Levels from 0.01 to 0.99.", examples=[DEFAULT_LEVELS]
    )
    period: AskedPeriod = "day"
    lead_days: LeadDays = 0
    model_version: Version | None = Field(None, description="Another version than the champion.")

    def wanted(self) -> Wanted:
        return Wanted(self.horizon, self.quantiles, self.period, self.model_version, self.lead_days)


class Fallback(BaseModel):
    """Why another than the champion answered."""

    method: Method = Field(
        description="`climatology`: the series' own quantiles of the last year by weekday; `few_days`: those of the few "
        "days there are, widened; `no_history`: zeros; `former_champion`: the version that was champion before; "
        "`new_item:replaces`: the champion, on the past of the item it replaces, mixed by how far its "
        "own days agree; `new_item:siblings`: the mixture of the "
        "champion's forecasts of items that share attributes."
    )
    reason: Reason = Field(
        description="`no_champion`: no version was promoted yet; `champion_unavailable`: its weights are damaged or "
        "gone; `too_little_history`: too few days with a known quantity (or, "
        "for what replaces another, fewer than 56); `not_finite`: the network failed on this series; "
        "`no_sales`: the item has none yet."
    )
    detail: str = Field(description="The same in a sentence.")


class PeriodForecast(BaseModel):
    """One day, week or month ahead, or all days asked for."""

    start: date
    end: date = Field(description="Inclusive.")
    complete: bool = Field(description="False when the horizon, the cutoff or `lead_days` cuts the week or month.")
    mean: float = Field(ge=0, description="Expected units; for more than a day the sum of its days' means.")
    quantiles: dict[str, float] = Field(
        description="Units by level; for more than a day the quantiles of the sum. They never cross nor go below zero."
    )


class HeldDay(BaseModel):
    """A day that the forecast was made without."""

    date: date
    quantity: float = Field(description="As posted.")
    reason: HeldReason = Field(description="Why it is in quarantine.")


class SeriesForecast(BaseModel):
    """The forecast of one series."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "sku": "A-1",
                "location": "S1",
                "cutoff": "2026-11-23",
                "model_version": 7,
                "generated_at": "2026-11-24T02:10:31.402113Z",
                "period": "day",
                "held_out": [],
                "forecast": [
                    {
                        "start": "2026-11-24",
                        "end": "2026-11-24",
                        "complete": True,
                        "mean": 11.2,
                        "quantiles": {"0.1": 6.0, "0.5": 11.0, "0.9": 17.0},
                    }
                ],
                "fallback": None,
                "missing_covariates": [],
            }
        }
    )

    sku: str
    location: str
    cutoff: date = Field(
        description="Last day of sales the forecast has seen, inclusive; days without a quantity count."
    )
    model_version: int | None = Field(description="The version that answered; null when a simple method did.")
    generated_at: datetime
    period: Period
    held_out: list[HeldDay] = Field(
        description="Days in quarantine among the last 392, which the forecast was made without; files of rows have their dates."
    )
    forecast: list[PeriodForecast]
    fallback: Fallback | None
    missing_covariates: list[str] = Field(
        description="Covariates that the version knows ahead and of which a value is missing on one of these days (`holiday`: "
        "the location has no country); their usual value was taken."
    )


class SeriesForecasts(BaseModel):
    """The forecasts of many series, in the order asked for."""

    forecasts: list[SeriesForecast]


class SeriesName(BaseModel):
    """One series; `location` absent or null means `""`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sku: Sku
    location: Location = ""

    @field_validator("location", mode="before")
    @classmethod
    def _null_is_empty(cls, value: Any) -> Any:
        return "" if value is None else value


class ForecastQuery(BaseModel):
    """Which series, and what of each: either `series` or `"all": true`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"series": [{"sku": "A-1", "location": "S1"}, {"sku": "A-2"}], "horizon": 14, "quantiles": [0.1, 0.9]},
                {"all": True, "period": "week"},
            ]
        },
    )

    series: Annotated[list[SeriesName], Field(min_length=1, max_length=MOST_SERIES)] | None = None
    all: bool = Field(
        False, description="Every active series: neither ended more than 56 days before the newest, nor discontinued."
    )
    changed_since: Moment | None = Field(
        None, description="With `all`: only series whose forecast was made after this time."
    )
    horizon: Horizon | None = Field(None, description="Days ahead; the version's own when absent (28 without one).")
    quantiles: LevelsInBody = Field(
        DEFAULT_LEVELS,
        validate_default=True,
        description='Levels from 0.01 to 0.99, as a list or as text like "0.1,0.5,0.9".',
    )
    period: AskedPeriod = "day"
    lead_days: LeadDays = 0
    model_version: Version | None = Field(None, description="Another version than the champion.")

    @model_validator(mode="after")
    def _one_choice(self) -> "ForecastQuery":
        if (self.series is not None) == self.all:
            raise ValueError('give either "series" or "all": true')
        if self.changed_since is not None and not self.all:
            raise ValueError('"changed_since" goes with "all": true')
        return self

    def wanted(self) -> Wanted:
        return Wanted(self.horizon, self.quantiles, self.period, self.model_version, self.lead_days)
