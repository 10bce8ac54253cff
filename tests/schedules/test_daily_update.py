"""The daily update: for which day of sales a job is made, when, and that it is made once."""

import asyncio
import uuid
from collections.abc import Iterable
from datetime import timedelta

import httpx
import pytest

from app.database.engine import Database
from app.jobs.schedules.running import run_due
from tests.schedules.world import (
    SERIES,
    add_champion,
    end_jobs,
    jobs_of,
    moment,
    only,
    post_days,
    put,
    run,
    run_at,
    scheduled_days,
    shown,
)

DAILY = "daily-update"


@pytest.fixture(autouse=True)
async def shop(client: httpx.AsyncClient, database: Database) -> None:
    """Twenty series with sales from September to Sunday, 18 October, which the champion knows; only daily updates are on."""
    await only(database, DAILY)
    await post_days(client, "2026-09-01", "2026-10-18")
    await add_champion(database, "2026-10-18")


async def test_a_day_closes_when_the_share_of_its_usual_series_has_come_in(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post_days(client, "2026-10-19", series=range(SERIES - 2))
    assert await run_at(database, "2026-10-19T18:00") == []
    await post_days(client, "2026-10-19", series=[SERIES - 2])  # 19 of 20: exactly 0.95
    assert await run_at(database, "2026-10-19T18:01") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-10-19"]
    (job,) = await jobs_of(client, DAILY)
    assert (job["kind"], job["status"], job["schedule"]) == ("update", "queued", DAILY)
    assert (job["request"]["promote"], job["request"]["fine_tune"]) == ("auto", "drift")
    assert job["request"]["until"] == "2026-10-19"
    assert await run_at(database, "2026-10-20T12:00") == []


async def test_a_day_closes_by_the_hour_of_the_next_day_in_its_time_zone(
    client: httpx.AsyncClient, database: Database
) -> None:
    await put(client, DAILY, timezone="America/New_York", at="05:00")
    await post_days(client, "2026-10-19", series=[0])
    assert await run_at(database, "2026-10-20T08:59") == []
    assert await run_at(database, "2026-10-20T09:00") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-10-19"]


async def post_at(
    client: httpx.AsyncClient, database: Database, when: str, day: str, series: Iterable[int] = range(SERIES)
) -> None:
    """Post rows of a day at a moment."""
    await post_days(client, day, series=series)
    await run(
        database,
        "UPDATE posts SET created_at = :at WHERE id = (SELECT max(id) FROM posts)",
        at=moment(when),
    )


async def test_a_day_past_its_hour_is_not_learned_by_its_first_rows(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Its one update waits until no more rows come in."""
    await post_at(client, database, "2026-10-20T03:10", "2026-10-19", [0])
    assert await run_at(database, "2026-10-20T03:10") == []
    await post_at(client, database, "2026-10-20T03:14", "2026-10-19", [1])
    assert await run_at(database, "2026-10-20T03:18") == []
    await post_at(client, database, "2026-10-20T03:18:30", "2026-10-20", [0])  # of the day that goes on
    assert await run_at(database, "2026-10-20T03:19") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-10-19"]


async def test_a_day_past_its_hour_waits_no_longer_for_rows_than_until_its_share_is_there(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post_at(client, database, "2026-10-20T03:10", "2026-10-19", [0])
    assert await run_at(database, "2026-10-20T03:11") == []
    await post_at(client, database, "2026-10-20T03:12", "2026-10-19", range(1, SERIES))
    assert await run_at(database, "2026-10-20T03:12") == ["update"]


@pytest.mark.parametrize(("first", "until"), [("20T02:59", "20T03:30"), ("20T09:00", "20T09:30")])
async def test_a_day_past_its_hour_waits_half_an_hour_at_most(
    client: httpx.AsyncClient, database: Database, first: str, until: str
) -> None:
    """Counted from its hour, or from its first rows where they came later."""
    await post_at(client, database, f"2026-10-{first}", "2026-10-19", [0])
    before = moment(f"2026-10-{until}") - timedelta(minutes=1)
    await post_at(client, database, f"{before:%Y-%m-%dT%H:%M}", "2026-10-19", [1])
    assert await run_at(database, f"{before:%Y-%m-%dT%H:%M}") == []
    assert await run_at(database, f"2026-10-{until}") == ["update"]


async def test_without_a_share_only_the_hour_closes_a_day(client: httpx.AsyncClient, database: Database) -> None:
    assert (await put(client, DAILY, closed_share=None))["closed_share"] is None
    await post_days(client, "2026-10-19")
    assert await run_at(database, "2026-10-20T02:59") == []
    assert await run_at(database, "2026-10-20T03:00") == ["update"]


async def test_a_series_is_usual_by_the_same_weekday_of_the_last_four_weeks(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Five series more have sold on two Mondays only, five on Tuesdays: neither is missed on a Monday."""
    for monday in ("2026-10-05", "2026-10-12"):
        await post_days(client, monday, series=range(100, 105))
    for tuesday in ("2026-09-22", "2026-09-29", "2026-10-06", "2026-10-13"):
        await post_days(client, tuesday, series=range(200, 205))
    await post_days(client, "2026-10-19")
    assert await run_at(database, "2026-10-19T18:00") == ["update"]
    await end_jobs(database)
    await post_days(client, "2026-10-20")  # a Tuesday: the five are usual, and 20 of 25 are too few
    assert await run_at(database, "2026-10-20T18:00") == []
    await post_days(client, "2026-10-20", series=range(200, 204))
    assert await run_at(database, "2026-10-20T18:01") == ["update"]


async def test_sales_are_looked_at_only_when_some_came(client: httpx.AsyncClient, database: Database) -> None:
    await post_days(client, "2026-10-19", series=[0])
    assert await run_at(database, "2026-10-19T18:00") == []
    looked = await run(database, "SELECT looked_at FROM schedules WHERE name = :name", name=DAILY)
    assert looked == await run(database, "SELECT CAST(sum(revision) AS bigint) FROM series")
    # Rows that come in behind the back of the series' revisions, which no writer does, are not seen.
    await run(
        database,
        "INSERT INTO sales (series_id, day, post_id) SELECT id, '2026-10-19', 1 FROM series ON CONFLICT DO NOTHING",
    )
    assert await run_at(database, "2026-10-19T18:01") == []
    await post_days(client, "2026-10-18", series=[0])  # the same again: no change
    assert await run_at(database, "2026-10-19T18:02") == []
    await post_days(client, "2026-10-19", series=[99])
    assert await run_at(database, "2026-10-19T18:03") == ["update"]


async def test_two_workers_at_once_make_one_job(client: httpx.AsyncClient, database: Database) -> None:
    await post_days(client, "2026-10-19")
    ran = await asyncio.gather(*(run_at(database, "2026-10-20T12:00") for _ in range(5)))
    assert sorted(map(len, ran)) == [0, 0, 0, 0, 1]
    assert len(await jobs_of(client, DAILY)) == 1


async def test_a_worker_passes_by_while_another_one_decides(client: httpx.AsyncClient, database: Database) -> None:
    await post_days(client, "2026-10-19")
    async with database.transaction() as first, database.transaction() as second:
        assert await run_due(first, now=moment("2026-10-20T12:00")) == ["update"]
        assert await run_due(second, now=moment("2026-10-20T12:00")) == []
    assert await run_at(database, "2026-10-20T12:00") == []


async def test_a_job_is_unique_by_its_day_even_where_the_run_was_not_noted(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post_days(client, "2026-10-19")
    assert await run_at(database, "2026-10-20T12:00") == ["update"]
    await end_jobs(database)
    await run(database, "UPDATE schedules SET last_day = NULL, last_run = NULL")
    assert await run_at(database, "2026-10-20T12:01") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-10-19"]
    (same,) = await run(database, "SELECT last_day FROM schedules WHERE name = :name", name=DAILY)
    assert str(same) == "2026-10-19"


async def test_missed_days_and_history_posted_at_once_make_one_job(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post_days(client, "2026-10-19", "2026-11-01")
    assert await run_at(database, "2026-11-05T12:00") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-11-01"]
    await end_jobs(database)
    await post_days(client, "2025-01-01", "2025-03-01")
    assert await run_at(database, "2026-11-05T12:01") == []


async def test_a_week_without_sales_makes_no_job(client: httpx.AsyncClient, database: Database) -> None:
    for number in range(19, 27):
        assert await run_at(database, f"2026-10-{number}T12:00") == []
    await post_days(client, "2026-10-26")
    assert await run_at(database, "2026-10-26T18:00") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-10-26"]


async def test_a_clock_set_back_makes_no_second_job(client: httpx.AsyncClient, database: Database) -> None:
    await post_days(client, "2026-10-19")
    assert await run_at(database, "2026-10-20T03:00") == ["update"]
    await end_jobs(database)
    for now in ("2026-10-20T02:00", "2026-10-19T12:00", "2026-10-20T03:00"):
        assert await run_at(database, now) == []


async def test_no_second_job_while_the_first_one_waits_or_runs(client: httpx.AsyncClient, database: Database) -> None:
    await post_days(client, "2026-10-19")
    assert await run_at(database, "2026-10-19T18:00") == ["update"]
    await post_days(client, "2026-10-20")
    assert await run_at(database, "2026-10-20T18:00") == []
    await run(
        database,
        "UPDATE jobs SET status = 'running', worker = 'w', lease_expires_at = now() WHERE schedule IS NOT NULL",
    )
    assert await run_at(database, "2026-10-21T12:00") == []
    await end_jobs(database)
    assert await run_at(database, "2026-10-21T12:01") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-10-19", "2026-10-20"]


async def test_nothing_is_due_without_a_champion_or_for_one_that_knows_the_day(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post_days(client, "2026-10-19")
    await run(database, "DELETE FROM aliases")
    assert await run_at(database, "2026-10-20T12:00") == []
    assert (await shown(client, DAILY))["next_run"] is None
    await add_champion(database, "2026-10-19", created="2026-10-20T11:00")
    assert await run_at(database, "2026-10-20T12:00") == []
    await post_days(client, "2026-10-20", series=[0])
    assert await run_at(database, "2026-10-21T12:00") == ["update"]


async def test_sales_around_the_clock_are_learned_every_day(client: httpx.AsyncClient, database: Database) -> None:
    """At three in the morning the first sales of the new day are there: what a job learns then is not all of that day."""
    await put(client, DAILY, closed_share=None)
    for number in range(19, 24):
        await post_days(client, f"2026-10-{number}")
        await post_days(client, f"2026-10-{number + 1}", series=[0])
        assert await run_at(database, f"2026-10-{number + 1}T03:00") == ["update"]
        job = (await jobs_of(client, DAILY))[-1]["id"]
        cutoff, made = f"2026-10-{number + 1}", f"2026-10-{number + 1}T03:05"
        await add_champion(database, cutoff, created=made, kind="update", parent=1, job=uuid.UUID(job))
        await end_jobs(database)
        assert await run_at(database, f"2026-10-{number + 1}T12:00") == []
    assert await scheduled_days(database, DAILY) == [f"2026-10-{number}" for number in range(19, 24)]


async def test_days_of_sales_that_were_deleted_hold_no_later_history_up(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Sales of a trial go, and history comes whose newest day is older."""
    await post_days(client, "2026-10-19")
    assert await run_at(database, "2026-10-20T12:00") == ["update"]
    await end_jobs(database)
    assert (await client.delete("/v1/sales", params={"from": "2026-09-21"})).status_code == 200
    await add_champion(database, "2026-09-19")
    assert (await shown(client, DAILY))["next_run"] == "2026-09-21T03:00:00Z"
    assert await run_at(database, "2026-10-20T12:01") == ["update"]
    assert await scheduled_days(database, DAILY) == ["2026-09-20", "2026-10-19"]


async def test_when_it_ran_and_runs_next(client: httpx.AsyncClient, database: Database) -> None:
    before = await shown(client, DAILY)
    assert (before["last_run"], before["next_run"]) == (None, "2026-10-20T03:00:00Z")
    await post_days(client, "2026-10-19")
    assert await run_at(database, "2026-10-19T18:00") == ["update"]
    after = await shown(client, DAILY)
    assert (after["last_run"], after["next_run"]) == ("2026-10-19T18:00:00Z", "2026-10-21T03:00:00Z")
    await end_jobs(database)
    berlin = await put(client, DAILY, timezone="Europe/Berlin", at="02:30", every=6)
    assert berlin["next_run"] == "2026-10-26T01:30:00Z"  # the day after the 25th, UTC+1 since that day
    assert (await put(client, DAILY, enabled=False))["next_run"] is None
    await post_days(client, "2026-10-25")
    assert await run_at(database, "2026-10-27T12:00") == []
    await put(client, DAILY, enabled=True)
    assert await run_at(database, "2026-10-27T12:00") == ["update"], "a closed day is learned at once"
