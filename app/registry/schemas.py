"""The shapes of this room's requests and answers."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.registry.promotions import Guard
from models.cleaning.findings import Done, Kind

MAX_VERSION = 2**31 - 1


EXAMPLE: dict[str, Any] = {
    "version": 8,
    "architecture": "lstm",
    "kind": "train",
    "parent": None,
    "aliases": ["champion"],
    "horizon": 28,
    "context_length": 56,
    "trained_on": {"cutoff": "2026-11-23", "rows": 182_500, "series": 500, "fingerprint": "5e1f" * 16},
    "config": {"architecture": "lstm", "horizon": 28, "context_length": 56, "layers": 1, "width": 64, "seed": 0},
    "metrics": {
        "model": {"wql": 0.2315, "mase": 0.812},
        "champion": {"wql": 0.249, "mase": 0.845},
        "seasonal_naive": {"wql": 0.412, "mase": 1.02},
        "windows": ["2026-09-28", "2026-10-26"],
    },
    "decision": "Promoted: its WQL of 0.2315 is lower than the 0.2490 of the champion's, version 7, "
    "on the same held-out windows.",
    "artifact": {"bytes": 482_113, "sha256": "9c0a" * 16},
    "artifact_removed_at": None,
    "last_used_at": "2026-11-24T06:02:11Z",
    "created_at": "2026-11-24T06:02:11Z",
}


class TrainedOn(BaseModel):
    """The data that a version learned from."""

    cutoff: date = Field(description="Newest day of sales that was seen, inclusive.")
    rows: int
    series: int
    fingerprint: str = Field(description="SHA-256 of the panel: its keys, days and values.")


class ModelArtifact(BaseModel):
    """The stored weights of a version."""

    bytes: int
    sha256: str


class Model(BaseModel):
    """A version of a network. It never changes after its publication; its aliases do."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    version: int
    architecture: str = Field(examples=["lstm"])
    kind: Literal["train", "update"]
    parent: int | None = Field(description="The version that an update went on from.")
    aliases: list[Literal["champion", "challenger"]]
    horizon: int = Field(description="Days ahead that it forecasts.")
    context_length: int = Field(description="Past days that it reads day by day.")
    trained_on: TrainedOn
    config: dict[str, Any]
    metrics: dict[str, Any] = Field(
        description="Scores of `model`, of the champion or parent it was judged against, and of each baseline, all on the "
        "same held-out `windows`. Null: could not be measured. Of a training with `compress` also `compressed`, as its job "
        "tells it."
    )
    decision: str = Field(description="Why it was or was not promoted when it was published.")
    artifact: ModelArtifact | None = Field(description="Null once retention has removed it.")
    artifact_removed_at: datetime | None
    last_used_at: datetime = Field(description="When it last answered forecasts, to the hour.")
    created_at: datetime


class Models(BaseModel):
    models: list[Model]
    next_page_token: str | None


class Promotion(BaseModel):
    """An entry of the promotion log: a version that became champion."""

    id: int
    version: int
    previous: int | None = Field(description="The champion before.")
    kind: Literal["merit", "request", "rollback"]
    reason: str
    key: str | None = Field(description="Name of the key that asked for it; null where nobody did.")
    rolled_back: bool = Field(description="Whether a roll-back has left this promotion; further roll-backs skip it.")
    promoted_at: datetime


class Promotions(BaseModel):
    promotions: list[Promotion]
    next_page_token: str | None


class Finding(BaseModel):
    """Days of a series that cleaning found before a version learned from them."""

    sku: str
    location: str
    first_day: date
    last_day: date = Field(description="Inclusive.")
    kind: Kind = Field(
        description="gap: days without a quantity inside the series; closed: nothing sold because nothing could be; outlier: "
        "impossibly much; out_of_stock: in_stock below 1; stray: long before all other sales"
    )
    observed: float | None = Field(description="Mean quantity of these days; null: none was recorded.")
    expected: float | None = Field(description="What the first of them would usually have sold; null: not known.")
    done: Done = Field(
        description="masked: unknown to the network and to its loss; filled: the same, but the network reads a filled-in value; "
        "input_only: the network reads no such value, the loss looks at it (last year knows the like); kept: nothing; "
        "left_out: no part of the training"
    )


class Quality(BaseModel):
    """What was found in the sales that a version learned from, by SKU, location and day."""

    model_version: int
    cleaning: str = Field(description="The cleaning that the version was trained with; none: nothing was looked for.")
    findings: list[Finding]
    next_page_token: str | None


class ChampionGuard(BaseModel):
    """The champion that the caller believes to be there. Where it is another one, the answer is 409 and nothing changes."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"expected_champion": 7}]})

    expected_champion: int | None = Field(
        default=None, ge=1, le=MAX_VERSION, description="A version; null: no champion. Absent: any."
    )

    @property
    def guard(self) -> Guard | None:
        return Guard(self.expected_champion) if "expected_champion" in self.model_fields_set else None


def model_answer(row: Mapping[str, Any]) -> Model:
    """A row of `store.read_model` as it is answered."""
    artifact = ModelArtifact(bytes=row["artifact_bytes"], sha256=row["artifact_sha256"])
    return Model(**row, artifact=None if row["artifact_removed_at"] else artifact)


class Check(BaseModel):
    """One check of the gate."""

    name: str
    value: float | None = Field(description="What was found; null: it could not be measured.")
    limit: float | None = Field(description="What it must keep within.")
    passed: bool | None = Field(description="null: undecided, for lack of days.")
    detail: str = Field(description="The same in a sentence.")


class Verdict(BaseModel):
    """Why an update was or was not let in."""

    version: int
    against: int | None = Field(description="The champion it was judged against.")
    accepted: bool
    sentence: str
    checks: list[Check]
    days: int = Field(description="Target days of live forecasts that it was judged by.")
    decided_at: datetime
