"""What housekeeping does with forecasts as issued and their scores: what nobody reads goes, the rest stays for its time."""

import uuid
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from app.accuracy.blocks import ANSWERED, EXPERT
from app.accuracy.issued import said_of_day, stage_series_scores
from app.accuracy.store import KEPT_DAYS, all_kept, record_scores, scored_until
from app.accuracy.sums import SOURCES, Kept, packed, together, total_of, unpacked
from app.accuracy.weeks import first_kept_daily
from app.config import Settings
from app.database.engine import Database
from app.jobs.upkeep import keep_house
from models.online.scoring import SUMS
from tests.jobs.workers import add_sales

NEWEST = date(2026, 6, 14)  # a Sunday


async def run(database: Database, statement: str, **values: Any) -> Any:
    async with database.transaction() as connection:
        result = await connection.execute(text(statement), values)
        return result.scalars().all() if result.returns_rows else None


def some_sums(series: int, stretches: int = 1) -> np.ndarray:
    shape = (series, len(SOURCES), stretches, len(SUMS))
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


async def score(database: Database, day: date, job: uuid.UUID, *, counts: bool = True) -> None:
    async with database.transaction() as connection:
        await stage_series_scores(connection, job, day, np.array([1, 2]), some_sums(2))
        if counts:
            await record_scores(connection, job, {str(day): []})


async def add_job(database: Database, *, ended: bool) -> uuid.UUID:
    values = "'update', 'failed', '{}', now()" if ended else "'update', 'queued', NULL, NULL"
    (made,) = await run(database, f"INSERT INTO jobs (kind, status, error, finished_at) VALUES ({values}) RETURNING id")
    assert isinstance(made, uuid.UUID)
    return made


async def test_scores_that_no_job_came_to_publish_are_removed_once_it_has_ended(
    database: Database, settings: Settings
) -> None:
    await an_issuance(database, NEWEST)
    lost, working = await add_job(database, ended=True), await add_job(database, ended=False)
    winner = uuid.uuid4()
    await score(database, NEWEST, winner)
    for job in (lost, working):
        await score(database, NEWEST, job, counts=False)
    await score(database, NEWEST - timedelta(days=1), lost)  # another day of the lost one was the first
    await keep_house(database, settings)
    left = await run(database, "SELECT job_id FROM series_scores WHERE day = :day", day=NEWEST)
    assert set(left) == {winner, working}
    assert await run(database, "SELECT job_id FROM series_scores WHERE day <> :day", day=NEWEST) == [lost]


async def an_issuance(database: Database, cutoff: date, *, horizon: int = 7) -> uuid.UUID:
    job = uuid.uuid4()
    version = await run(
        database,
        """
        INSERT INTO versions (version, architecture, kind, horizon, context_length, trained_on, config, metrics, decision,
            artifact_sha256, artifact_bytes, job_id)
        SELECT coalesce(max(version), 0) + 1, 'lstm', 'train', 7, 14, '{}', '{}', '{}', '', repeat('0', 64), 1, :job
        FROM versions RETURNING version""",
        job=job,
    )
    await run(
        database,
        """
        INSERT INTO issuances (cutoff, job_id, version, champion, horizon)
        VALUES (:cutoff, :job, :version, :version, :horizon)""",
        cutoff=cutoff,
        horizon=horizon,
        job=job,
        version=version[0],
    )
    await run(
        database,
        "INSERT INTO issued (job_id, block, series_ids, scales, trained, frozen) VALUES (:job, 0, '{1}', '', '', '')",
        job=job,
    )
    return job


async def test_forecasts_as_issued_are_kept_for_56_days_counted_from_the_newest_cutoff(
    database: Database, settings: Settings
) -> None:
    jobs = {days: await an_issuance(database, NEWEST - timedelta(days=days)) for days in (0, KEPT_DAYS - 1, KEPT_DAYS)}
    lost, working = await add_job(database, ended=True), await add_job(database, ended=False)
    for job in (lost, working):
        await run(
            database,
            "INSERT INTO issued (job_id, block, series_ids, scales, trained, frozen) VALUES (:job, 0, '{}', '', '', '')",
            job=job,
        )
    await keep_house(database, settings)
    left = set(await run(database, "SELECT job_id FROM issued"))
    assert left == {jobs[0], jobs[KEPT_DAYS - 1], working}
    assert len(await run(database, "SELECT cutoff FROM issuances")) == 3


async def test_how_far_ahead_a_day_was_forecast_is_told_by_the_forecasts_that_are_still_kept(
    database: Database, settings: Settings
) -> None:
    """A champion that went a year ahead and left is no reason to look for its forecasts for a year."""
    await an_issuance(database, NEWEST - timedelta(days=KEPT_DAYS), horizon=365)
    kept = await an_issuance(database, NEWEST)
    pieces = {
        "scales": np.ones(1, "<f4"),
        "trained": np.ones((7, EXPERT), "<f2"),
        "frozen": np.ones((7, ANSWERED), "<f4"),
    }
    values = {name: array.tobytes() for name, array in pieces.items()} | {"job": kept}
    await run(
        database,
        "UPDATE issued SET scales = :scales, trained = :trained, candidate = :frozen, frozen = :frozen WHERE job_id = :job",
        **values,
    )
    await keep_house(database, settings)
    async with database.reading() as driver:
        said = await said_of_day(
            driver, NEWEST + timedelta(days=1), np.array([1]), ours=frozenset(), experts=frozenset()
        )
    assert said is not None and said.horizon == 7


async def test_days_of_which_forecasts_are_gone_cannot_be_scored_anew(database: Database, settings: Settings) -> None:
    await an_issuance(database, NEWEST - timedelta(days=KEPT_DAYS))
    await an_issuance(database, NEWEST)
    await keep_house(database, settings)
    days = [NEWEST - timedelta(days=KEPT_DAYS - 7), NEWEST - timedelta(days=KEPT_DAYS - 8), NEWEST + timedelta(days=1)]
    async with database.reading() as driver:
        assert await all_kept(driver, days) == {*days[1:]}


async def test_days_after_the_newest_day_of_sales_do_not_make_others_old(
    database: Database, settings: Settings
) -> None:
    """Sales of a trial were deleted, and those that are there now are of months before."""
    await add_sales(database, days=10, first=str(NEWEST - timedelta(days=109)))
    last = NEWEST - timedelta(days=100)
    jobs = [await an_issuance(database, cutoff) for cutoff in (NEWEST, last, last - timedelta(days=1))]
    for day in (NEWEST, last):
        await score(database, day, uuid.uuid4())
    await keep_house(database, settings)
    assert set(await run(database, "SELECT job_id FROM issued")) == set(jobs)
    assert await run(database, "SELECT DISTINCT days FROM series_scores") == [1]
    async with database.reading() as driver:
        assert await scored_until(driver) == last


async def test_weeks_are_put_together_by_housekeeping_counted_from_the_newest_scored_day(
    database: Database, settings: Settings
) -> None:
    for back in range(KEPT_DAYS + 8):
        await score(database, NEWEST - timedelta(days=back), uuid.uuid4())
    await keep_house(database, settings)
    old = NEWEST - timedelta(days=KEPT_DAYS + 7)
    weeks = await run(database, "SELECT day FROM series_scores WHERE days = 7 ORDER BY day")
    assert weeks == [old - timedelta(days=6), old + timedelta(days=1)]  # of the first only its Sunday was scored
    days = await run(database, "SELECT day FROM series_scores WHERE days = 1")
    assert len(days) == KEPT_DAYS and min(days) == first_kept_daily(NEWEST)
    for monday, scored in zip(weeks, (1, 7), strict=True):
        (sums,) = await run(database, "SELECT sums FROM series_scores WHERE day = :day", day=monday)
        assert np.array_equal(unpacked(Kept([1, 2], sums)), scored * some_sums(2))
    await keep_house(database, settings)
    assert await run(database, "SELECT day FROM series_scores WHERE days = 7 ORDER BY day") == weeks


@pytest.mark.parametrize(
    ("newest", "monday"),
    [
        ("2026-06-14", "2026-04-20"),
        ("2026-06-15", "2026-04-20"),
        ("2026-06-20", "2026-04-20"),
        ("2026-06-21", "2026-04-27"),
    ],
)
def test_only_weeks_whose_sunday_is_old_enough_are_put_together(newest: str, monday: str) -> None:
    assert first_kept_daily(date.fromisoformat(newest)) == date.fromisoformat(monday)


def test_a_week_has_every_series_of_its_days_and_the_furthest_stretch() -> None:
    one, other = Kept([1, 2, 5], packed(some_sums(3))), Kept([2, 3], packed(some_sums(2, 3)))
    week = together([one, other])
    assert list(week.series_ids) == [1, 2, 3, 5]
    sums = unpacked(week)
    assert sums.shape[2] == 3
    assert np.array_equal(sums[[0, 3], :, :1], some_sums(3)[[0, 2]]) and not sums[[0, 3], :, 1:].any()
    assert np.array_equal(sums[2], some_sums(2, 3)[1])
    assert np.array_equal(sums[1, :, :1], some_sums(3)[1] + some_sums(2, 3)[0, :, :1])
    for wanted in ([1], [2, 3], [5, 9], [7]):
        apart, whole = total_of([one, other], np.array(wanted)), total_of([week], np.array(wanted))
        assert np.array_equal(apart, whole)
        assert whole.any() == (wanted != [7])
