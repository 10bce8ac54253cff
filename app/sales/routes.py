"""Posting sales: spooled, checked whole, then written in one transaction. Reading them back is in posts_routes.py."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import Caller, require
from app.database.engine import Database, begun
from app.http.idempotency import idempotency_key, once
from app.http.openapi import problems
from app.http.requests import Route
from app.sales.schemas import REQUEST_BODY, SalesPosted
from app.sales.validate import CheckedSales, checked_sales
from app.sales.write import Counts, would_write, write_sales
from app.tabular.spool import received

router = APIRouter(prefix="/v1", route_class=Route, tags=["sales"])


@router.post(
    "/sales",
    response_model=SalesPosted,
    responses=problems(400, 409, 415),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def post_sales(
    request: Request,
    caller: Annotated[Caller, Depends(require("sales:write"))],
    complete: Annotated[
        bool,
        Query(description="The body names all that sold: active series without a row get 0 on its days, per location."),
    ] = False,
    dry_run: Annotated[
        bool, Query(description="Check the body and count what it would change; write nothing.")
    ] = False,
) -> Response:
    """Post daily sales: all rows or none. A day posted again replaces the whole row; what it replaced is kept.

    Without `complete=true` a day that is absent is missing, never a zero. Every bad row is named, up to 100. Send an
    `Idempotency-Key` to be able to repeat the request: the same key and body gets the first answer.
    """
    database: Database = request.app.state.database
    idempotency_key(request)  # a bad one is told before the body is read
    async with received(request) as body, checked_sales(body, request.app.state.settings.spool_folder) as checked:
        if dry_run:
            return _answer(None, checked, await _counted(database, checked, complete=complete))

        async def effect(connection: AsyncConnection) -> Response:
            post_id, counts = await write_sales(
                connection, checked, key_id=caller.key_id, content_type=body.format.value, complete=complete
            )
            return _answer(post_id, checked, counts)

        return await once(request, caller, effect, body_digest=body.sha256)


async def _counted(database: Database, checked: CheckedSales, *, complete: bool) -> Counts:
    """What a post would do. The zeros of `complete` depend on its rows, so they are written and taken back."""
    if not complete:
        async with database.snapshot() as connection:
            return await would_write(await begun(connection), checked)
    async with database.transaction() as connection, connection.begin_nested() as savepoint:
        _, counts = await write_sales(connection, checked, key_id=None, content_type=None, complete=True)
        await savepoint.rollback()
    return counts


def _answer(post_id: int | None, checked: CheckedSales, counts: Counts) -> Response:
    content: dict[str, Any] = {"post_id": post_id, "received": checked.received, **vars(counts)}
    return Response(orjson.dumps(content), media_type="application/json")
