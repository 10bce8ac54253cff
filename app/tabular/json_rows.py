"""JSON and NDJSON rows made into Arrow columns. A JSON string is not a number, a number is not a string, true is not 1."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa

from app.errors import Problem
from app.tabular.fields import BadRows, Field, Rows, hint_for
from app.tabular.spool import Body

_CHUNK = 4 * 2**20
_LONGEST_LINE = 2**20
_DEEPEST = 100
_TOO_DEEP = f"The JSON is nested deeper than {_DEEPEST} levels."
_KEY = re.compile(rb'"\s*:')
_SPACED_KEY = re.compile(rb'"\s+:')
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "text in quotes"),
    "day": ((str,), "a day as text, YYYY-MM-DD"),
    "number": ((int, float), "a number without quotes"),
    "flag": ((bool, int, float), "true, false or a number from 0 to 1"),
    "boolean": ((bool,), "true or false"),
    "object": ((dict,), "an object"),
}


class _TooDeepError(Exception):
    """A value nested deeper than _DEEPEST levels."""


def json_pieces(
    body: Body, fields: Sequence[Field], bad: BadRows, key: str
) -> Iterator[tuple[dict[str, pa.Array], Rows]]:
    """The one piece of a JSON body `{key: [row, …]}`."""
    content = body.file.read()
    value = _parsed(content)
    if not isinstance(value, dict) or not isinstance(value.get(key), list) or len(value) != 1:
        raise Problem("invalid_request", f'The body must be {{"{key}": [row, …]}} and nothing else.')
    rows = value[key]
    if body.max_rows is not None and len(rows) > body.max_rows:
        told = f"A JSON body may have {body.max_rows:,} rows, not {len(rows):,}; send less, or another format."
        raise Problem("body_too_large", told)
    numbers = np.arange(len(rows), dtype=np.int64)
    try:
        keys = _keys_in(value)
    except _TooDeepError as error:
        raise Problem("unreadable_body", _TOO_DEEP) from error
    if len(_KEY.findall(content)) != keys:
        _refuse_repeated(content)
    yield columns_of(rows, numbers, fields, bad), numbers


def ndjson_pieces(body: Body, fields: Sequence[Field], bad: BadRows) -> Iterator[tuple[dict[str, pa.Array], Rows]]:
    """Pieces of a body with one JSON object a line. Blank lines are not rows."""
    seen = 0
    for lines, spaced in _lines(body.file):
        numbers = np.arange(seen, seen + len(lines), dtype=np.int64)
        seen += len(lines)
        rows = [
            _row_of_line(line, int(number), bad, spaced=spaced) for line, number in zip(lines, numbers, strict=True)
        ]
        good = np.array([row is not None for row in rows], dtype=np.bool_)
        rows = [row for row in rows if row is not None]
        yield columns_of(rows, numbers[good], fields, bad), numbers[good]


def columns_of(rows: Sequence[Any], numbers: Rows, fields: Sequence[Field], bad: BadRows) -> dict[str, pa.Array]:
    """One Arrow column a field, of rows that should be JSON objects."""
    objects = [row if isinstance(row, dict) else {} for row in rows]
    for row, number in zip(rows, numbers, strict=True):
        if not isinstance(row, dict):
            bad.row(int(number), None, "not_an_object", "A row must be a JSON object.")
    known = {field.name for field in fields}
    shapes = {tuple(row) for row in objects}
    if any(name not in known for shape in shapes for name in shape):
        for row, number in zip(objects, numbers, strict=True):
            for name in row.keys() - known:
                hint = hint_for(name, fields, ())
                shown = name[:200]
                bad.row(int(number), shown, "unknown_field", f"The field {shown!r} is not known{hint}.")
    for field in fields:
        if field.required and any(field.name not in shape for shape in shapes):
            for row, number in zip(objects, numbers, strict=True):
                if field.name not in row:
                    bad.row(int(number), field.name, "missing", f"{field.name} is missing; every row needs one.")
    return {field.name: _column([row.get(field.name) for row in objects], field, numbers, bad) for field in fields}


def _column(values: list[Any], field: Field, numbers: Rows, bad: BadRows) -> pa.Array:
    accepted, wanted = _TYPES[field.kind]
    if not {type(value) for value in values} <= {*accepted, type(None)}:
        for position, value in enumerate(values):
            if value is not None and type(value) not in accepted:
                told = f"{field.name} must be {wanted}, not {_json(value)}."
                bad.row(int(numbers[position]), field.name, "wrong_type", told)
                values[position] = None
    if field.kind in ("number", "flag"):
        floats = [np.nan if value is None else float(value) for value in values]
        return pa.array(floats, pa.float64(), from_pandas=True)  # JSON has no NaN, so NaN can stand for null here
    if field.kind == "boolean":
        return pa.array(values, pa.bool_())
    if field.kind == "object":
        values = [None if value is None else orjson.dumps(value).decode() for value in values]
    return pa.array(values, pa.string())


def _json(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    written = orjson.dumps(value).decode()
    return written if len(written) <= 40 else written[:40] + "…"


def _parsed(content: bytes) -> Any:
    if not content.strip():
        raise Problem("unreadable_body", "The body is empty.")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Problem("unreadable_body", f"The body is not valid JSON: {error}.") from error


def _row_of_line(line: bytes, number: int, bad: BadRows, *, spaced: bool) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        bad.row(number, None, "not_json", f"The line is not valid JSON: {error}.")
        return None
    if not isinstance(row, dict):
        bad.row(number, None, "not_an_object", "A line must be a JSON object.")
        return None
    if not spaced and line.count(b'":') == len(row):
        return row  # as many `":` as the row has keys: none was dropped, and no object lies inside
    try:
        keys = _keys_in(row)
    except _TooDeepError:
        bad.row(number, None, "not_json", _TOO_DEEP)
        return None
    if len(_KEY.findall(line)) != keys:
        twice = repeated_key(line)
        if twice is not None:
            bad.row(number, twice, "repeated_field", f"The field {twice!r} stands there twice.")
            return None
    return row


def _keys_in(value: Any, depth: int = 0) -> int:
    if depth > _DEEPEST:
        raise _TooDeepError
    if isinstance(value, dict):
        return len(value) + sum(
            _keys_in(inner, depth + 1) for inner in value.values() if isinstance(inner, (dict, list))
        )
    if isinstance(value, list):
        return sum(_keys_in(inner, depth + 1) for inner in value)
    return 0


def _refuse_repeated(content: bytes) -> None:
    twice = repeated_key(content)
    if twice is not None:
        raise Problem("unreadable_body", f"The key {twice!r} stands twice in one JSON object.")


def repeated_key(text: bytes) -> str | None:
    """A key that stands twice in one object of a valid JSON text, or None.

    Slow, so asked only when the text has more `":` than its value has keys: as many mean that none was dropped.
    """
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        found.extend(name for name in set(names) if names.count(name) > 1)

    json.loads(text, object_pairs_hook=look, parse_int=float)
    return found[0] if found else None


def _lines(file: IO[bytes]) -> Iterator[tuple[list[bytes], bool]]:
    """Lines that are not blank, a few megabytes at a time, and whether a key may be written apart from its colon."""
    rest = b""
    while chunk := file.read(_CHUNK):
        whole = rest + chunk
        *lines, rest = whole.split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise Problem(
                "body_too_large", f"A line may have {_LONGEST_LINE:,} bytes; rows are separated by line feeds."
            )
        yield [line for line in lines if line and not line.isspace()], _SPACED_KEY.search(whole) is not None
    if rest and not rest.isspace():
        yield [rest], _SPACED_KEY.search(rest) is not None
