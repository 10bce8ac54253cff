"""Postgres' binary COPY format in NumPy: whole columns in and out, no Python per row.

Here: encoding columns (NaN becomes NULL), decoding rows of fixed width into arrays, and the two calls that move them over a
connection. Not here: what is copied; each room holds its own SQL. Days are int32, counted from 1970-01-01.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Literal

import asyncpg
import numpy as np
from numpy.typing import NDArray

Kind = Literal["int4", "int8", "date", "float4", "float8"]
Column = tuple[str, Kind, NDArray[Any]]

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
ROWS_A_PIECE = 65_536

_EPOCH = 10_957  # days from 1970-01-01 to 2000-01-01, where Postgres starts to count
_TYPES: dict[Kind, str] = {"int4": ">i4", "int8": ">i8", "date": ">i4", "float4": ">f4", "float8": ">f8"}
_NULL = 0xFFFFFFFF
_DECODE_BYTES = 4 * 2**20


async def copy_in(connection: asyncpg.Connection, table: str, columns: Sequence[Column]) -> None:
    """COPY equally long columns (name, kind, values) into a table, in the order of their rows."""

    async def pieces() -> AsyncIterator[bytes]:
        yield HEADER
        for start in range(0, len(columns[0][2]), ROWS_A_PIECE):
            yield encoded([(kind, values[start : start + ROWS_A_PIECE]) for _, kind, values in columns])
        yield TRAILER

    names = [name for name, _, _ in columns]
    await connection.copy_to_table(table, columns=names, source=pieces(), format="binary")


async def copy_out(connection: asyncpg.Connection, query: str, kinds: Sequence[Kind]) -> list[NDArray[Any]]:
    """The result of a query as one array a column. No column may be NULL: select `coalesce(price, 'NaN')`.

    The query takes no parameters (COPY has none); compose it from constants and `int_array`.
    """
    rows = RowReader(kinds)
    await connection.copy_from_query(query, output=rows.feed, format="binary")
    return rows.columns()


def int_array(values: Iterable[int] | NDArray[np.integer[Any]]) -> str:
    """An SQL literal of integers, safe to compose into a query."""
    return "'{" + ",".join([str(int(value)) for value in values]) + "}'::int[]"


def text_literal(value: str) -> str:
    """An SQL literal of a text, for queries that cannot take parameters. The server's standard strings know no escape."""
    return "'" + value.replace("'", "''") + "'"


def encoded(columns: Sequence[tuple[Kind, NDArray[Any]]]) -> bytes:
    """Rows in the binary format, without header and trailer. NaN in a float column is NULL."""
    nulls = [np.isnan(values) if kind.startswith("float") else None for kind, values in columns]
    # A column that is NULL throughout has no bytes at all; one that is NULL here and there has them cut out below.
    absent = [null is not None and bool(null.all()) for null in nulls]
    rows = np.zeros(len(columns[0][1]), dtype=_row_type([kind for kind, _ in columns], absent))
    rows["fields"] = len(columns)
    for index, (kind, values) in enumerate(columns):
        rows[f"length{index}"] = _NULL if absent[index] else np.dtype(_TYPES[kind]).itemsize
        if not absent[index]:
            rows[f"value{index}"] = values - _EPOCH if kind == "date" else values
    ragged = {i: null for i, null in enumerate(nulls) if null is not None and not absent[i] and bool(null.any())}
    if not ragged:
        return rows.tobytes()
    keep = np.ones((len(rows), rows.dtype.itemsize), dtype=np.bool_)
    for index, null in ragged.items():
        rows[f"length{index}"][null] = _NULL
        assert rows.dtype.fields is not None
        value_type, offset = rows.dtype.fields[f"value{index}"][:2]
        keep[null, offset : offset + value_type.itemsize] = False
    return rows.view(np.uint8).reshape(keep.shape)[keep].tobytes()


class RowReader:
    """Takes the bytes of a binary COPY as they arrive and makes arrays of them."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = kinds
        self._type = _row_type(kinds, [False] * len(kinds))
        self._buffer = bytearray()
        self._started = False
        self._pieces: list[list[NDArray[Any]]] = []

    async def feed(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _DECODE_BYTES:
            self._decode()

    def columns(self) -> list[NDArray[Any]]:
        """All rows seen, once the last bytes have come."""
        self._decode()
        if bytes(self._buffer) != TRAILER:
            raise ValueError("A row of a COPY had a NULL or another width than its columns say.")
        return [
            np.concatenate([piece[index] for piece in self._pieces])
            if self._pieces
            else np.empty(0, _native(self._type[f"value{index}"]))
            for index in range(len(self._kinds))
        ]

    def _decode(self) -> None:
        start = 0 if self._started else len(HEADER)
        self._started = True
        count = (len(self._buffer) - start) // self._type.itemsize
        if not count:
            if start:
                del self._buffer[:start]
            return
        rows = np.frombuffer(self._buffer, dtype=self._type, count=count, offset=start)
        if (rows["fields"] != len(self._kinds)).any():
            raise ValueError("A row of a COPY had a NULL or another width than its columns say.")
        piece = []
        for index, kind in enumerate(self._kinds):
            values = rows[f"value{index}"].astype(_native(self._type[f"value{index}"]))
            piece.append(values + np.int32(_EPOCH) if kind == "date" else values)
        self._pieces.append(piece)
        end = start + rows.nbytes
        del rows
        del self._buffer[:end]


def _row_type(kinds: Sequence[Kind], absent: Sequence[bool]) -> np.dtype[np.void]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for index, kind in enumerate(kinds):
        fields.append((f"length{index}", ">u4"))
        if not absent[index]:
            fields.append((f"value{index}", _TYPES[kind]))
    return np.dtype(fields)


def _native(kind: np.dtype[Any]) -> np.dtype[Any]:
    return kind.newbyteorder("=")
