"""Routes of training jobs: each parses, calls one function, answers."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response, StreamingResponse

from app.auth import Caller, require
from app.database.engine import Database
from app.errors import Problem
from app.forecasts.formats import JSON, PARQUET, chosen_format
from app.http.idempotency import once
from app.http.openapi import problems
from app.http.pagination import PageQuery
from app.http.requests import Route
from app.jobs import results, store
from app.jobs.backtest_schemas import Backtest
from app.jobs.events import EVENTS, NO_CACHE, LastEventId, event_stream
from app.jobs.schemas import ENDED, Job, JobRequest, Jobs, JobWithHistory, Kind, Status

router = APIRouter(prefix="/v1", route_class=Route, tags=["training"])

BACKTEST: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What was found, in the format that `Accept` likes best",
        "content": {PARQUET: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {"Content-Disposition": {"description": "A file name, for Parquet.", "schema": {"type": "string"}}},
    }
}
Reader = Annotated[Caller, Depends(require("models:read"))]
Shown = TypeVar("Shown")
Writer = Annotated[Caller, Depends(require("models:write"))]


@router.post(
    "/training-jobs",
    status_code=202,
    response_model=Job,
    responses=problems(400, 404, 409, 415),
    summary="Train a network, update the champion, or backtest",
)
async def post_job(request: Request, caller: Writer, asked: JobRequest) -> Response:
    async def effect(connection: AsyncConnection) -> Response:
        wanted = await store.filled_in(connection, asked)
        job = await store.add_job(connection, wanted, key_id=caller.key_id)
        return _answer(job, 202, headers={"Location": f"/v1/training-jobs/{job.id}"})

    return await once(request, caller, effect)


@router.get("/training-jobs", response_model=Jobs, responses=problems(), summary="List jobs, newest first")
async def get_jobs(
    request: Request, _caller: Reader, page: PageQuery, status: Status | None = None, kind: Kind | None = None
) -> Response:
    after: Any = page.after("jobs", datetime, UUID)
    async with _database(request).transaction() as connection:
        found = await store.list_jobs(connection, status=status, kind=kind, after=after, limit=page.limit)
    jobs, token = page.cut("jobs", found, lambda job: (job.created_at, job.id))
    return _answer(Jobs(jobs=jobs, next_page_token=token))


@router.get("/training-jobs/{job_id}", response_model=JobWithHistory, responses=problems(404), summary="Read a job")
async def get_job(request: Request, _caller: Reader, job_id: str) -> Response:
    async with _database(request).transaction() as connection:
        job = await store.read_job(connection, parsed(job_id))
    return _answer(_found(job, job_id))


@router.get(
    "/training-jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=problems(404) | EVENTS,
    summary="Follow a job",
)
async def get_events(request: Request, _caller: Reader, job_id: str, last_event_id: LastEventId = None) -> Response:
    """Server-sent events: the job whenever it changes, closed at its end. To go on after a break, send `Last-Event-ID`."""
    job = parsed(job_id)
    async with _database(request).transaction() as connection:
        moment = _found(await store.read_moment(connection, job), job_id)
    if moment.job.status in ENDED and moment.event_id == last_event_id:
        return Response(status_code=204)
    events = event_stream(request, job, seen=last_event_id)
    return StreamingResponse(events, media_type="text/event-stream", headers=NO_CACHE)


@router.get(
    "/training-jobs/{job_id}/backtest",
    response_model=Backtest,
    responses=problems(404, 406, 409) | BACKTEST,
    summary="Read what a backtest found",
)
async def get_backtest(
    request: Request, _caller: Reader, job_id: str, accept: Annotated[str | None, Header()] = None
) -> Response:
    """In JSON the summary: overall, by segment, by days ahead and by window. In Parquet a row for every source, series, window
    and stretch of days ahead, whose sums give any other aggregate (docs/models.md).
    """
    media_type = chosen_format(accept, (JSON, PARQUET))
    job = parsed(job_id)
    async with _database(request).transaction() as connection:
        found = _found(await store.read_backtest(connection, job), job_id)
    headers = {"Vary": "Accept"}
    if media_type == JSON:
        return _answer(found, headers=headers)
    location: str = request.app.state.settings.artifacts_location
    table = await asyncio.to_thread(results.load, location, found.table.sha256)
    headers["Content-Disposition"] = f'attachment; filename="backtest-{job}.parquet"'
    return Response(table, media_type=PARQUET, headers=headers)


@router.post(
    "/training-jobs/{job_id}/cancel",
    response_model=Job,
    responses=problems(404, 409) | {202: {"model": Job, "description": "Asked to stop; it will within two seconds"}},
    summary="Cancel a job",
)
async def cancel_job(request: Request, caller: Writer, job_id: str) -> Response:
    async def effect(connection: AsyncConnection) -> Response:
        job = _found(await store.cancel_job(connection, parsed(job_id)), job_id)
        return _answer(job, 200 if job.status in ENDED else 202)

    return await once(request, caller, effect)


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def parsed(job_id: str) -> UUID:
    try:
        return UUID(job_id)
    except ValueError as error:
        raise _unknown(job_id) from error


def _found(job: Shown | None, job_id: str) -> Shown:
    if job is None:
        raise _unknown(job_id)
    return job


def _unknown(job_id: str) -> Problem:
    return Problem("not_found", f"There is no training job {job_id!r}; finished ones are removed after a time.")


def _answer(body: BaseModel, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, media_type="application/json", headers=headers)
