"""What a child made, on its way to the registry: described by the child, published by its parent behind the fence."""

import uuid
from dataclasses import asdict
from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.jobs.queue import Claim
from app.registry.artifacts import Artifact
from app.registry.store import Candidate, TrainedOn
from app.registry.store import publish as publish_version


def described(candidate: Candidate) -> dict[str, Any]:
    """A candidate as plain JSON."""
    return asdict(candidate) | {"job_id": str(candidate.job_id), "artifact": candidate.artifact._asdict()}


async def publish(connection: AsyncConnection, ours: Claim, told: dict[str, Any]) -> dict[str, Any]:
    """Publish what a child described; the job's result. The caller holds the job and commits."""
    trained_on = told["trained_on"] | {"cutoff": date.fromisoformat(told["trained_on"]["cutoff"])}
    candidate = Candidate(
        **told
        | {
            "job_id": uuid.UUID(told["job_id"]),
            "trained_on": TrainedOn(**trained_on),
            "artifact": Artifact(**told["artifact"]),
            "key_id": ours.key_id,
        }
    )
    assert candidate.job_id == ours.id
    published = await publish_version(connection, candidate)
    return {"version": published.version, "promoted": published.promoted, "outcome": published.decision}
