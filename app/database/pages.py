"""Pages of a list: its rows behind a key, and the opaque token of the next page. What a request says of it is in
app/http/pagination.py.

A token is the key of the last row that was sent (keyset paging), so a page costs the same wherever it stands and rows that
come and go between two pages neither shift nor repeat the others. Each list names itself in its tokens.
"""

import base64
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

import orjson

from app.errors import Problem

DEFAULT_PAGE_SIZE = 1_000
BIGINT = 2**63

Key = str | int | date | datetime | uuid.UUID
Row = TypeVar("Row")


@dataclass(frozen=True)
class Page:
    """The page a caller asked for."""

    size: int = DEFAULT_PAGE_SIZE
    token: str | None = None

    @property
    def limit(self) -> int:
        """Rows to read: one more than is sent tells whether another page follows."""
        return self.size + 1

    def after(self, name: str, *types: type[Key]) -> tuple[Any, ...] | None:
        """The key that this page of the list `name` starts behind, None for the first page; 422 when it is not ours."""
        return None if self.token is None else decode_token(self.token, name, types)

    def cut(
        self, name: str, rows: Sequence[Row], key: Callable[[Row], tuple[Key, ...]]
    ) -> tuple[list[Row], str | None]:
        """The rows of this page out of up to `limit` rows that were read, and the token of the next page."""
        if len(rows) <= self.size:
            return list(rows), None
        return list(rows[: self.size]), encode_token(name, key(rows[self.size - 1]))


def encode_token(name: str, key: Sequence[Key]) -> str:
    # A driver's UUID is a class of its own, which orjson does not know.
    return base64.urlsafe_b64encode(orjson.dumps([name, *key], default=str)).rstrip(b"=").decode()


def decode_token(token: str, name: str, types: Sequence[type[Key]]) -> tuple[Any, ...]:
    """The key in a token of the list `name`; a 422 for whatever `encode_token` would not have written."""
    try:
        content = orjson.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        if not isinstance(content, list) or len(content) != len(types) + 1 or content[0] != name:
            raise ValueError("another list's token")
        key = tuple(_parsed(value, type_) for value, type_ in zip(content[1:], types, strict=True))
        if encode_token(name, key) != token:
            raise ValueError("not as we write it")
    except ValueError as error:
        detail = "send `next_page_token` of the page before, unchanged, to the list it came from"
        named = {"row": None, "field": "page_token", "code": "invalid_page_token", "detail": detail}
        raise Problem("invalid_request", f"page_token: {detail}", errors=[named]) from error
    return key


def _parsed(value: object, type_: type[Key]) -> Key:
    if type_ is int:
        if type(value) is not int or not -BIGINT <= value < BIGINT:
            raise ValueError("not a whole number that the database knows")
        return value
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("not a text that the database knows")
    if type_ is date:
        return date.fromisoformat(value)
    if type_ is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without its zone")
        return moment
    if type_ is uuid.UUID:
        return uuid.UUID(value)
    return value
