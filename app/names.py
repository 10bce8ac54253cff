"""What a SKU and a location may be called: one rule, as plain functions for columns and as pydantic types for requests.

A name is Unicode text of at most 200 characters without control characters; a SKU is not blank. A location may be "".
"""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_NAME_LENGTH = 200


def wrong_with_sku(sku: str) -> str | None:
    """What is wrong with a SKU, as the end of a sentence about it; None when it may stand."""
    if not sku or sku.isspace():
        return "must not be empty or blank"
    return wrong_with_name(sku)


def wrong_with_location(location: str) -> str | None:
    """What is wrong with a location, as the end of a sentence about it; None when it may stand."""
    return wrong_with_name(location)


def wrong_with_name(name: str, *, max_length: int = MAX_NAME_LENGTH) -> str | None:
    """What keeps any short text out of the database or a log line; None when it may stand."""
    if len(name) > max_length:
        return f"must have at most {max_length} characters, not {len(name)}"
    if name.isascii() and name.isprintable():  # the usual case, at a hundredth of the cost
        return None
    for position, character in enumerate(name):
        category = unicodedata.category(character)
        if category == "Cc":
            return f"must not have control characters; character {position} is U+{ord(character):04X}"
        if category == "Cs":
            return f"must be whole Unicode text; character {position} is the lone surrogate U+{ord(character):04X}"
    return None


def _checked_sku(value: str) -> str:
    return _refuse("SKU", value, wrong_with_sku(value))


def _checked_location(value: str) -> str:
    return _refuse("location", value, wrong_with_location(value))


def _refuse(what: str, value: str, wrong: str | None) -> str:
    if wrong is not None:
        raise PydanticCustomError("name_not_valid", "a {what} {wrong}", {"what": what, "wrong": wrong})
    return value


def _described(description: str, pattern: str, **limits: int) -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string", **limits, "pattern": pattern, "description": description}
    return WithJsonSchema(schema)


_NO_CONTROLS = r"[^\u0000-\u001f\u007f-\u009f]*"
_NO_BLANK = r"[^\s\u0000-\u001f\u007f-\u009f]"

Sku = Annotated[
    str,
    Strict(),
    AfterValidator(_checked_sku),
    _described(
        "Unicode text, not blank, at most 200 characters, no control characters.",
        f"^{_NO_CONTROLS}{_NO_BLANK}{_NO_CONTROLS}$",
        minLength=1,
        maxLength=MAX_NAME_LENGTH,
    ),
]
Location = Annotated[
    str,
    Strict(),
    AfterValidator(_checked_location),
    _described(
        'Unicode text, at most 200 characters, no control characters; "" where there is but one place.',
        f"^{_NO_CONTROLS}$",
        maxLength=MAX_NAME_LENGTH,
    ),
]
