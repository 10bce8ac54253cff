"""Routes of this room: each parses, calls one function, answers."""

import asyncio
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import Caller, require
from app.database.engine import Database
from app.errors import Problem
from app.http.answers import json_of
from app.http.idempotency import once
from app.http.openapi import problems
from app.http.pagination import PageQuery
from app.http.requests import Route
from app.names import Location, Sku
from app.registry import promotions, quality, store
from app.registry.schemas import (
    MAX_VERSION,
    ChampionGuard,
    Model,
    Models,
    Promotion,
    Promotions,
    Quality,
    Verdict,
    model_answer,
)
from app.registry.serving import check_artifact
from app.registry.verdicts import read_verdict
from models.cleaning.findings import Kind

router = APIRouter(prefix="/v1", route_class=Route, tags=["models"])

Reader = Annotated[Caller, Depends(require("models:read"))]
Writer = Annotated[Caller, Depends(require("models:write"))]
Version = Annotated[int, Path(ge=1, le=MAX_VERSION, description="Number of a version.")]
Guarded = Annotated[ChampionGuard | None, Body(description="A guard; the body may be absent.")]


@router.get("/models", response_model=Models, responses=problems(), summary="List versions, newest first")
async def list_models(request: Request, caller: Reader, page: PageQuery) -> Response:
    """Every version that was published, with its scores, its aliases and what was decided about it."""
    after = page.after("models", int)
    async with _database(request).snapshot() as connection:
        rows = await store.list_models(connection, before=after[0] if after else None, limit=page.limit)
    kept, token = page.cut("models", rows, lambda row: (row["version"],))
    return _json(Models(models=[model_answer(row) for row in kept], next_page_token=token))


@router.get(
    "/models/promotions", response_model=Promotions, responses=problems(), summary="List promotions, newest first"
)
async def list_promotions(request: Request, caller: Reader, page: PageQuery) -> Response:
    """The promotion log: every version that became champion, when and why."""
    after = page.after("promotions", int)
    async with _database(request).snapshot() as connection:
        rows = await promotions.list_promotions(connection, before=after[0] if after else None, limit=page.limit)
    kept, token = page.cut("promotions", rows, lambda row: (row["id"],))
    return _json(Promotions(promotions=[Promotion(**row) for row in kept], next_page_token=token))


@router.post(
    "/models/rollback", response_model=Model, responses=problems(409), summary="Go back to the champion before"
)
async def roll_back(request: Request, caller: Writer, body: Guarded = None) -> Response:
    """Undo the newest promotion: the champion becomes the previous entry of the promotion log that still stands.

    Each further roll-back goes one entry further back. Send an `Idempotency-Key` or `expected_champion`, so that a request
    repeated after a lost answer does not roll back twice.
    """
    async with _database(request).snapshot() as connection:
        target = await promotions.rollback_target(connection)
    checked = await check_artifact(_database(request), _location(request), target)

    async def effect(connection: AsyncConnection) -> Response:
        version = await promotions.roll_back(
            connection, checked, guard=body.guard if body else None, key_id=caller.key_id
        )
        return _json(model_answer(await store.read_model(connection, version)))

    return await once(request, caller, effect)


@router.get("/models/{version:number}", response_model=Model, responses=problems(404), summary="Read a version")
async def read_model(request: Request, caller: Reader, version: Version) -> Response:
    """One version, with its scores, its aliases and what was decided about it."""
    async with _database(request).snapshot() as connection:
        return _json(model_answer(await store.read_model(connection, version)))


@router.get(
    "/models/{version:number}/verdict",
    response_model=Verdict,
    responses=problems(404),
    summary="Read why an update was or was not let in",
)
async def get_verdict(request: Request, _caller: Reader, version: Version) -> Response:
    """Every check of the gate with its figure and limit, and what they came to in one sentence. Only updates have a verdict."""
    async with _database(request).snapshot() as connection:
        found = await read_verdict(connection, version)
        if found is None:
            model = await store.read_model(connection, version)
            raise Problem(
                "not_found",
                f"There is no verdict about version {version}: it is of the kind {model['kind']}, and only updates pass the "
                "gate. Its `decision` says why it was or was not promoted.",
            )
    return _json(Verdict(**found))


@router.post(
    "/models/{version:number}/promote", response_model=Model, responses=problems(404, 409), summary="Promote a version"
)
async def promote(request: Request, caller: Writer, version: Version, body: Guarded = None) -> Response:
    """Make a version the champion, whatever was decided when it was published. Its artifact is verified first.

    Promoting the champion changes nothing and is not an error.
    """
    checked = await check_artifact(_database(request), _location(request), version)

    async def effect(connection: AsyncConnection) -> Response:
        await promotions.promote(connection, checked, guard=body.guard if body else None, key_id=caller.key_id)
        return _json(model_answer(await store.read_model(connection, version)))

    return await once(request, caller, effect)


@router.get(
    "/series/quality", response_model=Quality, responses=problems(404, 409), summary="Read what was found in the sales"
)
async def read_quality(
    request: Request,
    caller: Annotated[Caller, Depends(require("sales:read"))],
    page: PageQuery,
    *,
    sku: Annotated[Sku | None, Query(description="One SKU; absent: any.")] = None,
    location: Annotated[Location | None, Query(description="One location; absent: any.")] = None,
    kind: Annotated[Kind | None, Query(description="One kind of finding; absent: any.")] = None,
    model_version: Annotated[int | None, Query(ge=1, le=MAX_VERSION, description="Absent: the champion.")] = None,
) -> Response:
    """Gaps, closed days, impossible days and days out of stock that were found when a version was trained, and what was
    done about them. Further pages stay with the version of the first one."""
    after = page.after("findings", int, str, str, date, str)
    version: int | None = after[0] if after else model_version
    if version is not None and (model_version not in (None, version) or not 1 <= version <= MAX_VERSION):
        raise Problem("invalid_request", "page_token: it belongs to another version; send it to the list it came from.")
    async with _database(request).snapshot() as connection:
        reported = await quality.reported_version(connection, version)
    wanted = quality.Wanted(sku, location, kind, after[1:] if after else None, page.limit)
    rows = await asyncio.to_thread(quality.read_findings, _location(request), reported, wanted)
    kept, token = page.cut(
        "findings", rows, lambda row: (reported.version, row["sku"], row["location"], row["first_day"], row["kind"])
    )
    return json_of(
        {"model_version": reported.version, "cleaning": reported.cleaning, "findings": kept, "next_page_token": token}
    )


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _location(request: Request) -> str:
    location: str = request.app.state.settings.artifacts_location
    return location


def _json(answer: Model | Models | Promotions | Verdict) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
