"""The networks of a version as they were trained, as a version of their own: without what updates have learned before and since.

A champion that does worse than them goes back to them. Blocking work runs in threads; the caller commits.
"""

import asyncio
import itertools
import uuid
from dataclasses import replace

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from app.registry.artifacts import ArtifactDamaged, load_findings, save
from app.registry.serving import load_forecaster
from app.registry.store import copy_by, publish_copy
from models.checkpoint import serialise
from models.forecaster import Forecaster

log = structlog.get_logger()

_NAMES = uuid.UUID("5d0e21c4-9a3e-4b7c-8f52-0c6a1d7e4b90")
"""Copies have no job; in its place they have a name that the same version always gives, and another one each time that the
copy's artifact was removed."""
load = load_forecaster


async def as_trained(
    connection: AsyncConnection, location: str, version: int, sha256: str, forecaster: Forecaster
) -> int:
    """The number of the version with the bare networks of a `version`, made where it was not made before. `sha256` is the address
    of that one's artifact, whose report of what cleaning found is the new one's too.

    Raises Problem where its artifact cannot be written. The registry must be locked.
    """
    for number in itertools.count():
        job_id = uuid.uuid5(_NAMES, f"{version}.{number}")
        made = await copy_by(connection, job_id)
        if made is None:
            break
        if made[1]:
            return made[0]
    bare = replace(forecaster, tracking=None, lineage=None)
    weights, description = serialise(bare)
    findings = await asyncio.to_thread(_findings, location, sha256)
    artifact = await asyncio.to_thread(save, location, weights, description, job_id=job_id, findings=findings)
    decision = f"The networks of version {version} as trained, without what updates have learned."
    return await publish_copy(
        connection, version, job_id=job_id, artifact=artifact, config=bare.describe(), decision=decision
    )


def _findings(location: str, sha256: str) -> bytes | None:
    """None where they are damaged: a lost report is no reason to stay with what is worse."""
    try:
        return load_findings(location, sha256)
    except ArtifactDamaged as damage:
        log.warning("findings_lost", detail=damage.detail)
        return None
