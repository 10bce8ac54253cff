"""Versions in the database: publishing a new one, reading them, noting their use. Their SQL lives here and in promotions.py.

A version is never changed after its publication (a trigger holds that); its aliases and the log of promotions are apart.
"""

import uuid
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, NamedTuple

import asyncpg
import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Problem
from app.registry.artifacts import Artifact
from app.registry.decision import Champions, Kind, Promote, complete, decide, decide_update
from app.registry.promotions import PromotionKind, champion, lock_registry, point_alias, set_champion
from app.registry.verdicts import keep_verdict


@dataclass(frozen=True)
class TrainedOn:
    """The data that a version learned from: newest day (inclusive), rows, series, SHA-256 of the panel."""

    cutoff: date
    rows: int
    series: int
    fingerprint: str


@dataclass(frozen=True)
class Candidate:
    """What a job made and saved, ready to be published.

    `judged_against` is the champion that the metrics were measured beside (None: there was none). Where it could not be
    loaded, it is named all the same and the metrics have no entry for it.
    """

    job_id: uuid.UUID
    kind: Kind
    architecture: str
    parent: int | None
    horizon: int
    context_length: int
    trained_on: TrainedOn
    config: dict[str, Any]
    metrics: dict[str, Any]
    artifact: Artifact
    judged_against: int | None
    promote: Promote
    key_id: int | None = None
    verdict: dict[str, Any] | None = None
    """What the gate says of an update: accepted, sentence, checks, days."""


class Published(NamedTuple):
    version: int
    promoted: bool
    decision: str


async def publish(connection: AsyncConnection, candidate: Candidate) -> Published:
    """Give the candidate the next number, decide about it, set the aliases. Nothing is visible before the caller commits.

    Safe to repeat: a job has one version at most, and a second call answers what the first one did.
    """
    await lock_registry(connection)
    done = await _published_by(connection, candidate.job_id)
    if done is not None:
        return done
    champions = Champions(candidate.judged_against, await champion(connection))
    verdict = None if candidate.verdict is None else complete(candidate.verdict, champions)
    if verdict is None:
        decision = decide(candidate.promote, candidate.metrics, champions)
    else:
        decision = decide_update(candidate.promote, verdict)
    version = await _insert(connection, candidate, decision.sentence)
    if verdict is not None:
        await keep_verdict(connection, version, verdict, against=candidate.judged_against)
    if decision.promoted:
        kind: PromotionKind = "request" if candidate.promote == "always" else "merit"
        await set_champion(connection, version, kind=kind, reason=decision.sentence, key_id=candidate.key_id)
    else:
        await point_alias(connection, "challenger", version)
    return Published(version, decision.promoted, decision.sentence)


async def publish_copy(
    connection: AsyncConnection,
    version: int,
    *,
    job_id: uuid.UUID,
    artifact: Artifact,
    config: dict[str, Any],
    decision: str,
) -> int:
    """Publish what is a part of a `version` under a number of its own; its metrics and its time are the other's. The registry
    must be locked, and the caller decides about aliases."""
    inserted = await connection.execute(
        text("""
            INSERT INTO versions (version, architecture, kind, horizon, context_length, trained_on, config, metrics, decision,
                                  artifact_sha256, artifact_bytes, job_id, created_at)
            SELECT (SELECT max(version) + 1 FROM versions), architecture, 'train', horizon, context_length, trained_on,
                   CAST(:config AS jsonb), metrics, :decision, :sha256, :bytes, :job_id, created_at
            FROM versions WHERE version = :version
            RETURNING version"""),
        {
            "version": version,
            "config": orjson.dumps(config).decode(),
            "decision": decision,
            "sha256": artifact.sha256,
            "bytes": artifact.bytes,
            "job_id": job_id,
        },
    )
    number: int = inserted.scalar_one()
    return number


async def copy_by(connection: AsyncConnection, job_id: uuid.UUID) -> tuple[int, bool] | None:
    """The number of such a copy and whether its artifact is still there; None where there is no such one."""
    found = await connection.execute(
        text("SELECT version, artifact_removed_at IS NULL FROM versions WHERE job_id = :job_id"), {"job_id": job_id}
    )
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def _published_by(connection: AsyncConnection, job_id: uuid.UUID) -> Published | None:
    found = await connection.execute(
        text("""
            SELECT version, decision,
                   EXISTS (SELECT FROM promotions p WHERE p.version = v.version AND p.promoted_at = v.created_at) AS promoted
            FROM versions v WHERE job_id = :job_id"""),
        {"job_id": job_id},
    )
    row = found.one_or_none()
    return None if row is None else Published(row.version, row.promoted, row.decision)


async def _insert(connection: AsyncConnection, candidate: Candidate, decision: str) -> int:
    inserted = await connection.execute(
        text("""
            INSERT INTO versions (version, architecture, kind, parent, horizon, context_length, trained_on, config, metrics,
                                  decision, artifact_sha256, artifact_bytes, job_id)
            SELECT coalesce(max(version), 0) + 1, :architecture, :kind, :parent, :horizon, :context_length,
                   CAST(:trained_on AS jsonb), CAST(:config AS jsonb), CAST(:metrics AS jsonb),
                   :decision, :sha256, :bytes, :job_id
            FROM versions
            RETURNING version"""),
        {
            "architecture": candidate.architecture,
            "kind": candidate.kind,
            "parent": candidate.parent,
            "horizon": candidate.horizon,
            "context_length": candidate.context_length,
            # orjson writes NaN and Infinity as null, which is what a number that was not measured is.
            "trained_on": orjson.dumps(asdict(candidate.trained_on)).decode(),
            "config": orjson.dumps(candidate.config).decode(),
            "metrics": orjson.dumps(candidate.metrics).decode(),
            "decision": decision,
            "sha256": candidate.artifact.sha256,
            "bytes": candidate.artifact.bytes,
            "job_id": candidate.job_id,
        },
    )
    version: int = inserted.scalar_one()
    return version


_MODEL = """
    SELECT v.version, v.architecture, v.kind, v.parent, v.horizon, v.context_length, v.trained_on, v.config, v.metrics,
           v.decision, v.artifact_sha256, v.artifact_bytes, v.artifact_removed_at, v.last_used_at, v.created_at,
           ARRAY(SELECT alias FROM aliases a WHERE a.version = v.version ORDER BY alias) AS aliases
    FROM versions v"""


async def list_models(connection: AsyncConnection, *, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Versions with their aliases, newest first, beginning below the version `before`."""
    rows = await connection.execute(
        text(
            f"{_MODEL} WHERE CAST(:before AS bigint) IS NULL OR v.version < :before ORDER BY v.version DESC LIMIT :limit"
        ),
        {"before": before, "limit": limit},
    )
    return [dict(row) for row in rows.mappings()]


async def read_model(connection: AsyncConnection, version: int) -> dict[str, Any]:
    """One version with its aliases. Raises Problem `not_found`."""
    rows = await connection.execute(text(f"{_MODEL} WHERE v.version = :version"), {"version": version})
    row = rows.mappings().one_or_none()
    if row is None:
        newest = (await connection.execute(text("SELECT max(version) FROM versions"))).scalar_one()
        there_is = "no version was published yet" if newest is None else f"the newest is version {newest}"
        raise Problem("not_found", f"There is no version {version}; {there_is}.")
    return dict(row)


async def touch_version(connection: asyncpg.Connection, version: int) -> None:
    """Note that a version answers forecasts; written once an hour at most, however often this is called."""
    await connection.execute(
        "UPDATE versions SET last_used_at = now() WHERE version = $1 AND last_used_at < now() - interval '1 hour'",
        version,
    )
