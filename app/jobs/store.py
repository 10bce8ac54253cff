"""Jobs as callers see them: asked for, read, listed, cancelled. What workers do to the queue is in queue.py."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, insert, select, tuple_
from sqlalchemy import update as update_rows
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import case, func, literal

from app.database.tables import jobs
from app.errors import Problem
from app.jobs.backtest_schemas import Backtest
from app.jobs.queue import wake
from app.jobs.schemas import Job, JobRequest, JobWithHistory, VersionBacktestRequest
from app.registry.promotions import refuse_removed
from app.registry.store import read_model

_SHOWN: list[ColumnElement[Any]] = [
    column for column in jobs.c if column.name not in ("epochs", "key_id", "worker", "result")
]
_SHOWN.append(jobs.c.result.op("-", return_type=JSONB)("backtest").label("result"))  # which is long, and read alone


class Moment(NamedTuple):
    """A job as it stood when it last changed; `event_id` names that change."""

    job: Job
    event_id: str


async def filled_in(connection: AsyncConnection, asked: JobRequest) -> dict[str, Any]:
    """What was asked for with every default, as the job keeps it.

    Raises Problem for a backtest of a version that does not exist, has lost its artifact, or does not go as far ahead.
    """
    if not isinstance(asked, VersionBacktestRequest):
        return asked.filled_in()
    model = await read_model(connection, asked.model_version)
    await refuse_removed(connection, asked.model_version)
    return asked.filled_in(model["horizon"])


async def add_job(connection: AsyncConnection, request: dict[str, Any], *, key_id: int | None) -> Job:
    """Put a job on the queue and wake a worker once the transaction commits."""
    added = insert(jobs).values(kind=request["kind"], request=request, key_id=key_id).returning(*_SHOWN)
    job = _job((await connection.execute(added)).mappings().one())
    await wake(connection, job.id)
    return job


async def read_job(connection: AsyncConnection, job_id: UUID) -> JobWithHistory | None:
    row = (await connection.execute(select(*_SHOWN, jobs.c.epochs).where(jobs.c.id == job_id))).mappings().one_or_none()
    return None if row is None else JobWithHistory(**_job(row).model_dump(), history=row["epochs"])


async def read_backtest(connection: AsyncConnection, job_id: UUID) -> Backtest | None:
    """The result of a backtest; None when there is no such job.

    Raises Problem `not_found` for a job of another kind, `conflict` for one that has not ended well.
    """
    columns = (jobs.c.kind, jobs.c.status, jobs.c.error, jobs.c.result)
    row = (await connection.execute(select(*columns).where(jobs.c.id == job_id))).one_or_none()
    if row is None:
        return None
    if row.kind != "backtest":
        raise Problem("not_found", f"The job {str(job_id)!r} is no backtest, but of the kind {row.kind}.")
    if row.status != "succeeded":
        why = {
            "failed": f"has failed: {(row.error or {}).get('detail')}",
            "cancelled": "was cancelled, so it has no result.",
        }.get(row.status, f"is {row.status}; its result is there once it has succeeded.")
        raise Problem("conflict", f"The backtest {why}")
    return Backtest(id=job_id, outcome=row.result["outcome"], table=row.result["table"], **row.result["backtest"])


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
    told = {name: result.get(name) for name in ("outcome", "tuning", "compressed")}
    return Job(**shown, model_version=result.get("version"), **told)
