"""Sums of single series put together by week once they are KEPT_DAYS old: seven rows of a block become one.

A week is put together in one transaction, so whoever reads sees its days or the week, never both and never neither.
"""

from datetime import date, timedelta

import asyncpg

from app.accuracy.store import COUNTS, KEPT_DAYS, scored_until
from app.accuracy.sums import Kept, together
from app.database.engine import Database, begun

WEEK = 7


async def put_weeks_together(database: Database) -> int:
    """Put all whole weeks together that are older than KEPT_DAYS, counted from the newest scored day; returns how many rows were
    made of days. A week begins on Monday. What was cut short goes on the next time."""
    async with database.reading() as driver:
        newest = await scored_until(driver)
        weeks = [] if newest is None else await driver.fetch(_WEEKS, first_kept_daily(newest))
    for block, monday in weeks:
        async with database.transaction() as connection:
            await _put_together(await begun(connection), block, monday)
    return len(weeks)


def first_kept_daily(newest: date) -> date:
    """The Monday from which on days stay apart."""
    oldest = newest - timedelta(days=KEPT_DAYS - 1)
    return oldest - timedelta(days=oldest.weekday())


_WEEKS = f"""
SELECT DISTINCT s.block, date_trunc('week', s.day)::date AS monday FROM series_scores s
WHERE s.days = 1 AND s.day < $1 AND {COUNTS} ORDER BY monday, s.block"""


async def _put_together(driver: asyncpg.Connection, block: int, monday: date) -> None:
    """One week of one block. Whoever does the same at the same time waits here, and finds no days left."""
    last = monday + timedelta(days=WEEK - 1)
    rows = await driver.fetch(
        f"""
        SELECT s.day, s.days, s.job_id, s.series_ids, s.sums FROM series_scores s
        WHERE s.block = $1 AND s.day BETWEEN $2 AND $3 AND {COUNTS} ORDER BY s.day, s.days DESC FOR UPDATE OF s""",
        block,
        monday,
        last,
    )
    if all(row["days"] == WEEK for row in rows):
        return
    week = together([Kept(row["series_ids"], row["sums"]) for row in rows])
    await driver.executemany(
        "DELETE FROM series_scores WHERE block = $1 AND day = $2 AND job_id = $3",
        [(block, row["day"], row["job_id"]) for row in rows],
    )
    await driver.execute(
        "INSERT INTO series_scores (block, day, job_id, days, series_ids, sums) VALUES ($1, $2, $3, $4, $5, $6)",
        block,
        monday,
        rows[0]["job_id"],
        WEEK,
        week.series_ids,
        week.sums,
    )
