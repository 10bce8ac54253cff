"""Routes of this room: each parses, calls one function, answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from app.auth import require
from app.forecasts.periods import Period
from app.forecasts.reading import read_one
from app.forecasts.schemas import DEFAULT_LEVELS, LARGEST_VERSION, LONGEST_HORIZON, SeriesForecast, Wanted, levels_of
from app.names import Location, Sku
from app.openapi import problems
from app.requests import Route

router = APIRouter(prefix="/v1", route_class=Route, tags=["forecasts"])


@router.get("/forecasts", responses={200: {"model": SeriesForecast}, **problems(404, 406, 409)})
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
    return Response(rendered.body, media_type="application/json", headers={"ETag": rendered.etag})
