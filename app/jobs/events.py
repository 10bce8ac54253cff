"""A job as a stream of server-sent events: the job whenever it changed, a comment when it is quiet, closed at its end.

A stream holds no connection of the pool between two looks. It ends when the client leaves, the key dies or the service stops;
a client that comes back with Last-Event-ID goes on where it was.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Request
from fastapi.sse import format_sse_event

from app.database.engine import Database
from app.errors import Problem
from app.jobs import store
from app.jobs.schemas import ENDED

LOOK_SECONDS = 0.5
COMMENT_SECONDS = 15.0
NO_CACHE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=100, description="`id` of the last event that was received.")
]

EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`data` is the job as JSON, `id` names its change; a comment every 15 s; closed at the job's end",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                }
            }
        },
    },
    204: {"description": "The job has ended, and `Last-Event-ID` was its last event: there is nothing more to come"},
}


async def event_stream(request: Request, job_id: UUID, *, seen: str | None) -> AsyncIterator[bytes]:
    """The events after the one named `seen`, until the job ends, is forgotten, or nobody may listen any more."""
    stopping: asyncio.Event = request.app.state.stopping
    spoken = time.monotonic()
    while True:
        try:
            moment = await _look(request, job_id)
        except Problem as problem:  # the database is away: the client may stay
            yield format_sse_event(comment=problem.detail)
            spoken = time.monotonic()
        else:
            if moment is None:
                return
            if moment.event_id != seen:
                yield format_sse_event(data_str=moment.job.model_dump_json(), id=moment.event_id)
                seen, spoken = moment.event_id, time.monotonic()
            if moment.job.status in ENDED:
                return
        if time.monotonic() - spoken >= COMMENT_SECONDS:
            yield format_sse_event(comment="nothing new")
            spoken = time.monotonic()
        if await _stops_within(stopping, LOOK_SECONDS):
            return


async def _look(request: Request, job_id: UUID) -> store.Moment | None:
    """The job now; None when it is gone or the listener's key was revoked. Raises Problem `unavailable`."""
    key = request.headers["authorization"].partition(" ")[2].strip()
    if await request.app.state.keys.find(key) is None:
        return None
    database: Database = request.app.state.database
    async with database.transaction() as connection:
        return await store.read_moment(connection, job_id)


async def _stops_within(stopping: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await stopping.wait()
    except TimeoutError:
        return False
