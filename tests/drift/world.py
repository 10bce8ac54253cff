"""States of detectors and drifts written straight into the tables, and what the API says of them."""

import uuid
from datetime import date, timedelta
from typing import Any

import httpx
import numpy as np
from sqlalchemy import text

from app.database.engine import Database
from app.drift.finding import ScoredDay, scored_day, watch
from app.drift.store import States, read_states, stage_states
from models.online.drift import SEGMENTS, SERIES, untouched
from models.online.scoring import SUMS
from models.segments import SEGMENTS as NAMES


def a_day(day: date, ratio: float, segment_S: list[int]) -> ScoredDay:
    """A day on which what callers read lost so many times as much as the seasonal naive; of series of these segments."""
    segments = np.array(segment_S)
    live, naive = (np.zeros((len(segments), len(SUMS)), np.float32) for _ in range(2))
    jitter = np.random.default_rng(day.toordinal()).uniform(0.8, 1.2, len(segments))
    for sums, loss in ((live, ratio * 0.5 * jitter), (naive, np.full(len(segments), 0.5))):
        sums[:, SUMS.index("scaled_days")] = 1
        sums[:, SUMS.index("scaled_pinball")] = loss
    return scored_day(day, live, naive, segments)


def days_before(last: date, ratios: list[float], segment_S: list[int]) -> list[ScoredDay]:
    """Days up to this one, each with such losses."""
    first = last - timedelta(days=len(ratios) - 1)
    return [a_day(first + timedelta(days=number), ratio, segment_S) for number, ratio in enumerate(ratios)]


def unwatched(series: int) -> States:
    return States(untouched(series, SERIES), untouched(len(NAMES), SEGMENTS))


async def ids_of(database: Database) -> np.ndarray:
    async with database.reading() as driver:
        return np.array([row["id"] for row in await driver.fetch("SELECT id FROM series ORDER BY id")])


async def have_scored(database: Database, last: date, ratios: list[float], segment_S: list[int]) -> uuid.UUID:
    """Let days up to this one have been scored by a job, each with such losses of every series; nothing was found on them."""
    ids, job = await ids_of(database), uuid.uuid4()
    async with database.reading() as driver:
        states = await read_states(driver, ids)
    watched = watch(states, days_before(last, ratios, segment_S), ids)
    assert watched.found == []
    async with database.transaction() as connection:
        await connection.execute(
            text("INSERT INTO scored_days (day, job_id) VALUES (:day, :job)"), {"day": last, "job": job}
        )
        await stage_states(connection, job, watched.states, ids)
    return job


async def drifts(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """What the API lists."""
    answer = await client.get("/v1/drifts", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["drifts"]
    return found
