"""What a training child reads from the database before it works: the panel of all sales, and which version is champion."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import text

from app.database.engine import Database
from models.panel import Panel, panel_from_columns


@dataclass(frozen=True)
class Reading:
    """The data of a job. `panel` is None when there are no sales at all."""

    panel: Panel | None
    cutoff: date
    rows: int
    champion: int | None
    champion_sha256: str | None


async def read_task_data(database: Database, *, kind: str, request: dict[str, Any]) -> Reading:
    async with database.snapshot() as connection:
        rows = (
            await connection.execute(
                text("SELECT series_id, day, quantity, sku, location FROM sales JOIN series ON id = series_id")
            )
        ).all()
        found = await connection.execute(
            text(
                "SELECT v.version, artifact_sha256 FROM aliases a JOIN versions v USING (version) WHERE alias='champion'"
            )
        )
        champion = found.one_or_none()
    version, sha = (champion.version, champion.artifact_sha256) if champion else (None, None)
    if not rows:
        return Reading(None, date.min, 0, version, sha)
    keys = sorted({(r.sku, r.location) for r in rows})
    index = {key: i for i, key in enumerate(keys)}
    first, last = min(r.day for r in rows), max(r.day for r in rows)
    panel = panel_from_columns(
        [index[r.sku, r.location] for r in rows],
        [(r.day - first).days for r in rows],
        [np.nan if r.quantity is None else r.quantity for r in rows],
        keys=keys,
        start=np.datetime64(first, "D"),
        days=(last - first).days + 1,
    )
    return Reading(panel, last, len(rows), version, sha)
