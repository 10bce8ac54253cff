"""PUT of items, locations and calendar rows: whole rows replaced, all or none, unchanged ones left alone.

A body is checked whole before a connection is taken; its rows wait in a spool meanwhile. Any change raises the calendar's
revision by one, which makes every stored forecast not fresh; a PUT that changes nothing leaves it as it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
from fastapi import Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.fields import Catalog, checked
from app.database.engine import begun
from app.errors import MAX_NAMED_ERRORS
from app.http.answers import database_of
from app.tabular.fields import BadRows, Field
from app.tabular.reading import beside, pieces
from app.tabular.spool import Body, disk_full_told, received, spool

_SQL_TYPES = {
    "text": "text",
    "day": "date",
    "number": "double precision",
    "flag": "double precision",
    "boolean": "boolean",
    "object": "jsonb",
}
_ARROW_TYPES = {
    "text": pa.string(),
    "day": pa.date32(),
    "number": pa.float64(),
    "flag": pa.float64(),
    "boolean": pa.bool_(),
    "object": pa.string(),
}
_BATCH = 20_000


@dataclass(frozen=True)
class Counts:
    received: int
    inserted: int
    updated: int

    @property
    def unchanged(self) -> int:
        return self.received - self.inserted - self.updated


async def put_rows(request: Request, catalog: Catalog, *, dry_run: bool) -> Counts:
    """Take a request's rows into one table of the catalog. A dry run does all of it and takes it back."""
    async with received(request) as body:
        with spool(request.app.state.settings.spool_folder) as rows:
            count = await _check(body, catalog, rows)
            async with database_of(request).transaction() as connection:
                await _stage(connection, catalog, rows)
                await _refuse_repeated(connection, catalog)
                async with connection.begin_nested() as savepoint:
                    inserted, updated = await _merge(connection, catalog)
                    if dry_run:
                        await savepoint.rollback()
    return Counts(count, inserted, updated)


async def _check(body: Body, catalog: Catalog, rows: IO[bytes]) -> int:
    """Check the whole body and write its rows to the spool as an Arrow stream; returns how many."""
    bad, count = BadRows(), 0
    with disk_full_told(), pa.ipc.new_stream(rows, _schema(catalog)) as stream:
        async for batch in beside(_batches(body, catalog, bad), body.size):
            count += batch.num_rows
            stream.write_batch(batch)
    bad.refuse()
    rows.seek(0)
    return count


def _schema(catalog: Catalog) -> pa.Schema:
    return pa.schema([("row", pa.int64()), *((field.name, _ARROW_TYPES[field.kind]) for field in catalog.fields)])


def _batches(body: Body, catalog: Catalog, bad: BadRows) -> Iterator[pa.RecordBatch]:
    for piece in pieces(body, catalog.fields, bad, key=catalog.name):
        whole = checked(catalog, piece, bad)
        columns = [whole.columns[field.name].cast(_ARROW_TYPES[field.kind]) for field in catalog.fields]
        batch = pa.record_batch([pa.array(whole.rows, pa.int64()), *columns], schema=_schema(catalog))
        for start in range(0, batch.num_rows, _BATCH):
            yield batch.slice(start, _BATCH)


async def _stage(connection: AsyncConnection, catalog: Catalog, rows: IO[bytes]) -> None:
    """Bring the spooled rows into the temporary table `staged`, a batch at a time."""
    columns = ", ".join(f"{field.name} {_SQL_TYPES[field.kind]}" for field in catalog.fields)
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    await driver.execute(f"CREATE TEMPORARY TABLE staged (row bigint, {columns}) ON COMMIT DROP")
    sent = ["bigint", *(_SQL_TYPES[field.kind].replace("jsonb", "text") for field in catalog.fields)]
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(sent, 1))
    names = ", ".join(f"u.{field.name}::{_SQL_TYPES[field.kind]}" for field in catalog.fields)
    insert = f"INSERT INTO staged SELECT u.row, {names} FROM unnest({arrays}) AS u (row, {_list(catalog.columns)})"
    for batch in pa.ipc.open_stream(rows):
        await driver.execute(insert, *(column.to_pylist() for column in batch.columns))
    await driver.execute("ANALYZE staged")


async def _refuse_repeated(connection: AsyncConnection, catalog: Catalog) -> None:
    """A 422 that names both of any two rows for one key."""
    found = await connection.execute(
        text(
            f"SELECT row, first FROM (SELECT row, min(row) OVER (PARTITION BY {_list(catalog.key)}) AS first FROM staged) s"
            f" WHERE row > first ORDER BY row LIMIT {MAX_NAMED_ERRORS}"
        )
    )
    bad = BadRows()
    for row, first in found:
        told = f"Rows {first} and {row} are both for one {' and '.join(catalog.key)}; send one of them."
        bad.row(row, catalog.key[0], "repeated_row", told)
    bad.refuse()


async def _merge(connection: AsyncConnection, catalog: Catalog) -> tuple[int, int]:
    """Write what differs; returns how many rows were new and how many changed. Keys are taken in order, so that two PUTs
    at once wait for each other instead of dying of a deadlock."""
    values = [name for name in catalog.columns if name not in catalog.key]
    # ON CONFLICT locks, so writes, even a row that it leaves as it is: those are taken out first.
    await connection.execute(
        text(
            f"DELETE FROM staged s USING {catalog.name} t WHERE {' AND '.join(_same(field) for field in _key(catalog))}"
            f" AND ({_list(values, 's.')}) IS NOT DISTINCT FROM ({_list(values, 't.')})"
        )
    )
    written = await connection.execute(
        text(
            f"""
            WITH written AS (
                INSERT INTO {catalog.name} AS t ({_list(catalog.columns)})
                SELECT {_list(catalog.columns)} FROM staged ORDER BY {_list(catalog.key)}
                ON CONFLICT ({_list(catalog.key)}) DO UPDATE
                SET {", ".join(f"{name} = excluded.{name}" for name in values)}, updated_at = now()
                WHERE ({_list(values, "t.")}) IS DISTINCT FROM ({_list(values, "excluded.")})
                RETURNING xmax = 0 AS is_new  -- a row that was updated had to be locked first, which sets xmax
            )
            SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written"""
        )
    )
    inserted, updated = written.one()
    if inserted or updated:
        await connection.execute(text("UPDATE revisions SET value = value + 1 WHERE name = 'calendar'"))
    return inserted, updated


def _key(catalog: Catalog) -> list[Field]:
    return [field for field in catalog.fields if field.name in catalog.key]


def _same(field: Field) -> str:
    """Equality of a key column in `s` and `t` that holds for two nulls and that a join can hash; no name has a U+0001."""
    if field.kind != "text":
        return f"s.{field.name} = t.{field.name}"
    return f"coalesce(s.{field.name}, U&'\\0001') = coalesce(t.{field.name}, U&'\\0001')"


def _list(names: Sequence[str], prefix: str = "") -> str:
    return ", ".join(prefix + name for name in names)


def answer_of(counts: Counts) -> dict[str, Any]:
    return {
        "received": counts.received,
        "inserted": counts.inserted,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
    }
