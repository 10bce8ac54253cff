"""Routes of this room: each parses, calls one function, answers."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from app.auth import require
from app.errors import Problem
from app.forecasts.bulk import forecast_file
from app.forecasts.formats import ARROW, CSV, JSON, NDJSON, PARQUET, chosen_format
from app.forecasts.periods import Period
from app.forecasts.reading import read_one
from app.forecasts.rendered import names_etag
from app.forecasts.schemas import (
    DEFAULT_LEVELS,
    LARGEST_VERSION,
    LONGEST_HORIZON,
    ForecastQuery,
    SeriesForecast,
    SeriesForecasts,
    Wanted,
    levels_of,
)
from app.names import Location, Sku
from app.openapi import problems
from app.requests import Route


class SeriesRoute(Route):
    """A route that says where to go with more than one SKU."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                if any(e["field"] == "query.sku" and e["code"] == "repeated_parameter" for e in problem.errors):
                    detail = f"{problem.detail} POST /v1/forecasts/query answers for many series."
                    raise Problem(problem.code, detail, errors=problem.errors) from problem
                raise

        return handle


router = APIRouter(prefix="/v1", route_class=SeriesRoute, tags=["forecasts"])


_ONE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"model": SeriesForecast, "headers": {"ETag": {"schema": {"type": "string"}}}},
    304: {"description": "The answer is still the one that `If-None-Match` names"},
}


@router.get("/forecasts", responses=_ONE_ANSWER | problems(404, 409))
async def get_forecast(
    request: Request,
    _caller: Annotated[object, Depends(require("forecasts:read"))],
    *,
    sku: Sku,
    location: Location = "",
    horizon: Annotated[int | None, Query(ge=1, le=LONGEST_HORIZON)] = None,
    quantiles: str = DEFAULT_LEVELS,
    period: Period = "day",
    model_version: Annotated[int | None, Query(ge=1, le=LARGEST_VERSION)] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The forecast of one series, from the last day of sales it has."""
    wanted = Wanted(horizon, levels_of(quantiles), period, model_version)
    rendered = await read_one(request.app.state.inference, request.app.state.rendered, sku, location, wanted)
    headers = {"ETag": rendered.etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and names_etag(if_none_match, rendered.etag):
        return Response(status_code=304, headers=headers)
    return Response(rendered.body, media_type=JSON, headers=headers)


_FILE_SCHEMA = {"schema": {"type": "string", "format": "binary"}}
_MANY_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The forecasts, in the format that `Accept` likes best",
        "model": SeriesForecasts,
        "content": {
            NDJSON: {"schema": {"type": "string"}, "example": "one object of `GET /v1/forecasts` a line"},
            CSV: {"schema": {"type": "string"}},
            PARQUET: _FILE_SCHEMA,
            ARROW: _FILE_SCHEMA,
        },
    }
}


@router.post("/forecasts/query", responses=_MANY_ANSWERS | problems(400, 404, 406, 409, 415))
async def query_forecasts(
    request: Request,
    _caller: Annotated[object, Depends(require("forecasts:read"))],
    query: ForecastQuery,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """The forecasts of many series, streamed: up to 50,000 named ones, or all that are active."""
    media_type = chosen_format(accept)
    pieces = await forecast_file(request.app.state.inference, query, media_type)
    return StreamingResponse(pieces, media_type=media_type, headers={"Vary": "Accept"})
