"""Answers as the bytes they were sent in, kept in memory under the identity of the forecast they were written from."""

import hashlib
from collections import OrderedDict
from typing import NamedTuple


class Rendered(NamedTuple):
    body: bytes
    etag: str


class RenderedAnswers:
    """Answers in the bytes they were sent as, the least recently read ones dropped when there are too many bytes."""

    def __init__(self, max_bytes: int = 128 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[object, ...], Rendered] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> Rendered | None:
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def put(self, key: tuple[object, ...], body: bytes) -> Rendered:
        rendered = Rendered(body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"')
        if key not in self._kept:
            self._bytes += len(body)
        self._kept[key] = rendered
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.body)
        return rendered


def names_etag(if_none_match: str, etag: str) -> bool:
    """Whether an `If-None-Match` header names this answer: `*`, or a list of tags compared weakly (RFC 9110, 13.1.2)."""
    if if_none_match.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in if_none_match.split(","))
