"""The route of accuracy: it parses, calls one function, answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.accuracy.reading import Question, Segment, accuracy
from app.accuracy.schemas import Accuracy
from app.auth import Caller, require
from app.days import Day, check_ordered
from app.errors import Problem
from app.http.answers import database_of, json_of
from app.http.openapi import problems
from app.http.requests import Route
from app.names import Location, Sku

router = APIRouter(prefix="/v1", route_class=Route, tags=["forecasts"])


def asked(
    *,
    sku: Annotated[Sku | None, Query(description="Series of one SKU; absent: any.")] = None,
    location: Annotated[Location | None, Query(description="Series at one location; absent: any.")] = None,
    segment: Annotated[
        Segment | None,
        Query(description="Series that were of one kind on the day before each; not with sku or location."),
    ] = None,
    first: Annotated[
        Day | None, Query(alias="from", description="First day, inclusive; absent: 27 days before the last.")
    ] = None,
    last: Annotated[
        Day | None, Query(alias="to", description="Last day, inclusive; absent: the newest scored.")
    ] = None,
) -> Question:
    check_ordered(first, last)
    if segment is not None and (sku is not None or location is not None):
        detail = (
            "segment goes without sku and location: a single series is of one segment today and of another tomorrow."
        )
        error = {"row": None, "field": "segment", "code": "segment_of_series", "detail": detail}
        raise Problem("invalid_request", detail, errors=[error])
    return Question(sku, location, segment, first, last)


@router.get("/accuracy", response_model=Accuracy, responses=problems(404))
async def read_accuracy(
    request: Request,
    _caller: Annotated[Caller, Depends(require("forecasts:read"))],
    question: Annotated[Question, Depends(asked)],
) -> Response:
    """What was forecast at each horizon against what came, beside the seasonal naive and the networks without any update.

    Of the forecasts as they were issued at each update; a day is scored by the update that first sees it whole.
    """
    return json_of(await accuracy(database_of(request), question, request.app.state.accuracy_turns))
