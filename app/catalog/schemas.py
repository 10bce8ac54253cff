"""The catalog's rows as the OpenAPI document shows them, and what its routes answer.

What a body may hold is checked on columns (fields.py); a test holds these models to those columns.
"""

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.names import Location, Sku
from app.tabular.formats import Format


class Item(BaseModel):
    """What is known of a SKU. A PUT replaces the whole row; an absent field becomes null."""

    model_config = ConfigDict(extra="forbid")
    sku: Sku
    name: str | None = Field(None, max_length=200)
    description: str | None = Field(None, max_length=10_000)
    category: str | None = Field(None, max_length=200)
    brand: str | None = Field(None, max_length=200)
    launched_on: date | None = None
    discontinued_on: date | None = Field(None, description="From this day on it is not sold any more.")
    replaces: Sku | None = Field(None, description="The SKU whose place it takes.")
    attributes: dict[str, Any] | None = Field(default_factory=dict, description="Anything else, up to 64 KiB of JSON.")


class LocationRow(BaseModel):
    """What is known of a location."""

    model_config = ConfigDict(extra="forbid")
    location: Location | None = Field("", description='null or absent: "".')
    name: str | None = Field(None, max_length=200)
    country: str | None = Field(None, description="ISO 3166-1, two letters.", examples=["DE"])
    subdivision: str | None = Field(None, max_length=200, description="State or province, as in ISO 3166-2.")
    timezone: str | None = Field(None, description="IANA name.", examples=["Europe/Berlin"])


class CalendarRow(BaseModel):
    """What is known of a day, past or to come, for one SKU or all, at one location or all; the more specific row wins."""

    model_config = ConfigDict(extra="forbid")
    sku: Sku | None = Field(None, description="null: every SKU.")
    location: Location | None = Field(None, description="null: every location.")
    date: date
    price: float | None = Field(None, ge=0)
    promo: float | bool | None = Field(None, description="Flag or depth, 0 to 1; read back as a number.")
    event: str | None = Field(None, max_length=200)
    open: bool | None = None
    covariates: dict[str, float | None] | None = Field(
        default_factory=dict, description="Numbers by name, such as weather; past values too. null: not known."
    )


class ItemsPage(BaseModel):
    items: list[Item]
    next_page_token: str | None


class LocationsPage(BaseModel):
    locations: list[LocationRow]
    next_page_token: str | None


class CalendarPage(BaseModel):
    calendar: list[CalendarRow]
    next_page_token: str | None


class Written(BaseModel):
    """What a PUT did, or would have done."""

    received: int
    inserted: int
    updated: int
    unchanged: int


class Series(BaseModel):
    """One SKU at one location."""

    sku: str
    location: str
    first_day: date | None = Field(description="Its first posted day; null once all its sales were deleted.")
    last_day: date | None
    rows: int
    last_forecast: datetime | None = Field(description="When its newest stored forecast was made.")


class SeriesPage(BaseModel):
    series: list[Series]
    next_page_token: str | None


def request_body(name: str, model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI description of a body of rows, in every format; `name` is the list's name in JSON."""
    rows = {"type": "array", "minItems": 1, "items": {"$ref": f"#/components/schemas/{model.__name__}"}}
    schema = {"type": "object", "properties": {name: rows}, "required": [name], "additionalProperties": False}
    files: dict[str, Any] = {str(format_): {"schema": {"type": "string", "format": "binary"}} for format_ in Format}
    files[str(Format.JSON)] = {"schema": schema, "example": {name: [example]}}
    return {"requestBody": {"required": True, "content": files}}
