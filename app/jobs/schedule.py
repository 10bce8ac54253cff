"""The schedule: once a day, at an hour that a setting gives, one job that updates the champion."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.jobs.queue import wake
from app.jobs.schemas import UpdateRequest

log = structlog.get_logger()


async def schedule_update(connection: AsyncConnection, hour: int, *, now: datetime | None = None) -> str | None:
    """Make the update job that is due, unless it was made already; its id.

    Any worker may come first: the job is unique per kind and day. However many runs were missed, one makes up for them. A
    champion younger than the hour has seen that day's data, so nothing is due; without a champion there is nothing to update.
    """
    day = due_day(now or datetime.now(UTC), hour)
    request: dict[str, Any] = UpdateRequest(kind="update").filled_in()
    made = await connection.execute(
        text("""
        INSERT INTO jobs (kind, request, scheduled_for)
        SELECT 'update', CAST(:request AS jsonb), :day
        WHERE EXISTS (
            SELECT FROM aliases JOIN versions USING (version) WHERE alias = 'champion' AND versions.created_at < :due)
        ON CONFLICT (kind, scheduled_for) DO NOTHING RETURNING id"""),
        {
            "request": orjson.dumps(request).decode(),
            "day": day,
            "due": datetime(day.year, day.month, day.day, hour, tzinfo=UTC),
        },
    )
    job = made.scalar_one_or_none()
    if job is None:
        return None
    await wake(connection, job)
    log.info("update_scheduled", job=str(job), day=str(day))
    return str(job)


def due_day(now: datetime, hour: int) -> date:
    """The newest day whose scheduled hour (UTC) has come."""
    return now.date() if now.hour >= hour else now.date() - timedelta(days=1)
