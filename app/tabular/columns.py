"""Arrow columns of any accepted type brought to the one type their field has, with every bad value noted.

Text becomes a dictionary column, a day date32, a number or flag float64, a boolean bool, an object JSON text; null stays null.
The formats' own readers (json_rows.py, csv_rows.py) first make Arrow columns of what they read.
"""

import re
from datetime import date

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.tabular.fields import BadRows, Field, Rows

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_EPOCH = date(1970, 1, 1).toordinal()
TEXT = pa.dictionary(pa.int32(), pa.string())
EMPTY = {
    "text": TEXT,
    "day": pa.date32(),
    "number": pa.float64(),
    "flag": pa.float64(),
    "boolean": pa.bool_(),
    "object": pa.string(),
}


def canonical(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    """The column as its field's type. Where something is wrong it is noted, and the value returned for it means nothing."""
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        made = _MAKERS[field.kind](column, field, rows, bad)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        # Such as more text than a column of ordinary strings can hold, or a type whose own name is not text.
        bad.column(field.name, "wrong_type", f"The column {field.name!r} cannot be read: {error}.")
        return pa.nulls(len(rows), EMPTY[field.kind])
    if not field.nullable and made.null_count:
        missing = made.is_null().to_numpy(zero_copy_only=False)
        bad.where(missing, rows, field.name, "missing", f"{field.name} is missing; every row needs one.")
    return made


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _text(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not is_text(column.type):
        _wrong_type(column, field, bad, "text", "a number is not a string; write the column as text")
        return pa.nulls(len(column), TEXT)
    if field.default is not None:
        column = pc.fill_null(column, field.default)
    coded = column.cast(pa.string()).dictionary_encode()
    if field.check is not None:
        _note_wrong_values(coded, field, rows, bad)
    return coded


def _note_wrong_values(coded: pa.DictionaryArray, field: Field, rows: Rows, bad: BadRows) -> None:
    """Note every row whose distinct value fails the check, which is asked once for each of them."""
    check = _wrong_with_object if field.kind == "object" else field.check
    assert check is not None
    wrong = {
        index: said for index, text in enumerate(coded.dictionary.to_pylist()) if (said := check(text)) is not None
    }
    if wrong:
        codes, code = _codes(coded), f"invalid_{field.kind}"
        bad.where(
            np.isin(codes, list(wrong)), rows, field.name, code, lambda at: f"{field.name} {wrong[int(codes[at])]}."
        )


def _codes(coded: pa.DictionaryArray) -> NDArray[np.int32]:
    codes: NDArray[np.int32] = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    return codes


def _day(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    kind = column.type
    if is_text(kind):
        column = days_of_text(column.cast(pa.string()).dictionary_encode(), field, rows, bad)
    elif pa.types.is_timestamp(kind) and kind.tz is None:
        column = _days_of_times(column, field, rows, bad)
    elif pa.types.is_date(kind) or pa.types.is_null(kind):
        column = column.cast(pa.date32(), safe=False)
    else:
        hint = (
            "a time with a zone has no day of its own; convert it first"
            if pa.types.is_timestamp(kind)
            else "YYYY-MM-DD"
        )
        _wrong_type(column, field, bad, "a day", hint)
        return pa.nulls(len(column), pa.date32())
    day = pc.fill_null(column.cast(pa.int32()), 0).to_numpy(zero_copy_only=False)
    filled = column.is_valid().to_numpy(zero_copy_only=False)
    low, high = -(2**31) if field.low is None else field.low, 2**31 if field.high is None else field.high
    told = f"{field.name} must lie from {_iso(field.low)} to {_iso(field.high)}"
    outside = ((day < low) | (day > high)) & filled
    bad.where(outside, rows, field.name, "out_of_range", lambda at: f"{told}, not {_iso(int(day[at]))}.")
    return column


def _iso(day: float | None) -> str:
    ordinal = int(day or 0) + _EPOCH
    return date.fromordinal(ordinal).isoformat() if 1 <= ordinal <= date.max.toordinal() else f"day {day} of 1970"


def days_of_text(coded: pa.DictionaryArray, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    """Days of the text YYYY-MM-DD, each distinct text read once."""
    days = [day_number(text) for text in coded.dictionary.to_pylist()]
    if None in days:
        codes, texts = _codes(coded), coded.dictionary
        wrong = np.isin(codes, [index for index, day in enumerate(days) if day is None])
        bad.where(
            wrong,
            rows,
            field.name,
            "invalid_date",
            lambda at: (
                f"{field.name} must be a day that exists, as YYYY-MM-DD, not {_quoted(texts[int(codes[at])].as_py())}."
            ),
        )
    # A text that is no day is noted already; it must not be taken for a missing one as well.
    numbers = pa.array([field.low or 0 if day is None else day for day in days], pa.int32())
    return numbers.take(coded.indices).cast(pa.date32())


def day_number(text: str) -> int | None:
    """Days since 1970-01-01 of the text YYYY-MM-DD; None when it is not one."""
    if not _DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH
    except ValueError:
        return None


def _days_of_times(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    per_day = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}[column.type.unit]
    times = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    days = times // per_day
    bad.where(
        days * per_day != times, rows, field.name, "not_midnight", f"{field.name} must be a day, not a time of day."
    )
    days = np.clip(days, -(2**31), 2**31 - 1).astype(np.int32)
    return pa.array(days, mask=column.is_null().to_numpy(zero_copy_only=False)).cast(pa.date32())


def _number(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    kind = column.type
    if not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    ):
        _wrong_type(column, field, bad, "a number", "text and true/false are not numbers")
        return pa.nulls(len(column), pa.float64())
    return _in_range(column.cast(pa.float64(), safe=False), field, rows, bad)


def _flag(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    if pa.types.is_boolean(column.type):
        return column.cast(pa.float64())
    return _number(column, field, rows, bad)


def _in_range(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
    name = field.name
    finite = np.isfinite(values)
    if not finite.all():
        hint = f"{name} must be a finite number; leave it empty (null) where it is not known."
        bad.where(~finite, rows, name, "not_finite", hint)
    low = -np.inf if field.low is None else field.low
    high = np.inf if field.high is None else field.high
    with np.errstate(invalid="ignore"):
        below, above = finite & (values < low), finite & (values > high)
    if below.any():
        hint = f" {field.too_low}" if field.too_low else ""
        bad.where(
            below, rows, name, "too_small", lambda at: f"{name} must be at least {low:g}, not {values[at]:g}.{hint}"
        )
    if above.any():
        bad.where(above, rows, name, "too_large", lambda at: f"{name} must be at most {high:g}, not {values[at]:g}.")
    return column


def _boolean(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.bool_())
    _wrong_type(column, field, bad, "true or false", "a number is not a flag here")
    return pa.nulls(len(column), pa.bool_())


def _object(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    """JSON text of an object; Arrow structs and maps are written as objects too."""
    if pa.types.is_struct(column.type) or pa.types.is_map(column.type):
        return _objects(column, field, rows, bad)
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    if not is_text(column.type):
        _wrong_type(column, field, bad, "an object", "a struct, a map or JSON text")
        return pa.nulls(len(column), pa.string())
    coded = column.cast(pa.string()).dictionary_encode()
    _note_wrong_values(coded, field, rows, bad)
    return coded.cast(pa.string())


def _objects(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    texts: list[str | None] = []
    for number, value in zip(rows, column.to_pylist(), strict=True):
        try:
            texts.append(None if value is None else orjson.dumps(dict(value)).decode())
        except (TypeError, ValueError) as error:
            texts.append(None)
            bad.row(int(number), field.name, "invalid_object", f"{field.name} must be what JSON can say ({error}).")
    return pa.array(texts, pa.string())


def _wrong_with_object(text: str) -> str | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"must be a JSON object, not {_quoted(text)} ({error})"
    return None if isinstance(value, dict) else f"must be a JSON object, not {_quoted(text)}"


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")


def _wrong_type(column: pa.Array, field: Field, bad: BadRows, wanted: str, hint: str) -> None:
    detail = f"The column {field.name!r} must hold {wanted}, not {column.type} ({hint})."
    bad.column(field.name, "wrong_type", detail)


_MAKERS = {"text": _text, "day": _day, "number": _number, "flag": _flag, "boolean": _boolean, "object": _object}
