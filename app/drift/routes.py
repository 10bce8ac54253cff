"""The route of drifts: it parses, calls one function, answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.auth import Caller, require
from app.days import Day, check_ordered
from app.drift.schemas import DriftPage
from app.drift.store import DriftFilter, Scope, SegmentName, drifts_page
from app.http.answers import database_of, json_of
from app.http.openapi import problems
from app.http.pagination import PageQuery
from app.http.requests import Route
from app.names import Location, Sku

router = APIRouter(prefix="/v1", route_class=Route, tags=["forecasts"])


def asked(
    *,
    scope: Annotated[Scope | None, Query(description="Of series or of segments; absent: both.")] = None,
    sku: Annotated[Sku | None, Query(description="Series of one SKU; absent: any.")] = None,
    location: Annotated[Location | None, Query(description="Series at one location; absent: any.")] = None,
    segment: Annotated[SegmentName | None, Query(description="One segment; absent: any.")] = None,
    first: Annotated[Day | None, Query(alias="from", description="Found on this day or later.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Found on this day or before.")] = None,
) -> DriftFilter:
    check_ordered(first, last)
    return DriftFilter(scope, sku, location, segment, first, last)


@router.get("/drifts", response_model=DriftPage, responses=problems())
async def read_drifts(
    request: Request,
    _caller: Annotated[Caller, Depends(require("forecasts:read"))],
    wanted: Annotated[DriftFilter, Depends(asked)],
    page: PageQuery,
) -> Response:
    """Series and segments whose forecasts have become worse than they used to be beside the seasonal naive, found last first."""
    async with database_of(request).reading() as connection:
        rows, token = await drifts_page(connection, wanted, page)
    return json_of({"drifts": rows, "next_page_token": token})
