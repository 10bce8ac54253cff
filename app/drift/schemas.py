"""What this room answers, as the OpenAPI document shows it. Lists are written by orjson from the rows as they come."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.drift.store import Action, Scope, SegmentName

EXAMPLE: dict[str, Any] = {
    "id": 4,
    "scope": "segment",
    "sku": None,
    "location": None,
    "segment": "fast",
    "found_on": "2026-11-25",
    "since": "2026-11-14",
    "size": 0.82,
    "percent": 131.0,
    "action": "fine_tuning",
    "job_id": "0b1f6a52-7d1b-4f27-9d3e-5a2f6f1d9c11",
    "created_at": "2026-11-26T03:02:11.402113Z",
}


class ShownDrift(BaseModel):
    """What callers read has become worse than it used to be, beside the seasonal naive."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: int
    scope: Scope
    sku: str | None = Field(description="Of a series; null: of a segment.")
    location: str | None
    segment: SegmentName | None = Field(description="Of a segment; null: of a series.")
    found_on: date = Field(description="Day of sales that brought it to light.")
    since: date = Field(description="Day from which on it was worse, as far as can be told.")
    size: float = Field(
        description="How much larger the loss has been since then, less the seasonal naive's, in seasonal errors."
    )
    percent: float | None = Field(description="The same in percent of the loss before; null: that was next to nothing.")
    action: Action | None = Field(
        description="`fine_tuning`: the update that found it learned on at once; `retraining`: retraining was brought forward "
        "too; null: nothing was done."
    )
    job_id: UUID = Field(description="The update that found it.")
    created_at: datetime


class DriftPage(BaseModel):
    drifts: list[ShownDrift]
    next_page_token: str | None
