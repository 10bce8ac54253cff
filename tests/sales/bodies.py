"""The same rows in every format that the API takes."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
from pyarrow import ipc, parquet

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
FORMATS = (JSON, NDJSON, CSV, PARQUET, ARROW)

Row = dict[str, Any]


def encode(rows: Sequence[Row], content_type: str) -> bytes:
    """The rows as a body; dates are texts in `rows`, days in Parquet and Arrow."""
    match content_type:
        case "application/json":
            return json.dumps({"sales": list(rows)}).encode()
        case "application/x-ndjson":
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        case "text/csv":
            return csv_of(rows)
        case "application/vnd.apache.parquet":
            return parquet_of(table_of(rows))
        case _:
            return arrow_of(table_of(rows))


def csv_of(rows: Sequence[Row]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def table_of(rows: Sequence[Row]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name == "date":
            columns[name] = pa.array([date.fromisoformat(value) for value in values], pa.date32())
        elif name in ("sku", "location"):
            columns[name] = pa.array(values, pa.string())
        else:
            columns[name] = pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.table(columns)


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


def arrow_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def compress(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":  # as two members, which a file put together of two has
        return gzip.compress(body[: len(body) // 2]) + gzip.compress(body[len(body) // 2 :])
    return bytes(pa.Codec("zstd").compress(body, asbytes=True))
