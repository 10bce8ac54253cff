"""What was forecast at each horizon against what came: sums of scored days added up, and the figures that they come to.

All series together, or those of a segment, from `scores`; single series and locations from `series_scores`.
Shapes: C sources, K stretches of days ahead, X sums (models/online/scoring.py).
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import asyncpg
import numpy as np

from app.accuracy.store import COUNTS, NEWEST_SCORED, scored_until
from app.accuracy.sums import SOURCES, Doubles, Ids, Kept, nothing, rows_by_block, total_of
from app.database.engine import Database, begun, turn
from app.database.filters import Filters
from app.errors import Problem
from app.sales.reading import UP_TO_SALES
from models.online.scoring import SUMS, figures
from models.segments import BUCKETS

Segment = Literal["fast", "slow", "intermittent"]
ANSWERED = {"horizons": "live", "baseline": "seasonal_naive", "frozen": "frozen"}
"""Names of the lists in the answer, and the source that each tells."""
STRETCHES = [f"{first}-{last}" for first, last in BUCKETS]
DEFAULT_DAYS = 28
WIDE_AT_ONCE = 2
"""Questions about all series of a SKU or a location that a process answers at once. Over a year of 30,000 series, one of a
location takes five seconds."""


@dataclass(frozen=True)
class Question:
    """Which series and days are asked about; `first` and `last` None: the newest DEFAULT_DAYS that were scored."""

    sku: str | None
    location: str | None
    segment: Segment | None
    first: date | None
    last: date | None


@dataclass(frozen=True)
class Counted:
    """Sums (C, K, X) and the first and last day in them; None: none is."""

    sums_CKX: Doubles
    first: date | None
    last: date | None


class Turns:
    """Questions about many single series wait for their turn here, before they take a connection: each may keep one for seconds,
    and a few at once would leave none for forecasts."""

    def __init__(self, wait_seconds: float) -> None:
        self._free = asyncio.Semaphore(WIDE_AT_ONCE)
        self._wait_seconds = wait_seconds

    def one(self) -> AbstractAsyncContextManager[None]:
        """Raises Problem `unavailable` where that takes too long."""
        return turn(self._free, self._wait_seconds, _too_many)


def _too_many(error: TimeoutError) -> Problem:
    detail = f"{WIDE_AT_ONCE} questions about a SKU or a location are being answered; ask again when they are."
    return Problem("unavailable", detail, headers={"Retry-After": "1"})


async def accuracy(database: Database, question: Question, turns: Turns) -> dict[str, Any]:
    """The answer of `GET /v1/accuracy`. Raises Problem 404 for a series or location without sales, `unavailable` where too many
    ask about many series."""
    wide = (question.sku is None) is not (question.location is None)
    async with turns.one() if wide else nullcontext(), database.snapshot() as connection:
        driver = await begun(connection)
        first, last = await _span(driver, question)
        single = question.sku is not None or question.location is not None
        ids = await _ids(driver, question) if single else None
        if first is None or last is None:
            counted = Counted(nothing(), None, None)
        elif ids is None:
            counted = await _of_all(driver, first, last, question.segment)
        else:
            counted = await _of_series(driver, first, last, ids)
    return {"from": counted.first or first, "to": counted.last or last} | _told(counted.sums_CKX)


async def newest_wql(driver: asyncpg.Connection) -> dict[str, float]:
    """WQL of the nearest days ahead over the newest DEFAULT_DAYS, by source; nothing without scores. Some hundred small rows."""
    rows = await driver.fetch(_NEWEST, STRETCHES[0], DEFAULT_DAYS, list(SOURCES))
    found = {row["source"]: figures(np.array(row["sums"]))["wql"] for row in rows}
    return {source: wql for source, wql in found.items() if wql is not None}


async def _span(driver: asyncpg.Connection, question: Question) -> tuple[date | None, date | None]:
    """First and last day that are looked at. Without a `to` it is the newest scored day, whatever the clock says."""
    last = question.last or await scored_until(driver)
    if question.first is not None:
        return question.first, max(last or question.first, question.first)
    if last is None:
        return None, None
    return date.fromordinal(max(last.toordinal() - DEFAULT_DAYS + 1, 1)), last


async def _ids(driver: asyncpg.Connection, question: Question) -> Ids:
    filters = Filters()
    filters.equal("sku", question.sku)
    filters.equal("location", question.location)
    rows = await driver.fetch(f"SELECT id FROM series WHERE {filters.where} ORDER BY id", *filters.values)
    if not rows:
        sku = "" if question.sku is None else f" of SKU {question.sku!r}"
        location = "" if question.location is None else f" at location {question.location!r}"
        raise Problem("not_found", f"There is no series{sku}{location}.")
    return np.array([row["id"] for row in rows], np.int64)


async def _of_all(driver: asyncpg.Connection, first: date, last: date, segment: Segment | None) -> Counted:
    rows = await driver.fetch(_ALL, first, last, segment, list(SOURCES))
    sums_CKX = nothing()
    for row in rows:
        sums_CKX[SOURCES.index(row["source"]), STRETCHES.index(row["stretch"])] = row["sums"]
    return Counted(sums_CKX, *await _scored_within(driver, first, last))


_ADDED = ", ".join(f"sum(sums[{number}])" for number in range(1, len(SUMS) + 1))
_ALL = f"""
SELECT source, stretch, ARRAY[{_ADDED}] AS sums FROM scores
WHERE day BETWEEN $1 AND $2 AND ($3::text IS NULL OR segment = $3) AND source = ANY($4) GROUP BY source, stretch"""


_NEWEST = f"""
SELECT source, ARRAY[{_ADDED}] AS sums FROM scores
WHERE day > {NEWEST_SCORED} - $2::int AND {UP_TO_SALES} AND stretch = $1 AND source = ANY($3) GROUP BY source"""


async def _scored_within(driver: asyncpg.Connection, first: date, last: date) -> tuple[date | None, date | None]:
    row = await driver.fetchrow("SELECT min(day), max(day) FROM scored_days WHERE day BETWEEN $1 AND $2", first, last)
    return row[0], row[1]


async def _of_series(driver: asyncpg.Connection, first: date, last: date, ids: Ids) -> Counted:
    """Block by block, as each is some megabytes. A week that was put together counts whole when any of its days is asked for."""
    total_CKX, days = nothing(), list(filter(None, await _scored_within(driver, first, last)))
    for block, at in rows_by_block(ids):
        rows = await driver.fetch(_OF_BLOCK, block, first, last)
        kept = [Kept(row["series_ids"], row["sums"]) for row in rows]
        total_CKX += await asyncio.to_thread(total_of, kept, ids[at])
        days += [day for row in rows for day in (row["day"], row["day"] + timedelta(days=row["days"] - 1))]
    return Counted(total_CKX, min(days, default=None), max(days, default=None))


_OF_BLOCK = f"""
SELECT s.day, s.days, s.series_ids, s.sums FROM series_scores s
WHERE s.block = $1 AND s.day <= $3 AND s.day + s.days > $2 AND {COUNTS}"""


def _told(sums_CKX: Doubles) -> dict[str, Any]:
    """The three lists, of those stretches in which any of them has something, and of all days ahead."""
    reached = np.flatnonzero(sums_CKX[:, :, SUMS.index("days")].any(axis=0)).tolist()
    return {name: _list(sums_CKX[SOURCES.index(source)], reached) for name, source in ANSWERED.items()}


def _list(sums_KX: Doubles, reached: Sequence[int]) -> list[dict[str, Any]]:
    parts = [{"days": STRETCHES[stretch]} | figures(sums_KX[stretch]) for stretch in reached]
    return [*parts, {"days": "all"} | figures(sums_KX.sum(axis=0))]
