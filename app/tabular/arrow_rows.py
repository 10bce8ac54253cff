"""Parquet files and Arrow streams, read in pieces. A stranger wrote them, so every piece is validated before it is touched."""

import mmap
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import ipc, parquet

from app.errors import Problem
from app.tabular.fields import BadRows, Field, Rows, check_names
from app.tabular.spool import IN_MEMORY, Body

ROWS_A_PIECE = 65_536
_DAMAGED = (pa.ArrowException, OSError, ValueError, MemoryError)


def parquet_pieces(body: Body, fields: Sequence[Field], bad: BadRows) -> Iterator[tuple[dict[str, pa.Array], Rows]]:
    """Pieces of a Parquet file."""
    try:
        file = parquet.ParquetFile(body.file, pre_buffer=False, buffer_size=2**18)
        names = file.schema_arrow.names
    except _DAMAGED as error:
        raise _unreadable("Parquet file", error) from error
    check_names(names, fields, bad)
    if not bad.enough:
        batches = file.iter_batches(batch_size=ROWS_A_PIECE, use_threads=False)
        yield from _pieces(batches, fields, body.max_bytes, "Parquet file")


def arrow_pieces(body: Body, fields: Sequence[Field], bad: BadRows) -> Iterator[tuple[dict[str, pa.Array], Rows]]:
    """Pieces of an Arrow stream."""
    beginning = body.file.read(6)
    body.file.seek(0)
    if beginning == b"ARROW1":
        raise Problem("unreadable_body", "The body is an Arrow file (Feather); send an Arrow stream.")
    with _source(body) as source:
        try:
            stream = ipc.open_stream(source)
            names = stream.schema.names
        except _DAMAGED as error:
            raise _unreadable("Arrow stream", error) from error
        check_names(names, fields, bad)
        if not bad.enough:
            yield from _pieces(stream, fields, body.max_bytes, "Arrow stream")


def _source(body: Body) -> pa.NativeFile:
    """The body as memory; a large one is mapped, so that it is read where it is touched: a stream may be one batch."""
    if body.size <= IN_MEMORY:
        return pa.BufferReader(body.file.read())
    return pa.BufferReader(pa.py_buffer(mmap.mmap(body.file.fileno(), 0, access=mmap.ACCESS_READ)))


def _pieces(
    batches: Iterator[pa.RecordBatch], fields: Sequence[Field], limit: int, what: str
) -> Iterator[tuple[dict[str, pa.Array], Rows]]:
    seen = size = 0
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)
        except _DAMAGED as error:
            raise _unreadable(what, error) from error
        size += batch.nbytes
        if size > limit:
            raise Problem("body_too_large", f"A file may hold {limit:,} bytes once decoded.")
        for start in range(0, batch.num_rows, ROWS_A_PIECE):
            part = batch.slice(start, ROWS_A_PIECE)
            rows = np.arange(seen + start, seen + start + part.num_rows, dtype=np.int64)
            yield {field.name: part.column(field.name) for field in fields if field.name in part.schema.names}, rows
        seen += batch.num_rows


def _unreadable(what: str, error: BaseException) -> Problem:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return Problem("unreadable_body", f"The body is not a whole {what}: {reason}")
