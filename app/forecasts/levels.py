"""Quantile levels as callers write them: text like "0.1,0.5,0.9" in a query, a list of numbers or such a text in a body."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

DEFAULT_LEVELS = "0.1,0.5,0.9"
LOWEST, HIGHEST = 0.01, 0.99
MOST_LEVELS = 99


def parse_levels(given: object) -> tuple[float, ...]:
    """The levels in ascending order; an error that says what is wrong with them."""
    if isinstance(given, str):
        return _levels_in(given)
    if isinstance(given, list) and given and all(type(level) in (int, float) for level in given):
        return _checked(given)
    raise PydanticCustomError("invalid_levels", "must be a list of numbers, such as [0.1, 0.5, 0.9]")


@lru_cache(maxsize=256)
def _levels_in(text: str) -> tuple[float, ...]:
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError:
        raise PydanticCustomError(
            "invalid_levels",
            "{text} is not a list of numbers such as {default}",
            {"text": repr(text), "default": DEFAULT_LEVELS},
        ) from None
    return _checked(levels)


def _checked(levels: Sequence[float]) -> tuple[float, ...]:
    if len(levels) > MOST_LEVELS:
        raise PydanticCustomError("invalid_levels", "may be {most} levels at most", {"most": MOST_LEVELS})
    for level in levels:
        if not LOWEST <= level <= HIGHEST:
            raise PydanticCustomError("invalid_levels", "the level {level} is outside 0.01 … 0.99", {"level": level})
    if len(set(levels)) < len(levels):
        raise PydanticCustomError("invalid_levels", "a level is given twice")
    return tuple(sorted(float(level) for level in levels))


_LIST = {
    "type": "array",
    "items": {"type": "number", "minimum": LOWEST, "maximum": HIGHEST},
    "minItems": 1,
    "maxItems": MOST_LEVELS,
}
_TEXT = {"type": "string"}

LevelsInQuery = Annotated[tuple[float, ...], PlainValidator(parse_levels), WithJsonSchema(_TEXT)]
LevelsInBody = Annotated[tuple[float, ...], PlainValidator(parse_levels), WithJsonSchema({"anyOf": [_LIST, _TEXT]})]
