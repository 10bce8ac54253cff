"""Routes that read sales back, delete them, list posts and undo them: each parses, calls one function, answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth import Caller, require
from app.days import Day, Moment, check_ordered
from app.errors import Problem
from app.http.answers import database_of, json_of
from app.http.idempotency import once
from app.http.openapi import problems
from app.http.pagination import PageQuery
from app.http.requests import Route
from app.names import Location, Sku
from app.sales import posts, reading
from app.sales.posts_schemas import Deleted, PostKind, PostsPage, SalesPage, Undone
from app.sales.reading import SalesFilter

router = APIRouter(prefix="/v1", route_class=Route, tags=["sales"])


def asked_sales(
    sku: Annotated[Sku | None, Query(description="One SKU; absent: any.")] = None,
    location: Annotated[Location | None, Query(description="One location; absent: any.")] = None,
    first: Annotated[Day | None, Query(alias="from", description="First day, inclusive.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day, inclusive.")] = None,
) -> SalesFilter:
    check_ordered(first, last)
    return SalesFilter(sku, location, first, last)


Asked = Annotated[SalesFilter, Depends(asked_sales)]


@router.get("/sales", response_model=SalesPage, responses=problems())
async def read_sales(
    request: Request,
    _caller: Annotated[Caller, Depends(require("sales:read"))],
    wanted: Asked,
    page: PageQuery,
    changed_since: Annotated[
        Moment | None,
        Query(
            description="Only rows written or brought back since this time. A post counts from when it was recorded, just"
            " before it could be seen: ask with an overlap of some seconds; a row read twice does no harm."
        ),
    ] = None,
) -> Response:
    """Sales by SKU, location and day, as they stand now."""
    async with database_of(request).reading() as connection:
        rows, token = await reading.sales_page(connection, wanted, page, changed_since=changed_since)
    return json_of({"sales": rows, "next_page_token": token})


@router.delete("/sales", response_model=Deleted, responses=problems())
async def delete_sales(
    request: Request, caller: Annotated[Caller, Depends(require("sales:write"))], wanted: Asked
) -> Response:
    """Delete what GET with the same parameters lists. At least one is needed. `POST /v1/posts/{post_id}/undo` brings it back."""
    if wanted.is_empty:
        detail = "Say what to delete: give at least one of sku, location, from, to."
        error = {"row": None, "field": "sku", "code": "missing", "detail": detail}
        raise Problem("invalid_request", detail, errors=[error])
    async with database_of(request).transaction() as connection:
        deleted, post_id = await reading.delete_sales(connection, wanted, key_id=caller.key_id)
    return json_of({"deleted": deleted, "post_id": post_id})


@router.get("/posts", response_model=PostsPage, responses=problems())
async def read_posts(
    request: Request,
    _caller: Annotated[Caller, Depends(require("sales:read"))],
    page: PageQuery,
    kind: Annotated[PostKind | None, Query(description="Only posts of this kind.")] = None,
) -> Response:
    """Every accepted write of sales, newest first."""
    async with database_of(request).reading() as connection:
        rows, token = await posts.posts_page(connection, page, kind=kind)
    return json_of({"posts": rows, "next_page_token": token})


@router.post("/posts/{post_id}/undo", response_model=Undone, responses=problems(404, 409))
async def undo_post(
    request: Request,
    caller: Annotated[Caller, Depends(require("sales:write"))],
    post_id: Annotated[int, Path(ge=1, le=2**63 - 1, description="The post to undo.")],
) -> Response:
    """Give back what a post replaced or deleted, and take away what it added, zeros of `complete=true` included.

    409 when a later post touched one of its rows (up to 100 are named) or when it was undone before. An undo cannot be
    undone: post the sales again.
    """

    async def effect(connection: AsyncConnection) -> Response:
        return json_of(await posts.undo_post(connection, post_id, key_id=caller.key_id))

    return await once(request, caller, effect)
