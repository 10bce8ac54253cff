"""The networks of a version as they were trained, as a version of their own: without what updates have learned before and since.

A champion that does worse than them goes back to them. Blocking work runs in threads; the caller commits.
"""

import asyncio
import uuid
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.registry.artifacts import save
from app.registry.serving import load_forecaster
from app.registry.store import publish_copy
from models.checkpoint import serialise
from models.forecaster import Forecaster

_NAMES = uuid.UUID("5d0e21c4-9a3e-4b7c-8f52-0c6a1d7e4b90")
"""Copies have no job; in its place they have a name that the same version always gives."""
load = load_forecaster


async def as_trained(connection: AsyncConnection, location: str, version: int, forecaster: Forecaster) -> int:
    """The number of the version with the bare networks of a `version`, made where it was not made before.

    Raises Problem where its artifact cannot be written. The registry must be locked.
    """
    bare = replace(forecaster, tracking=None, lineage=None)
    job_id = uuid.uuid5(_NAMES, str(version))
    weights, description = serialise(bare)
    artifact = await asyncio.to_thread(save, location, weights, description, job_id=job_id)
    decision = f"The networks of version {version} as trained, without what updates have learned."
    return await publish_copy(
        connection, version, job_id=job_id, artifact=artifact, config=bare.describe(), decision=decision
    )
