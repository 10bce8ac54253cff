"""`shelfcast load`: a file of sales sent in chunks, each under an idempotency key, continued after an interruption.

What was acknowledged is remembered under $SHELFCAST_HOME/loads by the file's content and the options. Where that memory is
lost, the keys keep a chunk that is sent again from having a second effect. Rows are checked by the service, not here.
"""

import hashlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from app.cli.client import Client, Refused
from app.files import write_private

COLUMNS = ("sku", "location", "date", "quantity", "returned", "price", "promo", "in_stock")
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
RETRY_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds


@dataclass(frozen=True)
class Load:
    """What is to be sent and how. `names` maps our column names to the file's."""

    file: Path
    names: dict[str, str]
    complete: bool = False
    chunk_rows: int = 100_000
    only_known: bool = False
    dry_run: bool = False

    @property
    def content_type(self) -> str:
        return PARQUET if self.file.suffix.lower() in (".parquet", ".pq") else CSV


@dataclass(frozen=True)
class Chunk:
    number: int
    first_row: int
    rows: int
    body: bytes


def load(client: Client, load: Load) -> Iterator[dict[str, Any]]:
    """Send the file; yields each chunk's answer with its `rows` and `first_row`, `skipped` when sent before.

    Raises Refused with row numbers of the file, ValueError when the file cannot be read or lacks a named column.
    """
    identity = fingerprint(load)
    memory = client.settings.loads_folder / f"{identity[:32]}.json"
    done: dict[str, Any] = json.loads(memory.read_text()) if memory.exists() and not load.dry_run else {}
    for chunk in chunks(load):
        digest = hashlib.sha256(chunk.body).hexdigest()
        remembered = done.get(str(chunk.number))
        if remembered == digest:
            yield {"rows": chunk.rows, "first_row": chunk.first_row, "skipped": True}
            continue
        answer = send(client, load, chunk, key=f"load-{identity[:32]}-{chunk.number}-{digest[:16]}")
        if not load.dry_run:
            done[str(chunk.number)] = digest
            write_private(memory, json.dumps(done))
        yield answer | {"rows": chunk.rows, "first_row": chunk.first_row, "skipped": False}


def send(client: Client, load: Load, chunk: Chunk, *, key: str) -> dict[str, Any]:
    """One chunk, tried again while the service or the line fails: the idempotency key makes that safe."""
    query = {"complete": str(load.complete).lower(), "dry_run": str(load.dry_run).lower()}
    headers = {"Content-Type": load.content_type, "Idempotency-Key": key}
    for pause in (*RETRY_PAUSES, None):
        try:
            response = client.request("POST", "/v1/sales", content=chunk.body, params=query, headers=headers)
            answer: dict[str, Any] = response.json()
            return answer
        except Refused as refused:
            if pause is None or not refused.passing:
                _count_from_file_start(refused, chunk.first_row)
                raise
        except httpx.TransportError:
            if pause is None:
                raise
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def chunks(load: Load) -> Iterator[Chunk]:
    """The file in pieces, columns renamed. With `complete` a day is never cut in two, since its absent rows become zeros."""
    first_row = 0
    pieces = _whole_days(load) if load.complete else _in_file_order(load)
    for number, table in enumerate(pieces):
        yield Chunk(number, first_row, table.num_rows, _encode(table, load.content_type))
        first_row += table.num_rows


def fingerprint(load: Load) -> str:
    """SHA-256 over the file's content and whatever changes how it is sent."""
    digest = hashlib.sha256(json.dumps([sorted(load.names.items()), load.complete, load.chunk_rows]).encode())
    with load.file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def count_rows(load: Load) -> int:
    """Rows of the file, for a progress bar."""
    if load.content_type == PARQUET:
        return int(pq.ParquetFile(load.file).metadata.num_rows)
    return sum(batch.num_rows for batch in _read_csv(load))


def _in_file_order(load: Load) -> Iterator[pa.Table]:
    batches = _read_parquet(load) if load.content_type == PARQUET else _read_csv(load)
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= load.chunk_rows:
            yield _rename(pa.Table.from_batches(waiting), load)
            waiting, rows = [], 0
    if waiting:
        yield _rename(pa.Table.from_batches(waiting), load)


def _whole_days(load: Load) -> Iterator[pa.Table]:
    batches = _read_parquet(load) if load.content_type == PARQUET else _read_csv(load)
    table = pa.Table.from_batches(list(batches))
    table = _rename(table, load).sort_by("date")
    counts = pc.value_counts(table["date"].combine_chunks())
    start = end = 0
    for count in counts.field("counts").to_pylist():
        if end > start and end - start + count > load.chunk_rows:
            yield table.slice(start, end - start)
            start = end
        end += count
    if end > start:
        yield table.slice(start, end - start)


def _read_parquet(load: Load) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(load.file).iter_batches(batch_size=min(load.chunk_rows, 65_536))


def _read_csv(load: Load) -> Iterator[pa.RecordBatch]:
    # Every cell stays the text it is, so that 00123 and NA reach the service as they are written.
    with pa_csv.open_csv(load.file) as probe:
        names = probe.schema.names
    convert = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    with pa_csv.open_csv(load.file, convert_options=convert) as reader:
        yield from reader


def _rename(table: pa.Table, load: Load) -> pa.Table:
    absent = sorted(set(load.names.values()) - set(table.column_names))
    if absent:
        raise ValueError(f"The file has no column {', '.join(absent)}; it has {', '.join(table.column_names)}.")
    ours = {theirs: name for name, theirs in load.names.items()}
    table = table.rename_columns([ours.get(name, name) for name in table.column_names])
    if load.only_known:
        table = table.select([name for name in table.column_names if name in COLUMNS])
    return table


def _encode(table: pa.Table, content_type: str) -> bytes:
    buffer = io.BytesIO()
    if content_type == PARQUET:
        pq.write_table(table, buffer, compression="zstd")
    else:
        pa_csv.write_csv(table, buffer)
    return buffer.getvalue()


def _count_from_file_start(refused: Refused, first_row: int) -> None:
    for error in refused.problem.get("errors", []):
        if error.get("row") is not None:
            error["row"] += first_row
