"""What a forecast is made from: the newest days of some series, from one snapshot, with the revisions they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import begun
from models.panel import Panel, panel_from_columns


@dataclass(frozen=True)
class Context:
    """S series, each with its own cutoff (an index of the panel's days) and the revision it was read at."""

    series_ids: list[int]
    revisions: list[int]
    last_days: list[date]
    calendar_revision: int
    panel: Panel
    cutoff_S: NDArray[np.int64]


async def read_context(
    connection: AsyncConnection, series_ids: Sequence[int], *, days: int, ahead: int
) -> Context | None:
    """The last `days` days of each series up to its own last day; series without rows are left out, None when all are."""
    raw = await begun(connection)
    rows = await raw.fetch(
        "SELECT id, sku, location, revision, last_day FROM series WHERE id = ANY($1::int[]) AND rows > 0 ORDER BY id",
        series_ids,
    )
    if not rows:
        return None
    calendar: int = await raw.fetchval("SELECT value FROM revisions WHERE name = 'calendar'")
    sales = await raw.fetch(
        """
        SELECT s.series_id, s.day - DATE '1970-01-01', coalesce(s.quantity, 'NaN')
        FROM sales s JOIN series ON series.id = s.series_id
        WHERE s.series_id = ANY($1::int[]) AND s.day > series.last_day - $2::int
        """,
        series_ids,
        days,
    )
    last_S = np.array([row["last_day"] for row in rows], "datetime64[D]")
    start = last_S.min() - np.timedelta64(days - 1, "D")
    place = {row["id"]: i for i, row in enumerate(rows)}
    panel = panel_from_columns(
        [place[row[0]] for row in sales],
        [row[1] - int(start.astype(int)) for row in sales],
        [row[2] for row in sales],
        keys=[(row["sku"], row["location"]) for row in rows],
        start=start,
        days=int((last_S.max() - start).astype(int)) + 1,
    )
    return Context(
        [row["id"] for row in rows],
        [row["revision"] for row in rows],
        [row["last_day"] for row in rows],
        calendar,
        panel,
        (last_S - start).astype(np.int64),
    )
