"""What `POST /v1/sales` takes and answers, as the OpenAPI document shows it. Bodies are checked by columns, in validate.py."""

from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from app.names import Location, Sku
from app.tabular.formats import Format


class SalesPosted(BaseModel):
    """What a post did: received = inserted + updated + unchanged."""

    post_id: int | None = Field(description="Names the post, for undo; null after a dry run.")
    received: int = Field(description="Rows in the body.")
    inserted: int = Field(description="Days that had no row before.")
    updated: int = Field(description="Days whose values changed; what they replaced is kept.")
    unchanged: int = Field(description="Days that were stored just so; nothing was written for them.")
    completed: int = Field(description="Zeros that `complete=true` added.")
    held: int = Field(
        description="Rows that this post put into quarantine, added zeros included: see `GET /v1/quarantine?post_id=`."
    )


_OPTIONAL_AMOUNT = {"type": ["number", "null"], "minimum": 0}
_FLAG = {
    "anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}],
}
_ROW: dict[str, Any] = {
    "type": "object",
    "required": ["sku", "date", "quantity"],
    "additionalProperties": False,
    "properties": {
        "sku": TypeAdapter(Sku).json_schema(),
        "location": TypeAdapter(Location).json_schema()
        | {"type": ["string", "null"], "description": 'Absent or null: "".'},
        "date": {"type": "string", "format": "date", "description": "From 1900-01-01 to the UTC day after today."},
        "quantity": {
            **_OPTIONAL_AMOUNT,
            "description": "Units sold that day; null: a day known not to be recorded.",
        },
        "returned": {**_OPTIONAL_AMOUNT, "description": "Units that came back that day."},
        "price": _OPTIONAL_AMOUNT,
        "promo": {**_FLAG, "description": "Flag or depth of the promotion."},
        "in_stock": {**_FLAG, "description": "Flag or fraction of the day that it could be bought."},
    },
}
_EXAMPLE = [
    {
        "sku": "A-1",
        "location": "S1",
        "date": "2026-11-23",
        "quantity": 12,
        "returned": 1,
        "price": 3.5,
        "promo": True,
        "in_stock": True,
    }
]
_CSV_EXAMPLE = "sku,location,date,quantity,price,promo\nA-1,S1,2026-11-23,12,3.5,true\n"
_FILE = {"schema": {"type": "string", "format": "binary"}}

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "Rows as JSON (up to 50,000) or as a file of any length, plain or with `Content-Encoding` gzip or zstd.",
    "content": {
        Format.JSON: {
            "schema": {
                "type": "object",
                "required": ["sales"],
                "additionalProperties": False,
                "properties": {"sales": {"type": "array", "minItems": 1, "maxItems": 50_000, "items": _ROW}},
            },
            "examples": {"one day": {"value": {"sales": _EXAMPLE}}},
        },
        Format.NDJSON: {
            "schema": {"type": "string", "description": "One JSON object a line, with the fields of a JSON row."},
            "examples": {"one day": {"value": '{"sku": "A-1", "date": "2026-11-23", "quantity": 12}\n'}},
        },
        Format.CSV: {
            "schema": {"type": "string", "description": "UTF-8, a header line, commas; an empty cell is null."},
            "examples": {"one day": {"value": _CSV_EXAMPLE}},
        },
        Format.PARQUET: _FILE,
        Format.ARROW: _FILE,
    },
}
