"""The networks of a version as they were trained, as a version of their own: without what updates have learned before and since.

A champion that does worse than them goes back to them. Blocking work runs in threads; the caller commits.
"""

import asyncio
import itertools
import uuid
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.registry.artifacts import findings_left, save
from app.registry.serving import load_forecaster
from app.registry.store import copy_by, publish_copy
from models.checkpoint import serialise

_NAMES = uuid.UUID("5d0e21c4-9a3e-4b7c-8f52-0c6a1d7e4b90")
"""Copies have no job; in its place they have a name that the same version always gives, and another one each time that the
copy's artifact was removed."""


async def as_trained(connection: AsyncConnection, location: str, version: int, sha256: str) -> int:
    """The number of the version with the bare networks of a `version`, whose artifact is `sha256`: itself where there is nothing
    else in it, or one that was made of it, made now where there is none. What cleaning found for the one was found for the other.

    Raises Problem where the artifact cannot be read, or the new one not be written. The registry must be locked.
    """
    forecaster = await asyncio.to_thread(load_forecaster, location, sha256)
    if forecaster.tracking is None and forecaster.lineage is None:
        return version
    for number in itertools.count():
        job_id = uuid.uuid5(_NAMES, f"{version}.{number}")
        made = await copy_by(connection, job_id)
        if made is None:
            break
        if made[1]:
            return made[0]
    bare = replace(forecaster, tracking=None, lineage=None)
    weights, description = serialise(bare)
    findings = await asyncio.to_thread(findings_left, location, sha256, version=version)
    artifact = await asyncio.to_thread(save, location, weights, description, job_id=job_id, findings=findings)
    decision = f"The networks of version {version} as trained, without what updates have learned."
    return await publish_copy(
        connection, version, job_id=job_id, artifact=artifact, config=bare.describe(), decision=decision
    )
