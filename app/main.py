"""The app factory: rooms, errors and life cycle put together. No route and no SQL lives here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI

from app import health
from app.accuracy import routes as accuracy
from app.accuracy.reading import Turns
from app.auth import KeyCache, ensure_admin_key
from app.catalog import routes as catalog
from app.config import Settings
from app.database.engine import Database
from app.database.migrate import require_schema
from app.drift import routes as drift
from app.errors import Problem
from app.forecasts import routes as forecasts
from app.forecasts.inference import Inference
from app.forecasts.rendered import RenderedAnswers
from app.http import pages
from app.http.framework_errors import install
from app.http.middleware import Answered, Bounded, Observed
from app.http.openapi import describe
from app.http.ratelimit import Rates
from app.jobs import routes as jobs
from app.jobs.schedules import routes as schedules
from app.quarantine import routes as quarantine
from app.registry import routes as registry
from app.sales import posts_routes as posts
from app.sales import routes as sales
from app.sales.places import set_default_country
from models.placement import device_named

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
        app.state.inference = Inference(database, settings.artifacts_location, device_named(settings.device))
        app.state.rendered = RenderedAnswers()
        app.state.accuracy_turns = Turns(settings.pool_timeout_seconds)
        prepared = asyncio.create_task(_prepare(app))
        await asyncio.wait([prepared], timeout=settings.pool_timeout_seconds)
        if prepared.done():
            await prepared
        try:
            yield
        finally:
            prepared.cancel()
            await asyncio.wait([prepared])
            await app.state.inference.close()
            await database.close()

    app = FastAPI(
        title="Shelfcast", version=version("shelfcast"), lifespan=lifespan, openapi_url=None, redirect_slashes=False
    )
    app.state.stopping = asyncio.Event()  # set as soon as the process is asked to stop: streams without an end then end
    install(app)
    _include_rooms(app)
    describe(app)
    _add_middleware(app, settings)
    return app


async def _prepare(app: FastAPI) -> None:
    """Make the admin key where there is none, and tell the default country. A database that is away or behind is asked again."""
    database: Database = app.state.database
    settings: Settings = app.state.settings
    while True:
        try:
            async with database.snapshot() as connection:
                await require_schema(connection)
            async with database.transaction() as connection:
                await set_default_country(connection, settings.country)
            made = await ensure_admin_key(database, settings.admin_key_file)
        except Problem as problem:
            log.warning("database_not_ready", detail=problem.detail)
            await asyncio.sleep(1)
        else:
            break
    if made is not None:
        log.info("admin_key_made", file=str(made))


def _include_rooms(app: FastAPI) -> None:
    """Every room's routes in one flat list, the busiest first.

    `include_router` would look for the route of each request room by room, twice: a fifth of the time of a forecast read.
    """
    for room in (
        forecasts,
        sales,
        posts,
        catalog,
        registry,
        jobs,
        schedules,
        quarantine,
        accuracy,
        drift,
        health,
        pages,
    ):
        app.router.routes.extend(room.router.routes)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """From the inside out: the last one added sees a request first."""
    app.add_middleware(Answered, seconds=settings.request_timeout_seconds)
    app.add_middleware(Bounded, limit=max(settings.max_upload_bytes, settings.max_json_bytes))
    app.add_middleware(Observed)
