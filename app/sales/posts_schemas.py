"""What this room answers when sales are read back, deleted or undone. Answers are written by orjson from the rows as they
come; these models describe them in the OpenAPI document, and the tests hold both to each other."""

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PostKind = Literal["sales", "delete", "undo"]


class SalesRow(BaseModel):
    """One day of one series, as it was posted; flags are numbers."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sku": "A-1",
                    "location": "S1",
                    "date": "2026-11-23",
                    "quantity": 12.0,
                    "returned": 1.0,
                    "price": 3.5,
                    "promo": 1.0,
                    "in_stock": 1.0,
                }
            ]
        }
    )
    sku: str
    location: str
    date: date
    quantity: float | None = Field(description="Units sold; null: known not to be recorded.")
    returned: float | None = Field(description="Units that came back.")
    price: float | None
    promo: float | None = Field(description="Flag or depth of the promotion, 0 to 1.")
    in_stock: float | None = Field(description="Flag or fraction of the day that it could be bought, 0 to 1.")


class SalesPage(BaseModel):
    sales: list[SalesRow]
    next_page_token: str | None


class Deleted(BaseModel):
    deleted: int = Field(description="Rows that were deleted.")
    post_id: int | None = Field(description="The post that keeps them and can be undone; null when there were none.")


class Post(BaseModel):
    """One accepted write of sales."""

    post_id: int
    kind: PostKind
    key: str | None = Field(description="Name of the key that sent it.")
    content_type: str | None
    complete: bool = Field(description="Whether absent days were filled with zeros.")
    received: int = Field(description="Rows in the body.")
    inserted: int = Field(description="Rows that were new; of an undo: rows that came back.")
    updated: int = Field(description="Rows whose values changed; of an undo: rows that got their old values back.")
    unchanged: int
    completed: int = Field(description="Zeros that `complete=true` added.")
    deleted: int = Field(description="Rows taken away by a delete or an undo.")
    series: int = Field(description="Series with a changed row.")
    first_day: date | None = Field(description="No changed row is before this day.")
    last_day: date | None = Field(description="No changed row is after this day.")
    undone_by: int | None = Field(description="The post that undid this one.")
    undoes: int | None = Field(description="The post that this one undid.")
    created_at: datetime


class PostsPage(BaseModel):
    posts: list[Post]
    next_page_token: str | None


class Undone(Post):
    """The post that undid another."""

    series_gone: int = Field(description="Series of the undone post that were deleted since; nothing came back there.")
