"""Artifacts as forecasters: loading a version's, verified, and which versions may stand in for a champion that is damaged.

Which of them a process holds in memory is the forecasts' matter (app/forecasts/weights.py).
"""

import asyncio

import asyncpg

from app.database.engine import Database
from app.errors import Problem
from app.registry.artifacts import ArtifactDamaged, load
from app.registry.promotions import Checked, refuse_removed
from app.registry.store import read_model
from models.checkpoint import CheckpointError, deserialise
from models.networks.forecaster import Forecaster


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
