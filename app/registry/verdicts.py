"""Verdicts of the gate about updates: kept with their version, in the same transaction, and read."""

from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def keep_verdict(
    connection: AsyncConnection, version: int, verdict: dict[str, Any], *, against: int | None
) -> None:
    """Keep what the gate said of a version that is being published."""
    await connection.execute(
        text("""
        INSERT INTO verdicts (version, against, accepted, sentence, checks, days)
        VALUES (:version, :against, :accepted, :sentence, CAST(:checks AS jsonb), :days)"""),
        {
            "version": version,
            "against": against,
            "accepted": verdict["accepted"],
            "sentence": verdict["sentence"],
            "checks": orjson.dumps(verdict["checks"]).decode(),
            "days": verdict["days"],
        },
    )


async def read_verdict(connection: AsyncConnection, version: int) -> dict[str, Any] | None:
    """The verdict about a version; None where there is none: it was trained, or does not exist."""
    rows = await connection.execute(
        text("""
        SELECT version, against, accepted, sentence, checks, days, decided_at FROM verdicts WHERE version = :version"""),
        {"version": version},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else dict(row)
