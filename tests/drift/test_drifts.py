"""What was found is recorded once, listed in pages, and sets off what the rules say; states are kept from update to update."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.drift.finding import Rule, Watched, learned_at_once, watch
from app.drift.store import FoundDrift, read_states, stage_states
from app.jobs.drifting import record_drift
from app.jobs.upkeep import keep_house
from tests.drift.world import days_before, drifts, have_scored, ids_of, unwatched
from tests.jobs.workers import add_sales
from tests.schedules.world import add_champion, jobs_of, run, shown
from tests.support import client_of

NEWEST = date(2026, 8, 8)
BLOCK = 512


@pytest.fixture
async def sales(database: Database) -> None:
    """Three series, of which the last is in another block."""
    await add_sales(database, series=2)
    await run(database, f"ALTER SEQUENCE series_id_seq RESTART WITH {BLOCK + 88}")
    await run(database, "INSERT INTO series (sku, location, revision, first_day, last_day, rows)"
              " VALUES ('A-2', 'S1', 1, '2026-05-01', '2026-08-08', 1)")  # fmt: skip


def of_segment(day: date, segment: str = "fast", action: str | None = "fine_tuning") -> dict[str, Any]:
    return vars(FoundDrift("segment", None, segment, str(day), str(day), 0.5, None)) | {"action": action}


def of_series(day: date, series_id: int) -> dict[str, Any]:
    return vars(FoundDrift("series", series_id, None, str(day), str(day - timedelta(days=3)), 0.5, 80.0))


async def found(database: Database, day: date, *what: dict[str, Any], acts: bool = True) -> uuid.UUID:
    """A job has scored a day and found this on it."""
    job = uuid.uuid4()
    await run(database, "INSERT INTO scored_days (day, job_id) VALUES (:day, :job)", day=day, job=job)
    async with database.transaction() as connection:
        await record_drift(connection, job, list(what), acts=acts)
    return job


async def states_as_array(database: Database) -> np.ndarray:
    async with database.reading() as driver:
        states = await read_states(driver, await ids_of(database))
    return np.concatenate([states.series.as_array(), states.segments.as_array()])


@pytest.mark.usefixtures("sales")
async def test_two_updates_of_one_day_each_leave_the_state_of_one_update_of_both(database: Database) -> None:
    ratios, kinds = [1.0] * 40 + [3.0, 2.0], [0, 1, 2]
    for back in range(len(ratios)):
        day = NEWEST - timedelta(days=len(ratios) - 1 - back)
        await have_scored(database, day, [ratios[back]], kinds)
    apart = await states_as_array(database)
    whole = watch(unwatched(3), days_before(NEWEST, ratios, kinds), await ids_of(database)).states
    assert np.array_equal(apart, np.concatenate([whole.series.as_array(), whole.segments.as_array()]))
    backwards = watch(unwatched(3), days_before(NEWEST, ratios, kinds)[::-1], await ids_of(database)).states
    assert np.array_equal(backwards.series.as_array(), whole.series.as_array())


@pytest.mark.usefixtures("sales")
async def test_a_state_that_no_scored_day_names_is_not_read_and_removed(database: Database, settings: Settings) -> None:
    old = await have_scored(database, NEWEST - timedelta(days=1), [1.0] * 30, [0, 0, 0])
    newest = await have_scored(database, NEWEST, [1.0], [0, 0, 0])
    before, ids = await states_as_array(database), await ids_of(database)
    async with database.transaction() as connection:
        await stage_states(connection, uuid.uuid4(), unwatched(3), ids)
    assert np.array_equal(await states_as_array(database), before)
    assert old in await run(database, "SELECT job_id FROM drift_states")
    await keep_house(database, settings)
    assert set(await run(database, "SELECT job_id FROM drift_states")) == {newest}
    assert np.array_equal(await states_as_array(database), before)


@pytest.mark.usefixtures("sales")
async def test_a_series_that_is_deleted_leaves_no_drift_and_no_state(
    client: httpx.AsyncClient, database: Database
) -> None:
    first, second, third = (await ids_of(database)).tolist()
    await have_scored(database, NEWEST - timedelta(days=1), [1.0] * 30, [0, 0, 0])
    before = await states_as_array(database)
    await found(database, NEWEST, of_series(NEWEST, second), of_series(NEWEST, third))
    await run(database, "UPDATE scored_days SET job_id = (SELECT job_id FROM drift_states LIMIT 1)")
    assert (await client.delete("/v1/series", params={"sku": "A-1", "location": ""})).status_code == 204
    assert [one["sku"] for one in await drifts(client)] == ["A-2"]
    assert np.array_equal(await states_as_array(database), np.delete(before, 1, axis=0))
    await found(
        database, NEWEST + timedelta(days=1), of_series(NEWEST, second), of_series(NEWEST + timedelta(days=1), first)
    )
    assert [one["sku"] for one in await drifts(client)] == ["A-0", "A-2"]


@pytest.mark.usefixtures("sales")
async def test_drifts_are_listed_page_by_page_and_by_what_is_asked(
    client: httpx.AsyncClient, database: Database
) -> None:
    first, second, _ = (await ids_of(database)).tolist()
    yesterday = NEWEST - timedelta(days=1)
    job = await found(database, yesterday, of_segment(yesterday, "slow", None), of_series(yesterday, first))
    await found(database, NEWEST, of_segment(NEWEST), of_series(NEWEST, first), of_series(NEWEST, second))
    everything = await drifts(client)
    assert [(one["scope"], one["sku"] or one["segment"], one["found_on"]) for one in everything] == [
        ("series", "A-1", "2026-08-08"),
        ("series", "A-0", "2026-08-08"),
        ("segment", "fast", "2026-08-08"),
        ("series", "A-0", "2026-08-07"),
        ("segment", "slow", "2026-08-07"),
    ]
    oldest = everything[-2]
    assert {name: oldest[name] for name in ("location", "segment", "since", "size", "percent", "action", "job_id")} == {
        "location": "", "segment": None, "since": "2026-08-04", "size": 0.5, "percent": 80.0, "action": None,
        "job_id": str(job),
    }  # fmt: skip
    pages, token = [], None
    while not pages or token:
        query = {"page_size": 2} | ({"page_token": token} if token else {})
        answer = (await client.get("/v1/drifts", params=query)).json()
        pages.append(answer["drifts"])
        token = answer["next_page_token"]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in page] == everything
    for query, numbers in (
        ({"scope": "segment"}, [2, 4]),
        ({"scope": "series", "from": "2026-08-08"}, [0, 1]),
        ({"sku": "A-0"}, [1, 3]),
        ({"sku": "A-0", "location": "S1"}, []),
        ({"segment": "slow"}, [4]),
        ({"to": "2026-08-07"}, [3, 4]),
        ({"sku": "nobody"}, []),
    ):
        assert await drifts(client, **query) == [everything[number] for number in numbers], query


async def test_a_question_that_makes_no_sense_is_told_so(client: httpx.AsyncClient) -> None:
    for query, told in (
        ({"scope": "all"}, "scope"),
        ({"segment": "quick"}, "intermittent"),
        ({"from": "2026-02-06", "to": "2026-01-06"}, "is after"),
        ({"page_token": "abc"}, "page_token"),
    ):
        answer = await client.get("/v1/drifts", params=query)
        assert answer.status_code == 422 and told in answer.text


async def test_drifts_are_for_those_who_read_forecasts(app: FastAPI, key_with: Callable[..., Awaitable[str]]) -> None:
    for scope, status in (("forecasts:read", 200), ("models:read", 403)):
        async with client_of(app, await key_with(scope)) as client:
            assert (await client.get("/v1/drifts")).status_code == status


@pytest.mark.usefixtures("sales")
async def test_what_was_found_on_a_day_that_another_job_scored_first_is_not_recorded(
    client: httpx.AsyncClient, database: Database
) -> None:
    await found(database, NEWEST, of_segment(NEWEST))
    async with database.transaction() as connection:
        await record_drift(connection, uuid.uuid4(), [of_segment(NEWEST, "slow")], acts=True)
    assert [one["segment"] for one in await drifts(client)] == ["fast"]


@pytest.fixture
async def retraining(database: Database) -> None:
    """A champion, sales to learn from, and only retraining on, in no hurry."""
    await add_sales(database, series=1)
    await add_champion(database, "2026-08-01")
    await run(database, "UPDATE schedules SET enabled = name = 'retraining'")


@pytest.mark.usefixtures("retraining")
async def test_a_segment_that_drifts_again_within_28_days_has_retraining_brought_forward_once(
    client: httpx.AsyncClient, database: Database
) -> None:
    days = [NEWEST + timedelta(days=after) for after in (0, 29, 57, 60)]
    await found(database, days[0], of_segment(days[0]))
    await found(database, days[1], of_segment(days[1]))  # too late to be called again
    await found(
        database, days[1] + timedelta(days=1), of_segment(days[1] + timedelta(days=1), "slow")
    )  # another segment
    assert await jobs_of(client, "retraining") == []
    await found(database, days[2], of_segment(days[2]))
    (job,) = await jobs_of(client, "retraining")
    assert (job["kind"], job["status"]) == ("train", "queued")
    plan = await shown(client, "retraining")
    assert plan["last_run"] is not None and plan["next_run"] > plan["last_run"], "the next one counts from this one"
    await run(database, "UPDATE jobs SET status = 'succeeded', finished_at = now(), result = '{}'")
    await found(database, days[3], of_segment(days[3]))
    assert len(await jobs_of(client, "retraining")) == 1
    told = {one["found_on"]: one["action"] for one in await drifts(client, segment="fast")}
    assert list(told.values()) == ["fine_tuning", "retraining", "fine_tuning", "fine_tuning"]


@pytest.mark.usefixtures("retraining")
@pytest.mark.parametrize("why", ["not learned from", "switched off", "schedule off", "job unfinished"])
async def test_and_is_left_alone_otherwise(client: httpx.AsyncClient, database: Database, why: str) -> None:
    later = NEWEST + timedelta(days=5)
    if why == "schedule off":
        await run(database, "UPDATE schedules SET enabled = false")
    if why == "job unfinished":
        await run(database, "INSERT INTO jobs (kind, request, schedule, scheduled_for) VALUES"
                  " ('train', '{}', 'retraining', '2026-08-01')")  # fmt: skip
    before = await jobs_of(client, "retraining")
    await found(database, NEWEST, of_segment(NEWEST, action=None if why == "not learned from" else "fine_tuning"))
    await found(database, later, of_segment(later), acts=why != "switched off")
    assert await jobs_of(client, "retraining") == before
    assert (await drifts(client))[0]["action"] == "fine_tuning"


def watched_with(*what: dict[str, Any], series: int = 100) -> Watched:
    return Watched(unwatched(1), [FoundDrift(**one) for one in what], series)


def actions(watched: Watched | None) -> list[str | None] | None:
    return None if watched is None else [one.action for one in watched.found]


def test_an_update_learns_on_at_once_when_a_segment_drifts_or_enough_series_lately() -> None:
    segment, rule = of_segment(NEWEST, action=None), Rule(acts=True, series_percent=5.0)
    two = [of_series(NEWEST, 1), of_series(NEWEST, 2)]
    assert actions(learned_at_once(watched_with(), {7, 8, 9, 10, 11, 12}, rule)) is None, "nothing new was found"
    assert actions(learned_at_once(watched_with(*two, segment), set(), rule)) == [None, None, "fine_tuning"]
    assert actions(learned_at_once(watched_with(*two), {1, 8, 9}, rule)) is None
    assert actions(learned_at_once(watched_with(*two), {7, 8, 9}, rule)) == ["fine_tuning", "fine_tuning"]
    off = Rule(acts=False, series_percent=5.0)
    assert learned_at_once(watched_with(*two, segment), {7, 8, 9}, off) is None


async def test_housekeeping_forgets_no_drift(database: Database, settings: Settings, client: httpx.AsyncClient) -> None:
    await found(database, date(2020, 1, 1), of_segment(date(2020, 1, 1)))
    await keep_house(database, settings)
    async with database.transaction() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM drifts"))).scalar_one() == 1
    assert len(await drifts(client)) == 1
