"""Jobs as callers see them: asked for, read, listed, cancelled. What workers do to the queue is in queue.py."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert, select, tuple_
from sqlalchemy import update as update_rows
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import case, func, literal

from app.database.tables import jobs
from app.jobs.queue import wake
from app.jobs.schemas import Job, JobWithHistory

_SHOWN = [column for column in jobs.c if column.name not in ("epochs", "key_id", "worker")]


class Moment(NamedTuple):
    """A job as it stood when it last changed; `event_id` names that change."""

    job: Job
    event_id: str


async def add_job(connection: AsyncConnection, request: dict[str, Any], *, key_id: int | None) -> Job:
    """Put a job on the queue and wake a worker once the transaction commits."""
    added = insert(jobs).values(kind=request["kind"], request=request, key_id=key_id).returning(*_SHOWN)
    job = _job((await connection.execute(added)).mappings().one())
    await wake(connection, job.id)
    return job


async def read_job(connection: AsyncConnection, job_id: UUID) -> JobWithHistory | None:
    row = (await connection.execute(select(*_SHOWN, jobs.c.epochs).where(jobs.c.id == job_id))).mappings().one_or_none()
    return None if row is None else JobWithHistory(**_job(row).model_dump(), history=row["epochs"])


async def read_moment(connection: AsyncConnection, job_id: UUID) -> Moment | None:
    row = (await connection.execute(select(*_SHOWN).where(jobs.c.id == job_id))).mappings().one_or_none()
    return None if row is None else Moment(_job(row), f"{row['updated_at'].timestamp():.6f}")


async def list_jobs(
    connection: AsyncConnection,
    *,
    status: str | None,
    kind: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Job]:
    """Jobs, newest first, beginning behind the key `after`."""
    wanted = select(*_SHOWN).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    if status is not None:
        wanted = wanted.where(jobs.c.status == status)
    if kind is not None:
        wanted = wanted.where(jobs.c.kind == kind)
    if after is not None:
        wanted = wanted.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(literal(after[0]), literal(after[1])))
    return [_job(row) for row in (await connection.execute(wanted)).mappings()]


async def cancel_job(connection: AsyncConnection, job_id: UUID) -> Job | None:
    """Cancel a queued job at once, ask for the cancel of a running one, leave an ended one as it is.

    While a publication has the row, this waits for its end: a publication that has begun wins.
    """
    queued = jobs.c.status == "queued"
    asked = (
        update_rows(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(("queued", "running")))
        .values(
            status=case((queued, "cancelled"), else_=jobs.c.status),
            finished_at=case((queued, func.clock_timestamp())),
            cancel_requested=True,
            updated_at=func.clock_timestamp(),
        )
        .returning(*_SHOWN)
    )
    row = (await connection.execute(asked)).mappings().one_or_none()
    if row is not None:
        await wake(connection, job_id)
        return _job(row)
    moment = await read_moment(connection, job_id)
    return None if moment is None else moment.job


def _job(row: Any) -> Job:
    shown = {name: row[name] for name in Job.model_fields if name in row}
    result = row["result"] or {}
    return Job(**shown, model_version=result.get("version"), outcome=result.get("outcome"))
