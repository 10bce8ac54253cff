"""What a caller may ask of training, and what a job looks like. Ranges and defaults are the engine's own table."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from app.http.openapi import ProblemBody
from models.training_config import RANGES, Cleaning, ConfigError, TrainingConfig

Kind = Literal["train", "update"]
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


class TrainRequest(BaseModel):
    """Train a new network on all sales."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        title="Train",
        json_schema_extra={"examples": [{"model": "lstm", "horizon": 28, "max_seconds": 600}]},
    )

    kind: Literal["train"] = "train"
    model: Literal["lstm", "transformer", "cnn"] = Field(description="which network")
    promote: Promote = _PROMOTE
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
    patience: int = _number("patience")
    seed: int = _number("seed")
    max_seconds: float = _number("max_seconds")

    @model_validator(mode="after")
    def _agrees(self) -> "TrainRequest":
        try:
            self.config().resolved()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def filled_in(self) -> dict[str, Any]:
        """The request with every default of the chosen network, as the job keeps it."""
        resolved = self.config().resolved().as_dict()
        return self.model_dump() | {name: resolved[name] for name in RANGES}

    def config(self) -> TrainingConfig:
        return TrainingConfig(
            architecture=self.model, **self.model_dump(exclude={"kind", "model", "promote"}, exclude_none=True)
        )


class UpdateRequest(BaseModel):
    """Train the champion on from where it stands, on the newest sales and a replay of older ones."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        title="Update",
        json_schema_extra={"examples": [{"kind": "update"}]},
    )

    kind: Literal["update"]
    promote: Promote = Field(
        "auto", description="auto: when it is not worse than the champion it comes from; never; always"
    )
    seed: int = _number("seed")
    max_seconds: float = _number("max_seconds")

    def filled_in(self) -> dict[str, Any]:
        return self.model_dump()


def _kind_of(body: object) -> str:
    kind = body.get("kind", "train") if isinstance(body, dict) else getattr(body, "kind", "train")
    return f"<{kind}>"


JobRequest = Annotated[
    Annotated[TrainRequest, Tag("<train>")] | Annotated[UpdateRequest, Tag("<update>")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_kind",
        custom_error_message="kind must be train (the default) or update",
    ),
]


class Epoch(BaseModel):
    epoch: int
    loss: float | None
    validation: float | None


class Job(BaseModel):
    """A training job."""

    id: UUID = Field(description="Opaque text.")
    kind: Kind
    status: Status
    progress: float = Field(ge=0, le=1)
    stage: str | None = Field(description="What is being done: reading, training, judging, refitting, …")
    epoch: int | None
    loss: float | None = Field(description="Training loss of the last epoch.")
    validation: float | None = Field(description="Validation loss of the last epoch.")
    eta_seconds: float | None = Field(description="Seconds that are probably left.")
    attempt: int = Field(description="Times the job was begun; one that a worker gave back at shutdown does not count.")
    cancel_requested: bool
    model_version: int | None = Field(description="The version that came of it.")
    outcome: str | None = Field(description="What came of a job that succeeded, in a sentence.")
    error: ProblemBody | None = Field(description="Why the job failed.")
    request: dict[str, Any] = Field(description="What was asked for, defaults filled in.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobWithHistory(Job):
    """A training job with the losses of its epochs."""

    history: list[Epoch]


class Jobs(BaseModel):
    jobs: list[Job]
    next_page_token: str | None
