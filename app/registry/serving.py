"""Artifacts as forecasters: loading a version's, verified, and which version serves when the champion's is damaged.

Which forecasters a process holds in memory is the forecasts' matter (app/forecasts/weights.py).
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import asyncpg
import structlog
import torch

from app.database.engine import Database
from app.errors import Problem
from app.registry.artifacts import ArtifactDamaged, load
from app.registry.promotions import Checked, refuse_removed
from app.registry.store import read_model
from models.checkpoint import CheckpointError, deserialise
from models.forecaster import Forecaster
from models.placement import CPU

log = structlog.get_logger()


def load_forecaster(location: str, sha256: str, device: torch.device = CPU.device) -> Forecaster:
    """The forecaster of one artifact, verified to the last byte, on a device. Blocking.

    Raises ArtifactDamaged (ArtifactMissing among them), which names the file, or Problem `unavailable`.
    """
    weights, description = load(location, sha256)
    try:
        return deserialise(weights, description).to(device)
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


async def serving_version(
    database: Database,
    location: str,
    loaded: Mapping[int, Forecaster] | None = None,
    *,
    device: torch.device = CPU.device,
) -> Serving:
    """The champion, or the newest undamaged former champion where the champion's artifact is damaged or gone.

    `loaded` are the forecasters that the process already holds: those serve whatever has become of their files.
    Raises Problem `unavailable` when the store is away.
    """
    async with database.reading() as connection:
        champion = await connection.fetchval("SELECT version FROM aliases WHERE alias = 'champion'")
        if champion is None:
            return Serving(None, None, None, None)
        versions = [champion, *await former_champions(connection, champion)]
        rows = await connection.fetch("SELECT version, artifact_sha256 FROM versions WHERE version = ANY($1)", versions)
    addresses, damage = dict(rows), None
    for version in versions:
        try:
            forecaster = (loaded or {}).get(version) or await asyncio.to_thread(
                load_forecaster, location, addresses[version], device
            )
        except ArtifactDamaged as error:
            log.error("artifact_damaged", version=version, location=location, detail=error.detail)
            damage = damage or f"The champion, version {version}, cannot be loaded. {error.detail}"
        else:
            return Serving(version, forecaster, champion, damage)
    return Serving(None, None, champion, damage)


async def former_champions(connection: asyncpg.Connection, champion: int) -> list[int]:
    """The versions that may stand in for a champion that cannot be loaded, the best first: the newest promotion first.

    Those that a roll-back left come last, for somebody found them bad; those whose artifact was removed are left out.
    """
    rows = await connection.fetch(
        """
        SELECT p.version FROM promotions p JOIN versions v ON v.version = p.version
        WHERE p.kind <> 'rollback' AND p.version <> $1 AND v.artifact_removed_at IS NULL
        GROUP BY p.version ORDER BY bool_and(p.rolled_back), max(p.id) DESC""",
        champion,
    )
    return [row["version"] for row in rows]
