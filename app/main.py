"""The app factory: rooms, errors and life cycle put together. No route and no SQL lives here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.auth import KeyCache, ensure_admin_key
from app.catalog import routes as catalog
from app.config import Settings
from app.database.engine import Database
from app.errors import Problem, render
from app.forecasts import routes as forecasts
from app.jobs import routes as jobs
from app.ratelimit import Rates
from app.registry import routes as registry
from app.sales import routes as sales

log = structlog.get_logger()


def create_app(settings: Settings, database_url: str) -> FastAPI:
    """The API over the Postgres at `database_url`, whose schema must have been migrated."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(
            database_url,
            pool_size=settings.pool_size,
            pool_timeout=settings.pool_timeout_seconds,
            statement_timeout=settings.statement_timeout_seconds,
        )
        app.state.settings = settings
        app.state.database = database
        app.state.keys = KeyCache(database, settings.key_cache_seconds)
        app.state.rates = Rates(settings.rate_limit)
        made = await ensure_admin_key(database, settings.admin_key_file)
        if made is not None:
            log.info("admin_key_made", file=str(made))
        try:
            yield
        finally:
            await database.close()

    app = FastAPI(title="Shelfcast", lifespan=lifespan)
    _handle_errors(app)
    _include_rooms(app)
    return app


def _include_rooms(app: FastAPI) -> None:
    for room in (sales, catalog, forecasts, registry, jobs):
        app.include_router(room.router)


def _handle_errors(app: FastAPI) -> None:
    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return render(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [
            {"row": None, "field": ".".join(map(str, e["loc"])), "code": e["type"], "detail": e["msg"]}
            for e in error.errors()
        ]
        return render(
            request,
            Problem(
                "invalid_request",
                "; ".join(f"{e['field']}: {e['detail']}" for e in errors[:3]),
                errors=errors,
            ),
        )

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        return render(request, Problem(code, str(error.detail), headers=error.headers))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
