"""How the service is: alive, ready, measured.

`/healthz` asks nothing of anybody; `/readyz` asks the database and tells what is degraded; `/metrics` is for Prometheus.
"""

from importlib.metadata import version
from typing import get_args

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from app import telemetry
from app.accuracy.reading import newest_wql
from app.auth import admit
from app.config import Settings
from app.database.engine import Database
from app.database.migrate import require_schema
from app.drift.store import count_drifts
from app.errors import Problem
from app.http.openapi import open_problems, problems
from app.http.requests import Route
from app.jobs.schemas import Status
from app.registry.promotions import count_rollbacks

router = APIRouter(route_class=Route, tags=["operations"])


class Health(BaseModel):
    status: str = Field("ok", examples=["ok"])


class Readiness(BaseModel):
    """Whether requests can be answered, and what is less than whole."""

    status: str = Field("ready", examples=["ready"])
    version: str = Field(description="Version of Shelfcast.", examples=["0.1.0"])
    workers: int = Field(description="Workers that gave a sign of life lately.", examples=[1])
    champion: int | None = Field(description="The version that forecasts come from; null without one.", examples=[7])
    degraded: list[str] = Field(description="What is less than whole, a sentence each; empty when all is well.")


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the process alive", responses=open_problems(), operation_id="healthz")
async def healthz() -> Health:
    """Answers as long as the process does. Asks neither the database nor anything else."""
    return Health()


@router.get("/readyz", summary="Can requests be answered", responses=open_problems(503), operation_id="readyz")
async def readyz(request: Request) -> Readiness:
    """200 when the database is reachable and its schema is at least as new as the code's, else 503.

    A missing worker or champion is told under `degraded`, not required: sales come in and forecasts go out without either.
    """
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    async with database.snapshot() as connection:
        await require_schema(connection)
        found = (await connection.execute(text(_READINESS), {"seconds": lately(settings)})).mappings().one()
    degraded = [
        sentence
        for holds, sentence in (
            (found["workers"] > 0, "No worker has given a sign of life lately: jobs wait."),
            (found["champion"] is not None, "There is no champion: forecasts come from simple methods."),
        )
        if not holds
    ]
    stand_in = await request.app.state.inference.weights.present_stand_in()
    if stand_in is not None and stand_in.champion == found["champion"]:
        degraded.append(stand_in.why)
    return Readiness(
        version=version("shelfcast"), workers=found["workers"], champion=found["champion"], degraded=degraded
    )


_READINESS = """
SELECT (SELECT count(*) FROM workers WHERE heartbeat_at > now() - make_interval(secs => :seconds)) AS workers,
       (SELECT version FROM aliases WHERE alias = 'champion') AS champion
"""


@router.get(
    "/metrics",
    summary="Measurements for Prometheus",
    response_class=Response,
    responses=problems() | {200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    operation_id="metrics",
)
async def metrics(request: Request) -> Response:
    """Needs a key with `models:read`, unless the setting SHELFCAST_METRICS_OPEN opens it."""
    if not request.app.state.settings.metrics_open:
        await admit(request, "models:read")
    await _measure(request.app.state.database, request.app.state.settings)
    return Response(telemetry.metrics_text(), media_type=telemetry.METRICS_MEDIA_TYPE)


async def _measure(database: Database, settings: Settings) -> None:
    """Set what is measured only when somebody looks. A database that is away is a measurement, not an error."""
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    telemetry.CONNECTIONS.set(pool.checkedout())
    try:
        async with database.reading() as connection:
            counts = dict(await connection.fetch("SELECT status, count(*) FROM jobs GROUP BY status"))
            workers = await connection.fetchval(_WORKERS, lately(settings))
            wql = await newest_wql(connection)
            rollbacks = await count_rollbacks(connection)
            drifts = await count_drifts(connection)
    except Problem:
        telemetry.DATABASE_UP.set(0)
        return
    telemetry.DATABASE_UP.set(1)
    telemetry.WORKERS.set(workers)
    telemetry.WQL.clear()
    for source, value in wql.items():
        telemetry.WQL.labels(source).set(value)
    for status in get_args(Status):
        telemetry.JOBS.labels(status).set(counts.get(status, 0))
    for kind, times in rollbacks.items():
        telemetry.ROLLBACKS.labels(kind).set(times)
    for scope, found in drifts.items():
        telemetry.DRIFTS.labels(scope).set(found)


_WORKERS = "SELECT count(*) FROM workers WHERE heartbeat_at > now() - make_interval(secs => $1)"


def lately(settings: Settings) -> float:
    """Seconds since its last sign of life after which a worker counts as gone."""
    return max(settings.lease_seconds, 2 * settings.heartbeat_seconds)
