"""The one way in: a received body and its fields, to pieces of checked columns."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from app.errors import Problem
from app.tabular.arrow_rows import arrow_pieces, parquet_pieces
from app.tabular.columns import canonical
from app.tabular.csv_rows import csv_pieces
from app.tabular.fields import BadRows, Field, Rows
from app.tabular.formats import Format
from app.tabular.json_rows import json_pieces, ndjson_pieces
from app.tabular.spool import Body

_SMALL = 64 * 1024
Item = TypeVar("Item")


@dataclass(frozen=True)
class Piece:
    """Some rows of a body: a column for every field (see columns.py for their types) and each row's number, from 0."""

    columns: dict[str, pa.Array]
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)


def pieces(body: Body, fields: Sequence[Field], bad: BadRows, *, key: str) -> Iterator[Piece]:
    """Read a body piece by piece. `key` is the name of the list in a JSON body.

    Bad values are noted in `bad` and their pieces still handed out; reading stops once a hundred are noted. Call
    `bad.refuse()` at the end. Raises a problem for what is not of the format at all, or has no rows.
    """
    found = 0
    for columns, rows in _source(body, fields, bad, key):
        found += len(rows)
        whole = {
            field.name: canonical(columns.get(field.name, pa.nulls(len(rows))), field, rows, bad) for field in fields
        }
        if len(rows):
            yield Piece(whole, rows)
        if bad.enough:
            return
    if not found and not bad.any:
        raise Problem("invalid_rows", "The body has no rows.")


def _source(body: Body, fields: Sequence[Field], bad: BadRows, key: str) -> Iterator[tuple[dict[str, pa.Array], Rows]]:
    body.file.seek(0)
    match body.format:
        case Format.JSON:
            return json_pieces(body, fields, bad, key)
        case Format.NDJSON:
            return ndjson_pieces(body, fields, bad)
        case Format.CSV:
            return csv_pieces(body.file, fields, bad)
        case Format.PARQUET:
            return parquet_pieces(body, fields, bad)
        case Format.ARROW:
            return arrow_pieces(body, fields, bad)


async def beside(items: Iterator[Item], size: int) -> AsyncIterator[Item]:
    """Run an iterator in a thread, an item at a time, so that the event loop goes on; small bodies are not worth one."""
    end = object()
    while True:
        item = next(items, end) if size < _SMALL else await asyncio.to_thread(next, items, end)
        if item is end:
            return
        yield item  # type: ignore[misc]


def floats(column: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A number column as NumPy, null as NaN; a negative zero is a zero."""
    values: np.ndarray[tuple[int], np.dtype[np.float64]] = column.to_numpy(zero_copy_only=False) + 0.0
    return values
