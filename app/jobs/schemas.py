"""What a caller may ask of training, and what a job looks like. Ranges and defaults are the engine's own table."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal, NoReturn
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from app.errors import Problem
from app.http.openapi import ProblemBody
from app.registry.schemas import MAX_VERSION
from models.training_config import RANGES, Cleaning, ConfigError, Model, TrainingConfig

Kind = Literal["train", "update", "backtest"]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Promote = Literal["auto", "never", "always"]
ENDED: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


def _number(name: str) -> Any:
    """A numeric field as the engine's table has it; None stands for a default that depends on the network."""
    bounds = RANGES[name]
    if isinstance(bounds.default, dict):
        told = ", ".join(f"{default:g} for {model}" for model, default in bounds.default.items())
        return Field(None, ge=bounds.low, le=bounds.high, description=f"{bounds.meaning}; by default {told}")
    default = int(bounds.default) if bounds.whole else bounds.default
    return Field(default, ge=bounds.low, le=bounds.high, description=bounds.meaning)


_PROMOTE: Any = Field(
    "auto",
    description="auto: by merit, when its WQL is lower than the champion's (or the best baseline's); never; always",
)


class Strict(BaseModel):
    """What is asked for word by word: no field too many, no text for a number, no infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class NetworkRequest(Strict):
    """Which network to train, and how: what a training and a backtest of a fresh network share."""

    model: Model = Field(description="which network; ensemble: several of them, answering together")
    loss: Literal["pinball", "mse", "mae"] = Field(
        "pinball", description="what training minimises; mse and mae: a point head"
    )
    cleaning: Cleaning = Field(
        "mask",
        description="what becomes of missing, impossible and out-of-stock days in what the network reads: they stay missing "
        "(mask) or are filled; the loss never looks at them. none: sales are learned as they were posted",
    )
    horizon: int = _number("horizon")
    context_length: int | None = _number("context_length")
    layers: int | None = _number("layers")
    width: int = _number("width")
    heads: int = _number("heads")
    dropout: float = _number("dropout")
    learning_rate: float = _number("learning_rate")
    batch_size: int = _number("batch_size")
    epochs: int = _number("epochs")
    weight_decay: float = _number("weight_decay")
    noise: float = _number("noise")
    patience: int = _number("patience")
    seed: int = _number("seed")
    max_seconds: float = _number("max_seconds")

    @model_validator(mode="after")
    def _agrees(self) -> "NetworkRequest":
        try:
            self.config().members()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def filled_in(self) -> dict[str, Any]:
        """The request with its defaults, as the job keeps it. What an ensemble's members differ in stays open."""
        members = [member.as_dict() for member in self.config().members()]
        same = {name: members[0][name] for name in RANGES if all(m[name] == members[0][name] for m in members)}
        return self.model_dump() | same | {"seed": self.seed}

    def config(self) -> TrainingConfig:
        how = self.model_dump(include={*NetworkRequest.model_fields} - {"model"}, exclude_none=True)
        return TrainingConfig(model=self.model, **how)


class Tune(Strict):
    """Look for better settings around those of the request before the training; see docs/models.md#tuning."""

    trials: int = Field(ge=1, le=1000, description="settings to try, those of the request included")
    timeout_s: float | None = Field(
        None, gt=0, le=RANGES["max_seconds"].high, description="seconds for all trials; by default half of max_seconds"
    )


class TrainRequest(NetworkRequest):
    """Train a new network on all sales."""

    model_config = ConfigDict(
        title="Train", json_schema_extra={"examples": [{"model": "lstm", "horizon": 28, "max_seconds": 600}]}
    )

    kind: Literal["train"] = "train"
    promote: Promote = _PROMOTE
    tune: Tune | None = Field(
        None, description="try other settings first, and train with the best; absent or null: do not"
    )
    compress: bool = Field(
        False,
        description="only of an ensemble: distil it into one small network, which becomes the version where it is as good and "
        "much faster; max_seconds holds for both",
    )

    @model_validator(mode="after")
    def _compresses(self) -> "TrainRequest":
        if self.compress:
            try:
                self.config().student()
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _leaves_time(self) -> "TrainRequest":
        if self.tune is not None and self.tune.timeout_s is not None and self.tune.timeout_s >= self.max_seconds:
            raise ValueError(
                f"tune.timeout_s ({self.tune.timeout_s:g}) must be below max_seconds ({self.max_seconds:g}), which holds for "
                "the trials and the training together."
            )
        return self

    def filled_in(self) -> dict[str, Any]:
        """The request with its defaults, as the job keeps it; without `tune` and `compress` where neither is done."""
        request = super().filled_in()
        if not self.compress:
            del request["compress"]
        if self.tune is None:
            del request["tune"]
        elif self.tune.timeout_s is None:
            request["tune"] = self.tune.model_dump() | {"timeout_s": self.max_seconds / 2}
        return request


def _day(given: object) -> object:
    """A date is written as text; what is none is left to be refused."""
    written = isinstance(given, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given)
    return date.fromisoformat(given) if isinstance(given, str) and written else given


class UpdateRequest(Strict):
    """Train the champion on from where it stands, on the newest sales and a replay of older ones."""

    model_config = ConfigDict(
        title="Update",
        json_schema_extra={"examples": [{"kind": "update"}]},
    )

    kind: Literal["update"]
    promote: Promote = Field(
        "auto",
        description="auto: when the gate lets it in; never; always, unless its forecasts are no numbers or the champion that it "
        "comes of has left",
    )
    fine_tune: bool | Literal["drift"] | None = Field(
        None,
        description="whether the networks learn on too, or only what is kept per series; drift: when drift is found that has to "
        "be learned from at once; by default then, and when a week of days has come in since they last did",
    )
    until: Annotated[date | None, BeforeValidator(_day)] = Field(
        None,
        description="the newest day of sales to learn from, taken as complete; rows of later days do not count. By default the "
        "newest day that is over, in the time zone of the daily update, and on which half of the usual series have come in",
    )
    seed: int = _number("seed")
    max_seconds: float = _number("max_seconds")

    def filled_in(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


_WINDOWS: Any = Field(5, ge=1, le=52, description="cutoffs to forecast from, counted back from the newest day of sales")
_STEP: Any = Field(28, ge=1, le=365, description="days between two cutoffs")


class BacktestRequest(NetworkRequest):
    """Train a fresh network on what precedes the first window, and score its forecasts from every cutoff."""

    model_config = ConfigDict(
        title="Backtest of a fresh network",
        json_schema_extra={
            "examples": [{"kind": "backtest", "model": "lstm", "horizon": 28, "windows": 5, "step": 28}]
        },
    )

    kind: Literal["backtest"]
    windows: int = _WINDOWS
    step: int = _STEP


def _not_both(_value: object) -> NoReturn:
    raise PydanticCustomError("model_and_version", "give either model or model_version, not both")


class VersionBacktestRequest(Strict):
    """Score a version's forecasts on the windows that it, or its twin before the refit, has not learned from."""

    model_config = ConfigDict(
        title="Backtest of a version",
        json_schema_extra={"examples": [{"kind": "backtest", "model_version": 7, "windows": 5, "step": 28}]},
    )

    kind: Literal["backtest"]
    model_version: int = Field(ge=1, le=MAX_VERSION, description="the version to judge, as it is")
    model: SkipJsonSchema[Annotated[None, BeforeValidator(_not_both)]] = Field(None, exclude=True)
    horizon: int | None = Field(
        None,
        ge=RANGES["horizon"].low,
        le=RANGES["horizon"].high,
        description="days ahead that are forecast, at most the version's; by default the version's",
    )
    windows: int = _WINDOWS
    step: int = _STEP
    max_seconds: float = _number("max_seconds")

    def filled_in(self, version_horizon: int) -> dict[str, Any]:
        """The request with the version's horizon where none was asked for. Raises Problem 422 for one past it."""
        horizon = version_horizon if self.horizon is None else self.horizon
        if horizon > version_horizon:
            detail = f"Version {self.model_version} goes {version_horizon} days ahead, not {horizon}."
            entry = {"row": None, "field": "horizon", "code": "horizon_too_long", "detail": detail}
            raise Problem("invalid_request", detail, errors=[entry])
        return self.model_dump() | {"horizon": horizon}


def _kind_of(body: object) -> str:
    def given(name: str, default: object = None) -> object:
        return body.get(name, default) if isinstance(body, dict) else getattr(body, name, default)

    kind = given("kind", "train")
    return "<backtest of a version>" if kind == "backtest" and given("model_version") is not None else f"<{kind}>"


JobRequest = Annotated[
    Annotated[TrainRequest, Tag("<train>")]
    | Annotated[UpdateRequest, Tag("<update>")]
    | Annotated[BacktestRequest, Tag("<backtest>")]
    | Annotated[VersionBacktestRequest, Tag("<backtest of a version>")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_kind",
        custom_error_message="kind must be train (the default), update or backtest",
    ),
]


class Epoch(BaseModel):
    epoch: int
    loss: float | None
    validation: float | None


class Tuning(BaseModel):
    """What the trials of a training found."""

    trials: int = Field(description="Trials that were asked for.")
    complete: int = Field(description="Trials that ran to their end.")
    pruned: int = Field(description="Trials that were ended early, because others were better or the time was over.")
    failed: int = Field(description="Trials whose loss was not a finite number.")
    resumed: int = Field(description="Trials that an earlier attempt at the job had already ended.")
    seconds: float = Field(description="Seconds that all trials took.")
    best: dict[str, float] = Field(description="The values that the version was trained with.")
    best_trial: int | None = Field(description="Which trial they come from, counted from 1; null: none ran to its end.")
    validation: float | None = Field(description="Validation loss of the best trial.")
    validation_as_asked: float | None = Field(description="Validation loss of the request's own settings.")
    importance: dict[str, float] | None = Field(
        description="How much each field set the best trials apart, shares of 1; null: too few trials to tell, see notes."
    )
    notes: list[str]


class Scored(BaseModel):
    """A score of each of the two on the held-out windows; null: not measured."""

    ensemble: float | None
    student: float | None


class Compressed(BaseModel):
    """What came of distilling an ensemble into one small student."""

    kept: Literal["ensemble", "student"] = Field(description="Which of the two the version is.")
    wql: Scored
    sql: Scored
    speed_ratio: float | None = Field(
        description="How many times as fast as the ensemble the student predicts; null: not measured."
    )
    sentence: str = Field(description="Why it was kept.")


class Job(BaseModel):
    """A training job."""

    id: UUID = Field(description="Opaque text.")
    kind: Kind
    status: Status
    progress: float = Field(ge=0, le=1)
    stage: str | None = Field(description="What is being done: reading, training, judging, refitting, distilling, …")
    epoch: int | None
    loss: float | None = Field(description="Training loss of the last epoch.")
    validation: float | None = Field(description="Validation loss of the last epoch.")
    eta_seconds: float | None = Field(description="Seconds that are probably left.")
    attempt: int = Field(description="Times the job was begun; one that a worker gave back at shutdown does not count.")
    cancel_requested: bool
    model_version: int | None = Field(description="The version that came of it.")
    outcome: str | None = Field(description="What came of a job that succeeded, in a sentence.")
    tuning: Tuning | None = Field(description="What the trials found, of a training with `tune` that succeeded.")
    compressed: Compressed | None = Field(
        description="Whether the student or the ensemble was kept, of a training with `compress` that succeeded."
    )
    error: ProblemBody | None = Field(description="Why the job failed.")
    request: dict[str, Any] = Field(description="What was asked for, defaults filled in.")
    schedule: str | None = Field(description="The schedule that made it; null where a caller did.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobWithHistory(Job):
    """A training job with the losses of its epochs."""

    history: list[Epoch]


class Jobs(BaseModel):
    jobs: list[Job]
    next_page_token: str | None
