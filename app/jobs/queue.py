"""The queue in the `jobs` table as workers see it: claim, heartbeat, take-over, hand back, fence, end.

Every step is one statement on one row, and the database's clock decides about leases. A claim is fenced by job id, attempt
and a token that is fresh for each claim: whoever lost its lease finds no row. What callers do to jobs is in store.py.
"""

import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Problem, problem_body

CHANNEL = "shelfcast_jobs"
"""NOTIFY on this channel wakes workers: the payload is a job's id. Polling is the guarantee."""
_CLAIMING = 7_306_203
"""Advisory lock of claims, held to the end of the transaction: who looks for a running update sees the claim before."""


@dataclass(frozen=True)
class Claim:
    """One attempt at one job, held by one worker until it ends or its lease expires."""

    id: UUID
    attempt: int
    worker: str
    kind: str
    request: dict[str, Any]
    key_id: int | None

    @property
    def fence(self) -> dict[str, Any]:
        return {"id": self.id, "attempt": self.attempt, "worker": self.worker}


@dataclass(frozen=True)
class News:
    """How far a running job has come. `epochs` and `trials` are all of this attempt, so that telling it twice does no harm."""

    progress: float
    stage: str | None
    epoch: int | None
    loss: float | None
    validation: float | None
    eta_seconds: float | None
    epochs: list[dict[str, Any]]
    trials: list[dict[str, Any]] = field(default_factory=list)


class NotOurs(Exception):
    """Another attempt has the job, or it has ended: what this one made is wanted no more."""


_HELD = "id = :id AND attempt = :attempt AND worker = :worker AND status = 'running'"
_OURS = f"{_HELD} AND lease_expires_at > clock_timestamp()"
_FREED = "worker = NULL, lease_expires_at = NULL, eta_seconds = NULL, updated_at = clock_timestamp()"
_RETRIED = f"""
    status = CASE WHEN cancel_requested THEN 'cancelled' WHEN attempt >= :max_attempts THEN 'failed' ELSE 'queued' END,
    finished_at = CASE WHEN cancel_requested OR attempt >= :max_attempts THEN clock_timestamp() END,
    error = CASE WHEN NOT cancel_requested AND attempt >= :max_attempts
        THEN CAST(:error AS jsonb) || jsonb_build_object('instance', '/v1/training-jobs/' || id) END,
    run_after = clock_timestamp() + make_interval(secs => :retry_seconds * 2 ^ (attempt - 1)),
    {_FREED}"""
"""Back to the queue with a growing delay, or to its end when the attempts are spent or a cancel was asked for."""


async def claim(connection: AsyncConnection, worker: str, *, lease_seconds: float) -> Claim | None:
    """Take the job that has waited longest, if there is one. Two workers never take the same.

    An update waits while another one runs: both would learn the same days from the same version.
    """
    token = f"{worker}:{secrets.token_hex(4)}"
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CLAIMING})
    row = (
        await connection.execute(
            text("""
            WITH next AS (
                SELECT id FROM jobs WHERE status = 'queued' AND run_after <= clock_timestamp() AND (kind <> 'update'
                    OR NOT EXISTS (SELECT FROM jobs other WHERE other.kind = 'update' AND other.status = 'running'))
                ORDER BY run_after, created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
            UPDATE jobs SET status = 'running', attempt = attempt + 1, worker = :token,
                lease_expires_at = clock_timestamp() + make_interval(secs => :lease),
                started_at = coalesce(started_at, clock_timestamp()), updated_at = clock_timestamp(),
                progress = 0, stage = NULL, epoch = NULL, loss = NULL, validation = NULL, eta_seconds = NULL, epochs = '[]'
            FROM next WHERE jobs.id = next.id
            RETURNING jobs.id, attempt, kind, key_id, CAST(request AS text) AS request"""),
            {"token": token, "lease": lease_seconds},
        )
    ).one_or_none()
    return None if row is None else Claim(row.id, row.attempt, token, row.kind, orjson.loads(row.request), row.key_id)


async def beat(connection: AsyncConnection, ours: Claim, *, lease_seconds: float, news: News | None) -> bool | None:
    """A sign of life: prolongs the lease and tells the news. Whether a cancel is asked for; None when the lease is lost."""
    told = (
        ""
        if news is None
        else (
            ", progress = :progress, stage = :stage, epoch = :epoch, loss = :loss, validation = :validation,"
            " eta_seconds = :eta_seconds, epochs = CAST(:epochs AS jsonb), updated_at = clock_timestamp()"
        )
    )
    values = {} if news is None else {**vars(news), "epochs": _json(news.epochs)}
    trials = values.pop("trials", [])
    result = await connection.execute(
        text(f"""
        UPDATE jobs SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease){told}
        WHERE {_OURS} RETURNING cancel_requested"""),
        {**ours.fence, "lease": lease_seconds, **values},
    )
    cancel: bool | None = result.scalar_one_or_none()
    if cancel is not None and trials:
        await keep_trials(connection, ours.id, trials)
    return cancel


async def keep_trials(connection: AsyncConnection, job_id: UUID, trials: list[dict[str, Any]]) -> None:
    """Keep trials that have ended, in the transaction of a beat that found the job to be ours; one known already stays."""
    await connection.execute(
        text("""
        INSERT INTO trials (job_id, number, state, params, validation, value, seconds)
        SELECT :job_id, number, state, params, validation, value, seconds
        FROM jsonb_to_recordset(CAST(:trials AS jsonb))
            AS t(number int, state text, params jsonb, validation float8[], value float8, seconds float8)
        ON CONFLICT DO NOTHING"""),
        {"job_id": job_id, "trials": _json(trials)},
    )


async def look(connection: AsyncConnection, ours: Claim) -> bool | None:
    """As `beat`, without a write: whether a cancel is asked for; None when the lease is lost."""
    result = await connection.execute(text(f"SELECT cancel_requested FROM jobs WHERE {_OURS}"), ours.fence)
    return result.scalar_one_or_none()


async def take_over(connection: AsyncConnection, *, max_attempts: int, retry_seconds: float) -> list[tuple[UUID, str]]:
    """Free every job whose lease has expired; returns each with its new status."""
    lost = Problem("worker_lost", f"The worker was lost {max_attempts} times; the job is not tried again.")
    rows = await connection.execute(
        text(f"""
        WITH lost AS (
            SELECT id FROM jobs WHERE status = 'running' AND lease_expires_at <= clock_timestamp()
            ORDER BY id FOR UPDATE SKIP LOCKED)
        UPDATE jobs SET {_RETRIED} WHERE id IN (SELECT id FROM lost) RETURNING id, status"""),
        {"max_attempts": max_attempts, "retry_seconds": retry_seconds, "error": _json(problem_body(lost))},
    )
    return [(row.id, row.status) for row in rows]


async def retry(
    connection: AsyncConnection, ours: Claim, problem: Problem, *, max_attempts: int, retry_seconds: float
) -> str | None:
    """Give up this attempt for a cause that may pass; the job's new status, None when the lease is lost."""
    return await _move(
        connection,
        ours,
        _RETRIED,
        {"max_attempts": max_attempts, "retry_seconds": retry_seconds, "error": _json(problem_body(problem))},
    )


async def hand_back(connection: AsyncConnection, ours: Claim) -> str | None:
    """Give the job back at shutdown: the attempt does not count and the job keeps its place."""
    return await _move(
        connection,
        ours,
        f"""status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END,
        finished_at = CASE WHEN cancel_requested THEN clock_timestamp() END,
        attempt = attempt - 1, progress = 0, {_FREED}""",
    )


async def hold(connection: AsyncConnection, ours: Claim) -> bool | None:
    """The fence: locks our row until the transaction ends. Whether a cancel is asked for; None when the lease is lost.

    Until the commit no cancel and no take-over gets through: a publication that has begun wins.
    """
    result = await connection.execute(text(f"SELECT cancel_requested FROM jobs WHERE {_OURS} FOR UPDATE"), ours.fence)
    return result.scalar_one_or_none()


async def check_held(connection: AsyncConnection, fence: dict[str, Any], *, until_commit: bool = False) -> None:
    """Raises NotOurs where a job is no longer that of an attempt. `until_commit`: it also stays so until the transaction has
    ended, while signs of life go on."""
    lock = " FOR KEY SHARE" if until_commit else ""
    result = await connection.execute(text(f"SELECT id FROM jobs WHERE {_HELD}{lock}"), fence)
    if result.scalar_one_or_none() is None:
        raise NotOurs(f"The job {fence['id']} is no longer that of attempt {fence['attempt']}.")


async def succeed(connection: AsyncConnection, ours: Claim, result: dict[str, Any]) -> str | None:
    return await _move(
        connection,
        ours,
        f"status = 'succeeded', finished_at = clock_timestamp(), progress = 1, result = CAST(:result AS jsonb), {_FREED}",
        {"result": _json(result)},
    )


async def fail(connection: AsyncConnection, ours: Claim, problem: Problem) -> str | None:
    return await _move(
        connection,
        ours,
        f"status = 'failed', finished_at = clock_timestamp(), error = CAST(:error AS jsonb), {_FREED}",
        {"error": _json(problem_body(problem, instance=f"/v1/training-jobs/{ours.id}"))},
    )


async def cancelled(connection: AsyncConnection, ours: Claim) -> str | None:
    return await _move(connection, ours, f"status = 'cancelled', finished_at = clock_timestamp(), {_FREED}")


async def wake(connection: AsyncConnection, job_id: UUID | str) -> None:
    """Tell all workers, once the transaction commits, that something about a job changed."""
    await connection.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": CHANNEL, "id": str(job_id)})


async def _move(
    connection: AsyncConnection, ours: Claim, changes: str, values: dict[str, Any] | None = None
) -> str | None:
    """Leave `running`, if the job is still ours: its new status, None when the lease is lost."""
    # A transaction that holds the row keeps it even past the lease: nobody could take it over meanwhile.
    result = await connection.execute(
        text(f"UPDATE jobs SET {changes} WHERE {_HELD} RETURNING status"), {**ours.fence, **(values or {})}
    )
    status = result.scalar_one_or_none()
    if status == "queued":
        await wake(connection, ours.id)
    return status


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
