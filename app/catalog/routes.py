"""Routes of items, locations, calendar and series: each parses, calls one function, answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.auth import Caller, require
from app.catalog import reading, series, writing
from app.catalog.fields import CALENDAR, ITEMS, LOCATIONS
from app.catalog.schemas import (
    CalendarPage,
    CalendarRow,
    Item,
    ItemsPage,
    LocationRow,
    LocationsPage,
    SeriesPage,
    Written,
    request_body,
)
from app.days import Day, check_ordered
from app.http.answers import database_of, json_of
from app.http.openapi import problems
from app.http.pagination import PageQuery
from app.http.requests import Route
from app.names import Location, Sku

router = APIRouter(prefix="/v1", route_class=Route, tags=["catalog"])

MayRead = Annotated[Caller, Depends(require("sales:read"))]
MayWrite = Annotated[Caller, Depends(require("sales:write"))]
DryRun = Annotated[bool, Query(description="Check and count only; write nothing.")]
SkuQuery = Annotated[Sku | None, Query(description="One SKU; absent: any.")]
LocationQuery = Annotated[Location | None, Query(description="One location; absent: any.")]

_ITEM = {"sku": "A-1", "name": "Espresso beans 1 kg", "category": "coffee", "launched_on": "2026-01-05"}
_LOCATION = {"location": "S1", "name": "Station Street", "country": "DE", "timezone": "Europe/Berlin"}
_DAY = {"sku": "A-1", "location": None, "date": "2026-12-24", "price": 11.9, "promo": True, "event": "Christmas Eve"}


@router.get("/items", response_model=ItemsPage, responses=problems())
async def read_items(
    request: Request,
    _caller: MayRead,
    page: PageQuery,
    sku: SkuQuery = None,
    category: Annotated[str | None, Query(max_length=200)] = None,
    brand: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Items by SKU."""
    async with database_of(request).reading() as connection:
        rows, token = await reading.items_page(connection, page, sku=sku, category=category, brand=brand)
    return json_of({"items": rows, "next_page_token": token})


@router.put(
    "/items",
    response_model=Written,
    responses=problems(400, 415),
    openapi_extra=request_body("items", Item, _ITEM),
)
async def put_items(request: Request, _caller: MayWrite, dry_run: DryRun = False) -> Response:
    """Replace items, whole rows, all or none. Others stay as they are."""
    return json_of(writing.answer_of(await writing.put_rows(request, ITEMS, dry_run=dry_run)))


@router.get("/locations", response_model=LocationsPage, responses=problems())
async def read_locations(
    request: Request,
    _caller: MayRead,
    page: PageQuery,
    location: LocationQuery = None,
    country: Annotated[str | None, Query(pattern="^[A-Z]{2}$")] = None,
) -> Response:
    """Locations by name."""
    async with database_of(request).reading() as connection:
        rows, token = await reading.locations_page(connection, page, location=location, country=country)
    return json_of({"locations": rows, "next_page_token": token})


@router.put(
    "/locations",
    response_model=Written,
    responses=problems(400, 415),
    openapi_extra=request_body("locations", LocationRow, _LOCATION),
)
async def put_locations(request: Request, _caller: MayWrite, dry_run: DryRun = False) -> Response:
    """Replace locations, whole rows, all or none. Others stay as they are."""
    return json_of(writing.answer_of(await writing.put_rows(request, LOCATIONS, dry_run=dry_run)))


@router.get("/calendar", response_model=CalendarPage, responses=problems())
async def read_calendar(
    request: Request,
    _caller: MayRead,
    page: PageQuery,
    *,
    sku: SkuQuery = None,
    location: LocationQuery = None,
    first: Annotated[Day | None, Query(alias="from", description="First day, inclusive.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day, inclusive.")] = None,
) -> Response:
    """Calendar rows by date. A SKU or location lists the rows that name it, not the general ones that also hold for it."""
    check_ordered(first, last)
    async with database_of(request).reading() as connection:
        rows, token = await reading.calendar_page(connection, page, sku=sku, location=location, first=first, last=last)
    return json_of({"calendar": rows, "next_page_token": token})


@router.put(
    "/calendar",
    response_model=Written,
    responses=problems(400, 415),
    openapi_extra=request_body("calendar", CalendarRow, _DAY),
)
async def put_calendar(request: Request, _caller: MayWrite, dry_run: DryRun = False) -> Response:
    """Replace what is known of days, whole rows, all or none. Others stay as they are."""
    return json_of(writing.answer_of(await writing.put_rows(request, CALENDAR, dry_run=dry_run)))


@router.get("/series", response_model=SeriesPage, responses=problems())
async def read_series(
    request: Request,
    _caller: MayRead,
    page: PageQuery,
    query: Annotated[
        str | None, Query(max_length=200, description="Part of the SKU or of the item's name, whatever the case.")
    ] = None,
    location: LocationQuery = None,
) -> Response:
    """Series by SKU and location."""
    async with database_of(request).reading() as connection:
        rows, token = await series.series_page(connection, page, query=query, location=location)
    return json_of({"series": rows, "next_page_token": token})


@router.delete("/series", status_code=204, response_class=Response, responses=problems(404))
async def delete_series(
    request: Request,
    _caller: Annotated[Caller, Depends(require("admin"))],
    sku: Annotated[Sku, Query(description="Its SKU.")],
    location: Annotated[Location, Query(description='Its location; absent: "".')] = "",
) -> Response:
    """Delete a series with its sales, their history and its forecasts, for good."""
    async with database_of(request).transaction() as connection:
        await series.delete_series(connection, sku, location)
    return Response(status_code=204)
