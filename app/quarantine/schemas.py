"""What this room takes and answers, as the OpenAPI document shows it. Lists are written by orjson from the rows as they come."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.quarantine.checks import Reason
from app.quarantine.store import Status

MOST_IDS = 10_000
LARGEST_ID = 2**63 - 1

EntryId = Annotated[int, Field(ge=1, le=LARGEST_ID)]

EXAMPLE: dict[str, Any] = {
    "id": 17,
    "sku": "A-1",
    "location": "S1",
    "date": "2026-11-23",
    "quantity": 600.0,
    "expected": 12.5,
    "reason": "factor",
    "detail": "600 is 48 times the mean of days with sales, 12.5; the most of a day in the year before is 31.",
    "status": "held",
    "post_id": 204,
    "key": None,
    "created_at": "2026-11-24T05:10:31.402113Z",
    "decided_at": None,
}


class QuarantineEntry(BaseModel):
    """A posted day that cannot be true, held from learning and forecasts until somebody decides."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: int
    sku: str
    location: str
    date: date
    quantity: float = Field(description="As posted; `GET /v1/sales` reads it too.")
    expected: float | None = Field(description="What such a day usually sells; null: not known.")
    reason: Reason = Field(
        description="`factor`: many times as much as the series ever sold; `units`: the place's whole day is a factor off, as in "
        "another unit; `repeated`: the place's whole day is that of another date; `zeros`: nothing sold at the whole place."
    )
    detail: str = Field(description="The reason in a sentence.")
    status: Status = Field(
        description="`held`: nobody has decided; `confirmed`: the day is true and takes part; `dismissed`: it is false and stays "
        "out; `replaced`: another quantity was posted for it, it was deleted, or its place's day was posted again and is true."
    )
    post_id: int = Field(description="The post that wrote this quantity.")
    key: str | None = Field(description="Name of the key that decided last.")
    created_at: datetime
    decided_at: datetime | None = Field(
        description="When it was decided last; of a day that a later post gave free: when."
    )


class QuarantinePage(BaseModel):
    entries: list[QuarantineEntry]
    next_page_token: str | None


class WhichEntries(BaseModel):
    """Entries to decide at once: by their numbers, or all that are still held of one post."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"ids": [17, 18]}, {"post_id": 204}]}
    )

    ids: Annotated[list[EntryId], Field(min_length=1, max_length=MOST_IDS)] | None = None
    post_id: EntryId | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> "WhichEntries":
        if (self.ids is None) == (self.post_id is None):
            raise ValueError('give either "ids" or "post_id"')
        return self


class Decided(BaseModel):
    """What a decision about many entries did."""

    decided: int = Field(description="Entries that were held before; those decided so already are not counted.")
