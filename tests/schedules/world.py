"""A shop whose days of sales are posted over HTTP, a champion written straight into the registry, and runs at a given moment."""

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import orjson
from sqlalchemy import text

from app.database.engine import Database
from app.jobs.schedules.due import Kind
from app.jobs.schedules.running import run_due
from models.training_config import TrainingConfig

SERIES = 20
LSTM = TrainingConfig(model="lstm", horizon=7, width=16, epochs=3).members()[0].as_dict()


def moment(given: str) -> datetime:
    return datetime.fromisoformat(given).replace(tzinfo=UTC)


async def run(database: Database, statement: str, **values: Any) -> list[Any]:
    async with database.transaction() as connection:
        result = await connection.execute(text(statement), values)
        return list(result.scalars()) if result.returns_rows else []


async def run_at(database: Database, now: str) -> list[Kind]:
    async with database.transaction() as connection:
        return await run_due(connection, now=moment(now))


async def only(database: Database, name: str, *, since: str = "2026-01-01") -> None:
    """Turn every other schedule off, and let this one have begun long ago."""
    await run(
        database,
        "UPDATE schedules SET enabled = name = :name, since = CAST(CAST(:since AS text) AS timestamptz)",
        name=name,
        since=since,
    )


async def post_days(
    client: httpx.AsyncClient, first: str, last: str | None = None, *, series: Iterable[int] = range(SERIES)
) -> None:
    """Post a row for each of these series and days."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last or first)
    days = [str(begin + timedelta(days=number)) for number in range((end - begin).days + 1)]
    rows = [{"sku": f"A-{number}", "date": day, "quantity": number} for number in series for day in days]
    answer = await client.post("/v1/sales", json={"sales": rows})
    assert answer.status_code == 200, answer.text


async def add_champion(
    database: Database,
    cutoff: str,
    *,
    created: str = "2026-09-01T12:00",
    kind: str = "train",
    config: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    parent: int | None = None,
    promoted: bool = True,
    job: uuid.UUID | None = None,
) -> int:
    """A new version, and unless told otherwise its promotion at the same moment."""
    known = config or LSTM
    (version,) = await run(
        database,
        """
        INSERT INTO versions (version, architecture, kind, parent, horizon, context_length, trained_on, config, metrics, decision,
                              artifact_sha256, artifact_bytes, job_id, created_at)
        SELECT coalesce(max(version), 0) + 1, :architecture, :kind, :parent, 7, 14, CAST(:trained_on AS jsonb),
               CAST(:config AS jsonb), CAST(:metrics AS jsonb), 'Promoted.', repeat('a', 64), 1, :job, :created
        FROM versions RETURNING version""",
        architecture=known["architecture"],
        kind=kind,
        parent=parent,
        trained_on=orjson.dumps({"cutoff": cutoff, "rows": 1, "series": 1, "fingerprint": ""}).decode(),
        config=orjson.dumps(known).decode(),
        metrics=orjson.dumps(metrics or {}).decode(),
        job=job or uuid.uuid4(),
        created=moment(created),
    )
    if promoted:
        await run(
            database,
            "INSERT INTO promotions (version, kind, reason, promoted_at) VALUES (:version, 'request', 'Test.', :at)",
            version=version,
            at=moment(created),
        )
        await run(
            database,
            "INSERT INTO aliases VALUES ('champion', :version)"
            " ON CONFLICT (alias) DO UPDATE SET version = excluded.version",
            version=version,
        )
    return int(version)


async def end_jobs(database: Database) -> None:
    """Every job has succeeded, with nothing new."""
    await run(
        database,
        "UPDATE jobs SET status = 'succeeded', finished_at = now(), result = '{}', worker = NULL, lease_expires_at = NULL"
        " WHERE status IN ('queued', 'running')",
    )


async def jobs_of(client: httpx.AsyncClient, schedule: str) -> list[dict[str, Any]]:
    """The jobs that a schedule made, oldest first."""
    answer = await client.get("/v1/training-jobs")
    assert answer.status_code == 200
    return [job for job in reversed(answer.json()["jobs"]) if job["schedule"] == schedule]


async def scheduled_days(database: Database, schedule: str) -> list[str]:
    found = await run(
        database, "SELECT scheduled_for FROM jobs WHERE schedule = :schedule ORDER BY 1", schedule=schedule
    )
    return [str(day) for day in found]


async def shown(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    answer = await client.get("/v1/schedules")
    assert answer.status_code == 200
    (found,) = (schedule for schedule in answer.json()["schedules"] if schedule["name"] == name)
    return dict(found)


async def put(client: httpx.AsyncClient, name: str, **fields: Any) -> dict[str, Any]:
    answer = await client.put("/v1/schedules", json={"schedules": [{"name": name, **fields}]})
    assert answer.status_code == 200, answer.text
    (found,) = (schedule for schedule in answer.json()["schedules"] if schedule["name"] == name)
    return dict(found)
