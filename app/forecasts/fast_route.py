"""The route class of the one hot route: its query is read by one pydantic model, beside FastAPI's own parameters.

Solving seven parameters and their dependencies costs FastAPI as much as the rest of the read together (measured in
benchmarks/reads.py). The endpoint's signature still says in OpenAPI what may be asked, and `Route` still lets the caller
in and refuses unknown parameters before anything here runs.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.responses import Response

from app.errors import Problem
from app.forecasts.schemas import ForecastQuestion
from app.http.requests import Route


class _QueryOnly(APIRoute):
    """Calls an endpoint `(request, caller, question, if_none_match, accept)` with a question made of the query alone."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            try:
                question = ForecastQuestion.model_validate(dict(request.query_params))
            except ValidationError as error:
                wrong = [{**one, "loc": ("query", *one["loc"])} for one in error.errors()]
                raise RequestValidationError(wrong) from error
            headers = request.headers
            response: Response = await endpoint(
                request, None, question, headers.get("if-none-match"), headers.get("accept")
            )
            return response

        return handle


class OneSeriesRoute(Route, _QueryOnly):
    """The route of one series, which says where to go with more than one SKU."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                if any(e["field"] == "sku" and e["code"] == "repeated_parameter" for e in problem.errors):
                    detail = f"{problem.detail} POST /v1/forecasts/query answers for many series."
                    raise Problem(problem.code, detail, errors=problem.errors) from problem
                raise

        return handle
