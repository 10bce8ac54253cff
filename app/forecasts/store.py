"""The SQL of forecasts: the look-up that proves freshness, what is known of names, and keeping what was computed.

A stored forecast carries the revisions of the snapshot it was computed from; it is fresh while the series' and the
calendar's are still the same and its version is the one asked for. No flag says "stale", so none can be wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.active import ACTIVE_DAYS, not_discontinued
from app.database.engine import driver

SIMPLE = 0
"""The version under which forecasts of simple methods are stored: no network answered."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One series' forecast on the grid of levels, H days x Q levels, and the state of the data it was computed from."""

    series_id: int
    version: int
    series_revision: int
    calendar_revision: int
    cutoff: date
    mean_H: NDArray[np.float32]
    quantiles_HQ: NDArray[np.float32]
    fallback: dict[str, str] | None
    generated_at: datetime
    missing_covariates: dict[str, int] | None = None
    """By name of a covariate that the version knows ahead, the first day ahead (from 1) of which its value is not known."""
    held_out: list[dict[str, Any]] | None = None
    """Date, quantity and reason of each day in quarantine that the forecast was made without."""

    @property
    def horizon(self) -> int:
        return len(self.mean_H)


class StandIn(NamedTuple):
    """What serves while the champion's weights cannot: another version, or SIMPLE; and why, as a sentence."""

    champion: int
    version: int
    why: str


class Found(NamedTuple):
    """One series as the look-up saw it. `version` is the one that answers, `version_horizon` how far it goes."""

    series_id: int
    sku: str
    location: str
    revision: int
    calendar_revision: int
    last_day: date | None
    champion: int | None
    version: int
    version_horizon: int | None
    stored: Stored | None

    @property
    def is_fresh(self) -> bool:
        kept = self.stored
        return (
            kept is not None
            and kept.series_revision == self.revision
            and kept.calendar_revision == self.calendar_revision
        )


class Glance(NamedTuple):
    """What names an answer that was rendered before and still holds: a fresh forecast without its arrays."""

    series_id: int
    champion: int | None
    version: int
    version_horizon: int | None
    generated_at: datetime


_FRESH = "(f.series_revision = s.revision AND f.calendar_revision = r.value)"

# $1 the version asked for (null: the champion); $2 and $3: while the champion is $2, version $3 stands in for it.
_FROM = """
    FROM series s
    CROSS JOIN revisions r
    LEFT JOIN aliases c ON c.alias = 'champion'
    CROSS JOIN LATERAL (
        SELECT coalesce($1::int, CASE WHEN c.version = $2::int THEN $3::int ELSE c.version END, 0) AS version
    ) w
    LEFT JOIN versions v ON v.version = w.version
    LEFT JOIN forecasts f ON f.series_id = s.id AND f.version = w.version
    WHERE r.name = 'calendar' AND
"""
_STATE = f"""
    SELECT s.id, s.sku, s.location, s.revision, r.value AS calendar, s.last_day, c.version AS champion,
           w.version, v.horizon AS version_horizon, f.series_revision, f.calendar_revision, f.cutoff,
           f.means, f.quantiles, f.fallback::text AS fallback, f.generated_at,
           f.missing_covariates::text AS missing_covariates, f.held_out::text AS held_out
    {_FROM}
"""
_ONE = _STATE + "s.sku = $4 AND s.location = $5"
_MANY = _STATE + "s.id = ANY($4::int[]) AND s.rows > 0"
_GLANCE = f"""
    SELECT s.id, c.version, w.version, v.horizon, f.generated_at
    {_FROM} s.sku = $4 AND s.location = $5 AND s.rows > 0 AND {_FRESH}
"""


def _active(newest: str) -> str:
    """SQL that leaves out series which ended long before `newest`, the newest posted day of all, or are discontinued."""
    return f"s.last_day >= {newest} - {ACTIVE_DAYS} AND {not_discontinued('s.sku', newest)}"


# $4 and $5 the series before, $6 the newest day of all, $7 a time (or null), $8 how many.
_PAGE = f"""{_STATE} (s.sku, s.location) > ($4, $5) AND {_active("$6::date")}
      AND ($7::timestamptz IS NULL OR {_FRESH} IS NOT TRUE OR f.generated_at > $7)
    ORDER BY s.sku, s.location LIMIT $8
"""


async def glance(
    connection: asyncpg.Connection, sku: str, location: str, *, version: int | None, stand_in: StandIn | None
) -> Glance | None:
    """One series whose stored forecast is fresh; None when there is no such series, or no such forecast."""
    row = await connection.fetchrow(_GLANCE, version, *_replaced(stand_in), sku, location)
    return None if row is None else Glance(*row)


async def look_up(
    connection: asyncpg.Connection, sku: str, location: str, *, version: int | None, stand_in: StandIn | None
) -> Found | None:
    """One series with its stored forecast, in one statement; None when there is no such series."""
    row = await connection.fetchrow(_ONE, version, *_replaced(stand_in), sku, location)
    return None if row is None else _found(row)


async def planned_anew(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver of a snapshot in which statements are planned for the tables as they are now.

    A plan that was kept since the tables were empty reads all forecasts for every series; for a batch that is hours.
    """
    await connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    return await driver(connection)


async def look_up_many(connection: asyncpg.Connection, series_ids: Sequence[int], *, version: int) -> dict[int, Found]:
    """Series by their ids; those that are gone or have no sales are left out."""
    rows = await connection.fetch(_MANY, version, None, None, series_ids)
    return {row[0]: _found(row) for row in rows}


async def look_up_active(
    connection: asyncpg.Connection,
    after: tuple[str, str],
    *,
    version: int,
    newest: date,
    changed_since: datetime | None,
    limit: int,
) -> list[Found]:
    """The next active series by SKU and location; with `changed_since` those whose forecast is not fresh or newer."""
    rows = await connection.fetch(_PAGE, version, None, None, *after, newest, changed_since, limit)
    return [_found(row) for row in rows]


def _replaced(stand_in: StandIn | None) -> tuple[int | None, int | None]:
    return (None, None) if stand_in is None else (stand_in.champion, stand_in.version)


def _found(row: asyncpg.Record) -> Found:
    series_id, sku, location, revision, calendar, last_day, champion, version, horizon, kept_revision = row[:10]
    stored = None
    if kept_revision is not None:
        means, quantiles, fallback = row[12], row[13], row[14]
        mean_H = np.frombuffer(means, "<f4")
        stored = Stored(
            series_id=series_id,
            version=version,
            series_revision=kept_revision,
            calendar_revision=row[10],
            cutoff=row[11],
            mean_H=mean_H,
            quantiles_HQ=np.frombuffer(quantiles, "<f4").reshape(len(mean_H), -1),
            fallback=None if fallback is None else orjson.loads(fallback),
            generated_at=row[15],
            missing_covariates=None if row[16] is None else orjson.loads(row[16]),
            held_out=None if row[17] is None else orjson.loads(row[17]),
        )
    return Found(series_id, sku, location, revision, calendar, last_day, champion, version, horizon, stored)


class Known(NamedTuple):
    """What is known of a SKU that has no sales at the location asked for."""

    locations: list[str]
    is_item: bool


async def known_of(connection: asyncpg.Connection, sku: str) -> Known:
    return (await known_of_many(connection, [sku]))[sku]


async def known_of_many(connection: asyncpg.Connection, skus: Sequence[str], *, limit: int = 100) -> dict[str, Known]:
    """What is known of each SKU, at most `limit` locations of each."""
    rows = await connection.fetch(
        """
        SELECT asked.sku, ARRAY(SELECT location FROM series s WHERE s.sku = asked.sku AND s.rows > 0
                                ORDER BY location LIMIT $2),
               EXISTS (SELECT FROM items WHERE items.sku = asked.sku)
        FROM (SELECT DISTINCT unnest($1::text[]) AS sku) asked
        """,
        skus,
        limit,
    )
    return {row[0]: Known(row[1], row[2]) for row in rows}


# A snapshot taken earlier never replaces a later one: both revisions only ever grow. Of one and the same snapshot
# the longer horizon stays. A series deleted meanwhile is left out. Locking the series row as the foreign key does
# anyway, but before the insert, makes that certain.
_KEEP = """
    INSERT INTO forecasts AS kept (series_id, version, series_revision, calendar_revision, cutoff, horizon,
                                   means, quantiles, fallback, generated_at, missing_covariates, held_out)
    SELECT u.series_id, u.version, u.series_revision, u.calendar_revision, u.cutoff, u.horizon,
           u.means, u.quantiles, u.fallback::jsonb, u.generated_at, u.missing_covariates::jsonb,
           u.held_out::jsonb
    FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[], $5::date[], $6::int[],
                $7::bytea[], $8::bytea[], $9::text[], $10::timestamptz[], $11::text[], $12::text[])
      AS u(series_id, version, series_revision, calendar_revision, cutoff, horizon,
           means, quantiles, fallback, generated_at, missing_covariates, held_out)
    JOIN series s ON s.id = u.series_id
    ORDER BY u.series_id
    FOR KEY SHARE OF s
    ON CONFLICT (series_id, version) DO UPDATE SET
        series_revision = excluded.series_revision, calendar_revision = excluded.calendar_revision,
        cutoff = excluded.cutoff, horizon = excluded.horizon, means = excluded.means,
        quantiles = excluded.quantiles, fallback = excluded.fallback, generated_at = excluded.generated_at,
        missing_covariates = excluded.missing_covariates, held_out = excluded.held_out
    WHERE kept.series_revision <= excluded.series_revision AND kept.calendar_revision <= excluded.calendar_revision
      AND (kept.horizon <= excluded.horizon OR kept.series_revision < excluded.series_revision
           OR kept.calendar_revision < excluded.calendar_revision)
"""


async def keep(connection: AsyncConnection, forecasts: Sequence[Stored]) -> None:
    """Store forecasts, unless a newer snapshot's are there. A forecast can be computed again, so the commit need not
    wait for the disk."""
    await connection.execute(text("SET LOCAL synchronous_commit = off"))
    raw = await driver(connection)
    columns: list[list[Any]] = [
        [f.series_id for f in forecasts],
        [f.version for f in forecasts],
        [f.series_revision for f in forecasts],
        [f.calendar_revision for f in forecasts],
        [f.cutoff for f in forecasts],
        [f.horizon for f in forecasts],
        [np.ascontiguousarray(f.mean_H, "<f4").tobytes() for f in forecasts],
        [np.ascontiguousarray(f.quantiles_HQ, "<f4").tobytes() for f in forecasts],
        [None if f.fallback is None else orjson.dumps(f.fallback).decode() for f in forecasts],
        [f.generated_at for f in forecasts],
        [None if not f.missing_covariates else orjson.dumps(f.missing_covariates).decode() for f in forecasts],
        [None if not f.held_out else orjson.dumps(f.held_out).decode() for f in forecasts],
    ]
    await raw.execute(_KEEP, *columns)


class Serving(NamedTuple):
    """The version that answers now, how far it goes, and the newest posted day of all series."""

    champion: int | None
    version: int
    version_horizon: int | None
    newest: date | None


async def serving(connection: asyncpg.Connection, *, version: int | None, stand_in: StandIn | None) -> Serving:
    row = await connection.fetchrow(
        """
        SELECT c.version, w.version, v.horizon, (SELECT max(last_day) FROM series)
        FROM (SELECT) AS one
        LEFT JOIN aliases c ON c.alias = 'champion'
        CROSS JOIN LATERAL (
            SELECT coalesce($1::int, CASE WHEN c.version = $2::int THEN $3::int ELSE c.version END, 0) AS version
        ) w
        LEFT JOIN versions v ON v.version = w.version
        """,
        version,
        *_replaced(stand_in),
    )
    return Serving(*row)


async def ids_of(connection: asyncpg.Connection, names: Sequence[tuple[str, str]]) -> list[int | None]:
    """The id of each named series that has sales, None for the others, in the order given."""
    rows = await connection.fetch(
        """
        SELECT s.id FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked(sku, location, place)
        LEFT JOIN series s ON s.sku = asked.sku AND s.location = asked.location AND s.rows > 0
        ORDER BY asked.place
        """,
        [sku for sku, _ in names],
        [location for _, location in names],
    )
    return [row[0] for row in rows]


async def stale_ids(connection: asyncpg.Connection, version: int, *, after: int, limit: int) -> list[int]:
    """Active series whose forecast by this version is absent or not fresh, by id."""
    rows = await connection.fetch(_STALE, version, after, limit)
    return [row[0] for row in rows]


# Each series' forecast is looked up by its key: where the tables were last counted while empty, a join is planned that reads
# all forecasts for every series.
_STALE = f"""
    SELECT s.id
    FROM series s
    CROSS JOIN revisions r
    CROSS JOIN (SELECT max(last_day) AS day FROM series) newest
    LEFT JOIN LATERAL (
        SELECT series_revision, calendar_revision FROM forecasts WHERE series_id = s.id AND version = $1 LIMIT 1) f ON true
    WHERE r.name = 'calendar' AND s.id > $2 AND {_active("newest.day")} AND {_FRESH} IS NOT TRUE
    ORDER BY s.id LIMIT $3
"""


async def state_of_data(connection: asyncpg.Connection) -> tuple[int | datetime | None, ...]:
    """What changes whenever a forecast may have become stale: the newest post, the calendar's revision, the champion, the
    newest decision about a day in quarantine."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT max(id) FROM posts), (SELECT value FROM revisions WHERE name = 'calendar'),
               (SELECT version FROM aliases WHERE alias = 'champion'), (SELECT max(decided_at) FROM quarantine)
        """
    )
    return tuple(row)


class ArtifactOf(NamedTuple):
    """Where a version's weights are, or since when they are gone."""

    sha256: str
    removed_at: datetime | None


async def artifact_of(connection: asyncpg.Connection, version: int) -> ArtifactOf | None:
    row = await connection.fetchrow(
        "SELECT artifact_sha256, artifact_removed_at FROM versions WHERE version = $1", version
    )
    return None if row is None else ArtifactOf(row[0], row[1])
