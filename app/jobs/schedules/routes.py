"""Routes of schedules: read and changed."""

from datetime import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from app.auth import Caller, require
from app.http.answers import database_of
from app.http.idempotency import once
from app.http.openapi import problems
from app.http.requests import Route
from app.jobs.schedules import store
from app.jobs.schedules.running import next_run
from app.jobs.schedules.schemas import ScheduleChange, ScheduleChanges, ShownSchedule, ShownSchedules

router = APIRouter(prefix="/v1", route_class=Route, tags=["training"])


@router.get("/schedules", response_model=ShownSchedules, responses=problems(), summary="Read what runs by itself")
async def get_schedules(request: Request, _caller: Annotated[Caller, Depends(require("models:read"))]) -> Response:
    async with database_of(request).snapshot() as connection:
        return await _answer(connection)


@router.put(
    "/schedules",
    response_model=ShownSchedules,
    responses=problems(400, 409, 415),
    summary="Change when something runs, or whether",
)
async def put_schedules(
    request: Request, caller: Annotated[Caller, Depends(require("models:write"))], asked: ScheduleChanges
) -> Response:
    """Changes the fields that are given, of the schedules that are named, all or none; answers as GET. What is changed counts
    from now: an hour that has passed today is not made up for, but a day of sales that is closed is learned at once.
    """

    async def effect(connection: AsyncConnection) -> Response:
        await store.change(connection, {change.name: _fields(change) for change in asked.schedules})
        return await _answer(connection)

    return await once(request, caller, effect)


def _fields(change: ScheduleChange) -> dict[str, Any]:
    fields = change.model_dump(include=change.model_fields_set - {"name"})
    return fields | ({"at": time.fromisoformat(fields["at"])} if "at" in fields else {})


async def _answer(connection: AsyncConnection) -> Response:
    now, champion = await store.database_now(connection), await store.read_champion(connection)
    sales = await store.read_sales(connection)
    shown = [
        ShownSchedule(
            name=schedule.name,
            kind=schedule.kind,
            every=schedule.every,
            at=f"{schedule.at:%H:%M}",
            timezone=schedule.timezone,
            enabled=schedule.enabled,
            closed_share=schedule.closed_share,
            last_run=schedule.last_run,
            next_run=next_run(schedule, champion, sales, now),
        )
        for schedule in await store.read_schedules(connection)
    ]
    return Response(ShownSchedules(schedules=shown).model_dump_json(), media_type="application/json")
