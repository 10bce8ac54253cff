"""Routes of the quarantine: each parses, calls one function, answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import Caller, require
from app.days import Day, check_ordered
from app.http.answers import database_of, json_of
from app.http.idempotency import once
from app.http.openapi import problems
from app.http.pagination import PageQuery
from app.http.requests import Route
from app.names import Location, Sku
from app.quarantine import deciding, store
from app.quarantine.checks import Reason
from app.quarantine.deciding import Decision
from app.quarantine.schemas import LARGEST_ID, Decided, QuarantineEntry, QuarantinePage, WhichEntries
from app.quarantine.store import EntryFilter, Status

router = APIRouter(prefix="/v1", route_class=Route, tags=["quarantine"])

Reader = Annotated[Caller, Depends(require("models:read"))]
Writer = Annotated[Caller, Depends(require("models:write"))]
EntryInPath = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The entry to decide.")]


def asked_entries(
    *,
    sku: Annotated[Sku | None, Query(description="One SKU; absent: any.")] = None,
    location: Annotated[Location | None, Query(description="One location; absent: any.")] = None,
    status: Annotated[Status, Query(description="What became of them.")] = "held",
    reason: Annotated[Reason | None, Query(description="One reason; absent: any.")] = None,
    post_id: Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="Those that one post brought.")] = None,
    first: Annotated[Day | None, Query(alias="from", description="First day, inclusive.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day, inclusive.")] = None,
) -> EntryFilter:
    check_ordered(first, last)
    return EntryFilter(sku, location, status, reason, post_id, first, last)


@router.get("/quarantine", response_model=QuarantinePage, responses=problems())
async def read_quarantine(
    request: Request, _caller: Reader, wanted: Annotated[EntryFilter, Depends(asked_entries)], page: PageQuery
) -> Response:
    """Posted days that cannot be true, newest entries first; by default those that nobody has decided."""
    async with database_of(request).reading() as connection:
        rows, token = await store.entries_page(connection, wanted, page)
    return json_of({"entries": rows, "next_page_token": token})


@router.post("/quarantine/confirm", response_model=Decided, responses=problems(404, 409))
async def confirm_many(request: Request, caller: Writer, which: WhichEntries) -> Response:
    """The days are true: they take part again. All or none; 409 when one was dismissed, or replaced."""
    return await _decide_many(request, caller, which, "confirmed")


@router.post("/quarantine/dismiss", response_model=Decided, responses=problems(404, 409))
async def dismiss_many(request: Request, caller: Writer, which: WhichEntries) -> Response:
    """The days are false: they stay out until another quantity is posted for them. All or none; 409 when one was confirmed, or
    replaced."""
    return await _decide_many(request, caller, which, "dismissed")


@router.post("/quarantine/{entry_id}/confirm", response_model=QuarantineEntry, responses=problems(404, 409))
async def confirm(request: Request, caller: Writer, entry_id: EntryInPath) -> Response:
    """The day is true: it takes part again, also when it was dismissed before. Said twice it changes nothing; 409 when it was
    replaced."""
    return await _decide(request, caller, entry_id, "confirmed")


@router.post("/quarantine/{entry_id}/dismiss", response_model=QuarantineEntry, responses=problems(404, 409))
async def dismiss(request: Request, caller: Writer, entry_id: EntryInPath) -> Response:
    """The day is false: it stays out until another quantity is posted for it, also when it was confirmed before. 409 when it
    was replaced."""
    return await _decide(request, caller, entry_id, "dismissed")


async def _decide(request: Request, caller: Caller, entry_id: int, decision: Decision) -> Response:
    async def effect(connection: AsyncConnection) -> Response:
        return json_of(await deciding.decide(connection, entry_id, decision, key_id=caller.key_id))

    return await once(request, caller, effect)


async def _decide_many(request: Request, caller: Caller, which: WhichEntries, decision: Decision) -> Response:
    async def effect(connection: AsyncConnection) -> Response:
        if which.ids is not None:
            ids = list(dict.fromkeys(which.ids))
            decided = await deciding.decide_all(connection, ids, decision, key_id=caller.key_id)
        else:
            assert which.post_id is not None
            decided = await deciding.decide_post(connection, which.post_id, decision, key_id=caller.key_id)
        return json_of({"decided": decided})

    return await once(request, caller, effect)
