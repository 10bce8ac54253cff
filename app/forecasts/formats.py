"""Forecasts in the formats that a caller may ask for by `Accept`, written piece by piece.

A row of the table formats (CSV, Parquet, Arrow) is one series and period, with a column a level; JSON and NDJSON hold
the object of the single read. Each writer turns a batch of answers into bytes as it comes and ends the file at the end.
"""

import io
from collections.abc import Sequence
from datetime import date
from typing import Any, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from app.errors import Problem
from app.forecasts.answers import Answer, json_of, level_names, plain

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
FORMATS = (JSON, NDJSON, CSV, PARQUET, ARROW)


def chosen_format(accept: str | None, formats: Sequence[str] = FORMATS) -> str:
    """Which of the formats an `Accept` header likes best; JSON when it does not say. Raises Problem 406."""
    if accept is None or accept in ("*/*", JSON) or not accept.strip():
        return JSON
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    quality = {name: _quality(name, ranges) for name in formats}
    best = max(formats, key=lambda name: quality[name])
    if quality[best] <= 0:
        raise Problem("not_acceptable", f"This route answers in {', '.join(formats)}, not in {accept!r}.")
    return best


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, float(value)
            except ValueError as error:
                raise Problem("not_acceptable", f"The quality {value!r} in Accept is not a number.") from error
    return name, 1.0


def _quality(name: str, ranges: Sequence[tuple[str, float]]) -> float:
    """That of the most specific range which covers the format."""
    for pattern in (name, name.partition("/")[0] + "/*", "*/*"):
        found = [quality for given, quality in ranges if given == pattern]
        if found:
            return max(found)
    return 0.0


class Writer(Protocol):
    """Turns batches of answers into the bytes of one file."""

    def batch(self, answers: Sequence[Answer]) -> bytes: ...

    def end(self) -> bytes: ...


def writer(media_type: str, levels: Sequence[float]) -> Writer:
    names = level_names(levels)
    if media_type == JSON:
        return JsonWriter(names)
    if media_type == NDJSON:
        return NdjsonWriter(names)
    if media_type == CSV:
        return CsvWriter(names)
    return ArrowWriter(names) if media_type == ARROW else ParquetWriter(names)


def written(answer: Answer, media_type: str, levels: Sequence[float]) -> bytes:
    """One series alone: in JSON the object itself, in the other formats what a file of many holds of it."""
    if media_type == JSON:
        return json_of(answer, level_names(levels))
    to = writer(media_type, levels)
    return to.batch([answer]) + to.end()


class JsonWriter:
    """`{"forecasts": [...]}`."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._begun = False

    def batch(self, answers: Sequence[Answer]) -> bytes:
        parts = [json_of(answer, self._names) for answer in answers]
        if not parts:
            return b""
        before, self._begun = (b"," if self._begun else b'{"forecasts":['), True
        return before + b",".join(parts)

    def end(self) -> bytes:
        return b"]}" if self._begun else b'{"forecasts":[]}'


class NdjsonWriter:
    """One line a series."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def batch(self, answers: Sequence[Answer]) -> bytes:
        return b"".join(orjson.dumps(plain(a, self._names), option=orjson.OPT_APPEND_NEWLINE) for a in answers)

    def end(self) -> bytes:
        return b""


class CsvWriter:
    """UTF-8, comma, a header line; times in UTC, nulls as empty cells, lists joined by semicolons."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._schema = schema(names)
        self._header = True

    def batch(self, answers: Sequence[Answer]) -> bytes:
        return self._text(table(answers, self._names, self._schema))

    def end(self) -> bytes:
        return self._text(self._schema.empty_table()) if self._header else b""

    def _text(self, rows: pa.Table) -> bytes:
        out = io.BytesIO()
        at = rows.schema.get_field_index("held_out")
        days = [";".join(map(str, dates)) or None for dates in rows.column(at).to_pylist()]
        plain_rows = rows.set_column(at, "held_out", pa.array(days, pa.string()))
        at = rows.schema.get_field_index("generated_at")
        moments = [None if t is None else t.isoformat().replace("+00:00", "Z") for t in rows.column(at).to_pylist()]
        plain_rows = plain_rows.set_column(at, "generated_at", pa.array(moments, pa.string()))
        at = rows.schema.get_field_index("missing_covariates")
        joined = [";".join(names) or None for names in rows.column(at).to_pylist()]
        plain_rows = plain_rows.set_column(at, "missing_covariates", pa.array(joined, pa.string()))
        options = pa_csv.WriteOptions(include_header=self._header, quoting_style="needed")
        pa_csv.write_csv(plain_rows, out, options)
        self._header = False
        return out.getvalue()


class _Piecewise:
    """What the two binary formats share: a file-like object whose bytes are handed out as they come."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._schema = schema(names)
        self._out = _Drain()
        self._file: Any = None

    def batch(self, answers: Sequence[Answer]) -> bytes:
        self._file.write_table(table(answers, self._names, self._schema))
        return self._out.taken()

    def end(self) -> bytes:
        self._file.close()
        return self._out.taken()


class ArrowWriter(_Piecewise):
    """An Arrow IPC stream, a record batch for every batch of series."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self._file = pa.ipc.new_stream(self._out, self._schema)


class ParquetWriter(_Piecewise):
    """A Parquet file, a row group for every batch of series."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self._file = pq.ParquetWriter(self._out, self._schema, compression="zstd")


class _Drain(io.RawIOBase):
    """Takes what is written and gives it away again; the position only counts."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, content: Any) -> int:
        piece = bytes(content)
        self._parts.append(piece)
        self._position += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def schema(names: Sequence[str]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("sku", pa.string(), nullable=False),
            pa.field("location", pa.string(), nullable=False),
            pa.field("cutoff", pa.date32(), nullable=False),
            pa.field("model_version", pa.int32()),
            pa.field("generated_at", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("period", pa.string(), nullable=False),
            pa.field("held_out", pa.list_(pa.date32())),
            pa.field("start", pa.date32(), nullable=False),
            pa.field("end", pa.date32(), nullable=False),
            pa.field("complete", pa.bool_(), nullable=False),
            pa.field("mean", pa.float64(), nullable=False),
            *(pa.field(name, pa.float64(), nullable=False) for name in names),
            pa.field("fallback_method", pa.string()),
            pa.field("fallback_reason", pa.string()),
            pa.field("fallback_detail", pa.string()),
            pa.field("missing_covariates", pa.list_(pa.string())),
        ]
    )


def table(answers: Sequence[Answer], names: Sequence[str], of: pa.Schema) -> pa.Table:
    """A row a series and period."""
    if not answers:
        return of.empty_table()
    counts = np.array([len(a.groups) for a in answers])
    repeat = np.repeat(np.arange(len(answers)), counts)
    said = [a.fallback or {} for a in answers]

    def of_series(values: Sequence[Any], name: str) -> pa.Array:
        return pa.array(values, of.field(name).type).take(repeat)

    groups = [group for a in answers for group in a.groups]
    quantiles_RW = np.concatenate([a.quantiles_PW for a in answers])
    columns: dict[str, Any] = {
        "sku": of_series([a.sku for a in answers], "sku"),
        "location": of_series([a.location for a in answers], "location"),
        "cutoff": of_series([a.cutoff for a in answers], "cutoff"),
        "model_version": of_series([a.model_version for a in answers], "model_version"),
        "generated_at": of_series([a.generated_at for a in answers], "generated_at"),
        "period": of_series([a.period for a in answers], "period"),
        "held_out": of_series([[date.fromisoformat(d["date"]) for d in a.held_out] for a in answers], "held_out"),
        "start": pa.array([group.start for group in groups], pa.date32()),
        "end": pa.array([group.end for group in groups], pa.date32()),
        "complete": pa.array([group.complete for group in groups], pa.bool_()),
        "mean": np.concatenate([a.mean_P for a in answers]),
        **{name: np.ascontiguousarray(quantiles_RW[:, w]) for w, name in enumerate(names)},
        **{f"fallback_{key}": of_series([s.get(key) for s in said], f"fallback_{key}") for key in _SAID},
        "missing_covariates": of_series([a.missing_covariates for a in answers], "missing_covariates"),
    }
    return pa.table([columns[name] for name in of.names], schema=of)


_SAID = ("method", "reason", "detail")
