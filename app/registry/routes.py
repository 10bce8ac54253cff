"""Routes of this room: each parses, calls one function, answers."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import Caller, require
from app.database.engine import Database
from app.http.idempotency import once
from app.http.openapi import problems
from app.http.pagination import PageQuery
from app.http.requests import Route
from app.registry import promotions, store
from app.registry.schemas import MAX_VERSION, ChampionGuard, Model, Models, Promotion, Promotions, model_answer
from app.registry.serving import check_artifact

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


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _location(request: Request) -> str:
    location: str = request.app.state.settings.artifacts_location
    return location


def _json(answer: Model | Models | Promotions) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
