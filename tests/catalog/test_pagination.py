"""Tokens and pages: what was encoded comes back, and nothing else is taken for a token."""

import base64
import uuid
from datetime import UTC, date, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.database.pages import Page, decode_token, encode_token
from app.errors import Problem

NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=200)
KEYS = st.tuples(
    NAMES,
    st.integers(-(2**63), 2**63 - 1),
    st.dates(),
    st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),
    st.uuids(),
)
TYPES = (str, int, date, datetime, uuid.UUID)


@given(KEYS)
def test_a_token_gives_its_key_back(key: tuple[str, int, date, datetime, uuid.UUID]) -> None:
    token = encode_token("list", key)
    assert token.replace("-", "").replace("_", "").isalnum()
    assert decode_token(token, "list", TYPES) == key


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_a_garbled_token_is_a_422(token: str) -> None:
    with pytest.raises(Problem) as caught:
        decode_token(token, "list", TYPES)
    assert caught.value.status == 422
    assert caught.value.errors[0]["field"] == "page_token"


@pytest.mark.parametrize(
    ("content", "types"),
    [
        (["other", "a"], (str,)),
        (["list"], (str,)),
        (["list", "a", "b"], (str,)),
        (["list", 1], (str,)),
        (["list", "a\0"], (str,)),
        (["list", "1"], (int,)),
        (["list", True], (int,)),
        (["list", 1.0], (int,)),
        (["list", 2**63], (int,)),
        (["list", "2026-02-30"], (date,)),
        (["list", "20260201"], (date,)),
        (["list", "2026-02-01T00:00:00"], (datetime,)),
        (["list", "x"], (uuid.UUID,)),
        ({"list": 1}, ()),
    ],
)
def test_a_token_made_by_hand_is_a_422(content: object, types: tuple[type, ...]) -> None:
    token = base64.urlsafe_b64encode(orjson.dumps(content)).rstrip(b"=").decode()
    with pytest.raises(Problem):
        decode_token(token, "list", types)


@given(st.integers(0, 40), st.integers(1, 12))
def test_pages_put_together_are_the_list(rows: int, size: int) -> None:
    everything = list(range(rows))
    seen: list[int] = []
    token: str | None = None
    while True:
        page = Page(size, token)
        after = page.after("numbers", int)
        read = [n for n in everything if after is None or n > after[0]][: page.limit]
        part, token = page.cut("numbers", read, lambda n: (n,))
        assert len(part) <= size
        seen += part
        if token is None:
            break
        assert len(part) == size
    assert seen == everything
