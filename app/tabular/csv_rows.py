"""CSV made into Arrow columns: text as written, an empty cell is null, numbers and flags read from their text.

UTF-8 with or without a byte order mark, commas, RFC 4180 quotes (with line breaks inside), LF or CRLF.
"""

import re
from collections.abc import Iterator, Sequence
from typing import IO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from app.errors import Problem
from app.tabular.fields import BadRows, Field, Rows, check_names

_BLOCK = 2 * 2**20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLAGS = {"true": 1.0, "false": 0.0}


def csv_pieces(file: IO[bytes], fields: Sequence[Field], bad: BadRows) -> Iterator[tuple[dict[str, pa.Array], Rows]]:
    """Pieces of a CSV file. Rows with too many or too few cells are noted and left out."""
    ragged: list[int] = []
    try:
        reader = _opened(file, fields, ragged, bad)
        if reader is None:
            return
        check_names(reader.schema.names, fields, bad)
        if bad.enough:
            return
        following = 0
        for batch in reader:
            rows = _numbers(following, batch.num_rows, ragged)
            if len(rows):
                following = int(rows[-1]) + 1
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            known = [field for field in fields if field.name in columns]
            yield {field.name: _typed(columns[field.name], field, rows, bad) for field in known}, rows
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from error
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise _not_utf8(error) from error
        raise Problem("unreadable_body", f"The body is not valid CSV: {error}.") from error


def _opened(file: IO[bytes], fields: Sequence[Field], ragged: list[int], bad: BadRows) -> csv.CSVStreamingReader | None:
    """A reader past the header; None when there is nothing after it."""
    beginning = file.read(4096)
    file.seek(0)
    if beginning[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Problem("unreadable_body", "The body is UTF-16; save the CSV as UTF-8.")
    if not beginning.strip():
        raise Problem("unreadable_body", "The body is empty; a CSV needs a header line.")

    def skip(row: csv.InvalidRow) -> Literal["skip"]:
        number = int(row.number) - 2  # rows of a file count from 1, with the header
        ragged.append(number)
        found = f"The row has {row.actual_columns} cells, the header {row.expected_columns}"
        bad.row(number, None, "ragged_row", f"{found}; is a quote left open, or a comma not quoted?")
        return "skip"

    try:
        return csv.open_csv(
            file,
            read_options=csv.ReadOptions(block_size=_BLOCK, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=csv.ConvertOptions(column_types={field.name: pa.string() for field in fields}),
        )
    except pa.ArrowInvalid as error:
        if "cannot infer number of columns" in str(error) and b"\n" not in beginning.strip():
            return None  # a header without a line end, and no row
        raise


def _numbers(first: int, count: int, ragged: Sequence[int]) -> Rows:
    """The numbers of the next `count` rows that were not left out."""
    left_out = np.array([number for number in ragged if number >= first], dtype=np.int64)
    numbers = np.setdiff1d(np.arange(first, first + count + len(left_out), dtype=np.int64), left_out)
    return numbers[:count]


def _typed(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    empty = pc.equal(column, "")
    if pc.any(empty).as_py():
        column = pc.if_else(empty, pa.scalar(None, pa.string()), column)
    if field.kind in ("number", "flag"):
        return _floats(column, field, rows, bad)
    if field.kind == "boolean":
        return pc.equal(_floats(column, field, rows, bad), 1.0)
    return column


def _floats(column: pa.Array, field: Field, rows: Rows, bad: BadRows) -> pa.Array:
    if field.kind == "number":
        try:
            return pc.cast(column, pa.float64())
        except pa.ArrowInvalid:
            pass  # some text is no number; found below, text by text
    coded = column.dictionary_encode()
    values = [_value(text, field) for text in coded.dictionary.to_pylist()]
    if None in values:
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
        wrong = np.isin(codes, [index for index, value in enumerate(values) if value is None])
        bad.where(wrong, rows, field.name, "wrong_type", lambda at: _told(field, column[at].as_py()))
    return pa.array([0.0 if value is None else value for value in values], pa.float64()).take(coded.indices)


def _value(text: str, field: Field) -> float | None:
    if field.kind != "number" and text.lower() in _FLAGS:
        return _FLAGS[text.lower()]
    value = float(text) if _NUMBER.fullmatch(text) else None
    return None if field.kind == "boolean" and value not in (0.0, 1.0) else value


def _told(field: Field, text: str) -> str:
    wanted = {"number": "a number", "flag": "true, false, 1, 0 or a number from 0 to 1"}.get(
        field.kind, "true or false"
    )
    shown = repr(text if len(text) <= 40 else text[:40] + "…")
    hint = "; write 1.5 with a point" if re.fullmatch(r"-?\d+,\d+", text) else ""
    return f"{field.name} must be {wanted}, not {shown}{hint}."


def _not_utf8(error: Exception) -> Problem:
    return Problem("unreadable_body", f"The body is not UTF-8 ({error}); save the CSV as UTF-8.")
