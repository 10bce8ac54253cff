"""The table of a backtest in the artifact store: one Parquet file, found and verified by its SHA-256.

`<sha256>.parquet`, written like every artifact (app/registry/artifacts.py). Its metadata names the job that made it, so
that housekeeping can tell what a job of this database left behind. Which file belongs to which job is the job's result.
"""

import hashlib
import io
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from app.registry.artifacts import Artifact, ArtifactDamaged, ArtifactMissing, Store, not_written, reached

METADATA = b"shelfcast"
_NAME = re.compile(r"([0-9a-f]{64})\.parquet")


def parquet(tables: Iterable[pa.Table], schema: pa.Schema, described: dict[str, Any]) -> tuple[bytes, int]:
    """The bytes of a file with a row group for each table, and how many rows it has; `described` is its metadata."""
    out, rows = io.BytesIO(), 0
    named = schema.with_metadata({METADATA: orjson.dumps(described)})
    with pq.ParquetWriter(out, named, compression="zstd") as file:
        for table in tables:
            file.write_table(table.replace_schema_metadata(named.metadata))
            rows += table.num_rows
    return out.getvalue(), rows


def save(location: str, content: bytes) -> Artifact:
    """Write a table so that it is either whole and on disk, or not there. Blocking.

    Raises Problem `disk_full` or `unavailable`.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        Store(location).write(_file(sha256), content)
    except OSError as error:
        raise not_written(error) from error
    return Artifact(sha256, len(content))


def load(location: str, sha256: str) -> bytes:
    """The bytes that `save` was given, verified. Blocking.

    Raises ArtifactMissing or ArtifactDamaged, which name the file, or Problem `unavailable`.
    """
    content = Store(location).read(_file(sha256))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactDamaged(f"The backtest's file {_file(sha256)} is damaged: its bytes have another SHA-256.")
    return content


@reached()
def remove(location: str, sha256: str) -> bool:
    """Remove a table; returns whether it was there. Blocking."""
    return Store(location).remove(_file(sha256))


@reached()
def stored(location: str) -> set[str]:
    """The addresses of all tables that are there. Blocking."""
    return {match[1] for name in Store(location).names() if (match := _NAME.fullmatch(name))}


@reached()
def older(location: str, addresses: set[str], age: timedelta) -> dict[str, uuid.UUID]:
    """Those of the given tables that were written longer ago than `age`, with their jobs. Blocking.

    Files that do not say whose they are, because they are damaged or of another origin, are left out.
    """
    store = Store(location)
    border = datetime.now(UTC) - age
    old = [sha256 for sha256 in sorted(addresses) if store.written_before(_file(sha256), border)]
    return {sha256: job for sha256 in old if (job := _job_of(store, sha256)) is not None}


def _file(sha256: str) -> str:
    return f"{sha256}.parquet"


def _job_of(store: Store, sha256: str) -> uuid.UUID | None:
    try:
        metadata = pq.read_schema(io.BytesIO(store.read(_file(sha256)))).metadata or {}
        return uuid.UUID(orjson.loads(metadata[METADATA])["job"])
    except (pa.ArrowInvalid, ValueError, KeyError, TypeError, ArtifactMissing):
        return None  # not written by a backtest, or damaged since: nobody can say whose it is
