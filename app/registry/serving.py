"""Which network answers: loading a version's forecaster, verified, and what serves when the champion's artifact is damaged."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import asyncpg
import structlog

from app.database.engine import Database
from app.errors import Problem
from app.registry.artifacts import ArtifactDamaged, load
from app.registry.promotions import Checked, refuse_removed
from app.registry.store import read_model
from models.checkpoint import CheckpointError, deserialise
from models.networks.forecaster import Forecaster

log = structlog.get_logger()


def load_forecaster(location: str, sha256: str) -> Forecaster:
    """The forecaster of one artifact, verified to the last byte. Blocking.

    Raises ArtifactDamaged (ArtifactMissing among them), which names the file, or Problem `unavailable`.
    """
    weights, description = load(location, sha256)
    try:
        return deserialise(weights, description)
    except CheckpointError as error:
        raise ArtifactDamaged(f"The artifact {sha256} cannot be used: {error}") from error


async def check_artifact(database: Database, location: str, version: int | None) -> Checked:
    """Load a version's artifact to see whether it can be promoted; what is wrong is returned, not raised.

    So the caller can give a repeated request its first answer before it looks at this one.
    """
    if version is None:
        return Checked(None, None)
    try:
        async with database.snapshot() as connection:
            model = await read_model(connection, version)
            await refuse_removed(connection, version)
        await asyncio.to_thread(load_forecaster, location, model["artifact_sha256"])
    except Problem as problem:
        return Checked(version, problem)
    return Checked(version, None)


class Serving(NamedTuple):
    """What answers forecasts: `version` with its forecaster, both None when no network may.

    `champion` is the version that should answer. Where another one does, or none, `damage` says what is wrong with it.
    """

    version: int | None
    forecaster: Forecaster | None
    champion: int | None
    damage: str | None


async def serving_version(database: Database, location: str, loaded: Mapping[int, Forecaster] | None = None) -> Serving:
    """The champion, or the newest undamaged former champion where the champion's artifact is damaged or gone.

    `loaded` are the forecasters that the process already holds: those serve whatever has become of their files. Former
    champions that a roll-back left come last, for they were found bad. Raises Problem `unavailable` when the store is away.
    """
    async with database.reading() as connection:
        candidates = await _candidates(connection)
    if not candidates:
        return Serving(None, None, None, None)
    damage: str | None = None
    for version, sha256 in candidates:
        try:
            forecaster = (loaded or {}).get(version) or await asyncio.to_thread(load_forecaster, location, sha256)
        except ArtifactDamaged as error:
            log.error("artifact_damaged", version=version, location=location, detail=error.detail)
            damage = damage or f"The champion, version {version}, cannot be loaded. {error.detail}"
        else:
            return Serving(version, forecaster, candidates[0][0], damage)
    return Serving(None, None, candidates[0][0], damage)


async def _candidates(connection: asyncpg.Connection) -> list[tuple[int, str]]:
    """The champion first, then former champions by their newest promotion; those left by a roll-back last."""
    rows = await connection.fetch("""
        WITH former AS (
            SELECT version, bool_and(rolled_back) AS left_behind, max(id) AS newest
            FROM promotions WHERE kind <> 'rollback' GROUP BY version)
        SELECT v.version, v.artifact_sha256
        FROM versions v
        LEFT JOIN aliases a ON a.version = v.version AND a.alias = 'champion'
        LEFT JOIN former f ON f.version = v.version
        WHERE a.version IS NOT NULL OR (f.version IS NOT NULL AND v.artifact_removed_at IS NULL)
        ORDER BY a.version IS NULL, f.left_behind, f.newest DESC""")
    return [(row["version"], row["artifact_sha256"]) for row in rows]
