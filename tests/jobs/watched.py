"""A champion that is watched: what callers read of it, the log of promotions, and scores as days of it would have left them."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import httpx
import numpy as np
from sqlalchemy import text

from app.database.engine import Database
from models.online.scoring import SUMS

Answers = list[dict[str, Any]]


async def said(client: httpx.AsyncClient) -> Answers:
    """What callers read of every series, but for when and by whom it was computed."""
    answers = []
    for number in range(3):
        answer = (await client.get(f"/v1/forecasts?sku=A-{number}")).json()
        answers.append({name: answer[name] for name in ("cutoff", "model_version", "forecast", "fallback")})
    return answers


async def promotions(client: httpx.AsyncClient) -> Answers:
    found: Answers = (await client.get("/v1/models/promotions")).json()["promotions"]
    return found


async def scored_days(database: Database, days: int, *, live: float, since: int | None = None) -> None:
    """Let a champion have been live for so many days, with such a daily loss beside that of the networks as trained: since the
    first issuance, or that of the version `since`."""
    rng = np.random.default_rng(0)
    async with database.transaction() as connection:
        cutoff: date = (await connection.execute(text("SELECT max(cutoff) FROM issuances"))).scalar_one()
        job: UUID = (await connection.execute(text("SELECT job_id FROM issuances LIMIT 1"))).scalar_one()
        first = cutoff - timedelta(days=days + 7)
        await connection.execute(text("DELETE FROM scores"))
        await connection.execute(
            text("""
            UPDATE issuances SET cutoff = :first WHERE cutoff = (
                SELECT min(cutoff) FROM issuances WHERE CAST(:since AS int) IS NULL OR version = :since)"""),
            {"first": first, "since": since},
        )
        for ahead in range(1, days + 7):
            day, noise = first + timedelta(days=ahead), rng.uniform(0.9, 1.1)
            await connection.execute(
                text("INSERT INTO scored_days (day, job_id) VALUES (:day, :job) ON CONFLICT DO NOTHING"),
                {"day": day, "job": job},
            )
            for source, level in (("live", live), ("frozen", 1.0)):
                loss = 100.0 * noise * level * rng.uniform(0.99, 1.01)
                sums = [loss if name == "pinball" else 500.0 for name in SUMS]
                await connection.execute(
                    text("""
                    INSERT INTO scores (day, source, segment, stretch, sums) VALUES (:day, :source, 'fast', '1-7', :sums)"""),
                    {"day": day, "source": source, "sums": sums},
                )
