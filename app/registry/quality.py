"""What cleaning found in the sales that a version learned from: kept in its artifact as a Parquet file, read in pages.

The file is sorted by SKU, location, first day and kind, so that a page reads only the row groups it needs. The findings
themselves are made by models/cleaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Problem
from app.registry.artifacts import load_findings
from app.registry.promotions import champion
from app.registry.store import read_model
from app.sales.panel import StrayRows, TrainingData
from models.cleaning import Findings
from models.cleaning.findings import SCHEMA, ordered

ROWS_OF_A_GROUP = 16_384

Key = tuple[str, str, date, str]


def parquet_of(findings: Findings, data: TrainingData) -> bytes:
    """The findings of a training as a Parquet file, with the rows that its panel left out."""
    table = ordered(pa.concat_tables([findings.table(data.panel), _stray(data.stray)]))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROWS_OF_A_GROUP, compression="zstd", write_statistics=["sku"])
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _stray(stray: StrayRows) -> pa.Table:
    rows = len(stray.keys)
    columns = [
        pa.array([sku for sku, _ in stray.keys], pa.string()),
        pa.array([location for _, location in stray.keys], pa.string()),
        pa.array(stray.day_N, pa.date32()),
        pa.array(stray.day_N, pa.date32()),
        pa.array(["stray"] * rows, pa.string()),
        pa.array(stray.quantity_N, pa.float32(), from_pandas=True),
        pa.nulls(rows, pa.float32()),
        pa.array(["left_out"] * rows, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


class Reported(NamedTuple):
    """A version whose findings can be read."""

    version: int
    cleaning: str
    sha256: str


async def reported_version(connection: AsyncConnection, version: int | None) -> Reported:
    """The version asked for, or the champion. Raises `not_found` where there is none, or its artifact was removed."""
    version = await champion(connection) if version is None else version
    if version is None:
        raise Problem("not_found", "No version has been promoted yet; name one with model_version, or train one.")
    model = await read_model(connection, version)
    removed = model["artifact_removed_at"]
    if removed is not None:
        raise Problem("not_found", f"The findings of version {version} were removed with it on {removed:%Y-%m-%d}.")
    return Reported(version, _cleaning_of(model["config"]), model["artifact_sha256"])


def _cleaning_of(config: Mapping[str, Any]) -> str:
    """How a version's sales were cleaned. Older ensembles say it only of their members, all of which agree."""
    members = config.get("members") or [{}]
    found: str = config.get("cleaning") or members[0].get("cleaning") or "none"
    return found


@dataclass(frozen=True)
class Wanted:
    """Which findings are asked for: None stands for any; those after the key `after`, at most `limit`."""

    sku: str | None
    location: str | None
    kind: str | None
    after: Key | None
    limit: int


def read_findings(location: str, reported: Reported, wanted: Wanted) -> list[dict[str, Any]]:
    """Findings of a version in order, verified. Blocking. Raises `not_found` where the version was saved without any report."""
    content = load_findings(location, reported.sha256)
    if content is None:
        raise Problem("not_found", f"Version {reported.version} was published without a report of its findings.")
    file = pq.ParquetFile(pa.BufferReader(content))
    rows: list[dict[str, Any]] = []
    for group in range(file.num_row_groups):
        if len(rows) < wanted.limit and _may_hold(file, group, wanted):
            part = _matching(file.read_row_group(group), wanted)
            rows += part.slice(0, wanted.limit - len(rows)).to_pylist()
    return [row | {name: _short(row[name]) for name in ("observed", "expected")} for row in rows]


def _may_hold(file: pq.ParquetFile, group: int, wanted: Wanted) -> bool:
    """Whether a row group can have rows of this SKU, or after this key, by its lowest and highest SKU."""
    sku = file.metadata.row_group(group).column(0).statistics
    if wanted.sku is not None and not sku.min <= wanted.sku <= sku.max:
        return False
    return wanted.after is None or bool(sku.max >= wanted.after[0])


def _matching(table: pa.Table, wanted: Wanted) -> pa.Table:
    keep = np.ones(len(table), dtype=np.bool_)
    for name in ("sku", "location", "kind"):
        value = getattr(wanted, name)
        if value is not None:
            keep &= pc.equal(table[name], pa.scalar(value, pa.string())).to_numpy()
    if wanted.after is not None:
        later = np.zeros(len(table), dtype=np.bool_)
        equal = np.ones(len(table), dtype=np.bool_)
        for name, value in zip(("sku", "location", "first_day", "kind"), wanted.after, strict=True):
            bound = pa.scalar(value, SCHEMA.field(name).type)
            later |= equal & pc.greater(table[name], bound).to_numpy()
            equal &= pc.equal(table[name], bound).to_numpy()
        keep &= later
    return table.filter(pa.array(keep))


def _short(value: float | None) -> float | None:
    """A single-precision number without the digits that it does not have."""
    return None if value is None else float(f"{value:.7g}")
