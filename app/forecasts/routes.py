"""Routes of this room: each parses, calls one function, answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from app.auth import require
from app.forecasts.bulk import forecast_file
from app.forecasts.fast_route import OneSeriesRoute
from app.forecasts.formats import ARROW, CSV, NDJSON, PARQUET, chosen_format
from app.forecasts.reading import read_one
from app.forecasts.rendered import names_etag
from app.forecasts.schemas import ForecastQuery, ForecastQuestion, SeriesForecast, SeriesForecasts
from app.http.openapi import problems
from app.http.requests import Route

router = APIRouter(prefix="/v1", route_class=Route, tags=["forecasts"])


_FILE_SCHEMA = {"schema": {"type": "string", "format": "binary"}}
_FILES: dict[str, Any] = {
    NDJSON: {"schema": {"type": "string"}, "example": "one object of `GET /v1/forecasts` a line"},
    CSV: {"schema": {"type": "string"}},
    PARQUET: _FILE_SCHEMA,
    ARROW: _FILE_SCHEMA,
}
_ONE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The forecast, in the format that `Accept` likes best",
        "model": SeriesForecast,
        "content": {**_FILES},
        "headers": {"ETag": {"schema": {"type": "string"}}},
    },
    304: {"description": "The answer is still the one that `If-None-Match` names"},
}
_MANY_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The forecasts, in the format that `Accept` likes best",
        "model": SeriesForecasts,
        "content": {**_FILES},
    }
}


async def get_forecast(
    request: Request,
    _caller: Annotated[object, Depends(require("forecasts:read"))],
    question: Annotated[ForecastQuestion, Query()],
    if_none_match: Annotated[str | None, Header()] = None,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """The forecast of one series, from the last day of sales it has."""
    state, wanted, media_type = request.app.state, question.wanted(), chosen_format(accept)
    name = (question.sku, question.location)
    rendered = await read_one(state.inference, state.rendered, name, wanted, media_type)
    headers = {"ETag": rendered.etag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if if_none_match is not None and names_etag(if_none_match, rendered.etag):
        return Response(status_code=304, headers=headers)
    return Response(rendered.body, media_type=media_type, headers=headers)


router.add_api_route(
    "/forecasts",
    get_forecast,
    methods=["GET"],
    responses=_ONE_ANSWER | problems(404, 406, 409),
    route_class_override=OneSeriesRoute,
)


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
