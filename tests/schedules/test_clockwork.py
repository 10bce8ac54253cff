"""Fine-tuning, retraining and housekeeping: by the clock, once, and only when there is something to learn."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.jobs.schemas import TrainRequest
from app.jobs.upkeep import keep_house_when_due
from app.jobs.worker import run_worker
from models.training_config import TrainingConfig
from tests.schedules.world import (
    LSTM,
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
from tests.support import until


async def test_fine_tuning_runs_every_week_from_the_training_that_became_champion(
    client: httpx.AsyncClient, database: Database
) -> None:
    await only(database, "fine-tuning")
    await post_days(client, "2026-09-01", "2026-09-05")
    await add_champion(database, "2026-09-05", created="2026-09-06T12:00")
    await post_days(client, "2026-09-06", "2026-09-12")
    assert (await shown(client, "fine-tuning"))["next_run"] == "2026-09-13T04:00:00Z"
    assert await run_at(database, "2026-09-13T03:59") == []
    assert await run_at(database, "2026-09-13T04:00") == ["fine_tune"]
    (job,) = await jobs_of(client, "fine-tuning")
    assert (job["kind"], job["request"]["fine_tune"], job["request"]["promote"]) == ("update", True, "auto")
    await end_jobs(database)
    assert await run_at(database, "2026-09-20T04:00") == [], "no day has come in since"
    await post_days(client, "2026-09-20")
    # Since then it is due, and catches up once; the weekday stays.
    assert await run_at(database, "2026-10-09T04:00") == ["fine_tune"]
    await end_jobs(database)
    await post_days(client, "2026-09-21")
    assert await run_at(database, "2026-10-09T04:01") == []
    assert await scheduled_days(database, "fine-tuning") == ["2026-09-13", "2026-10-04"]
    found = await shown(client, "fine-tuning")
    assert (found["last_run"], found["next_run"]) == ("2026-10-09T04:00:00Z", "2026-10-11T04:00:00Z")


async def test_sales_that_were_deleted_do_not_count_as_seen(client: httpx.AsyncClient, database: Database) -> None:
    await only(database, "retraining")
    await post_days(client, "2026-09-01", "2026-09-05")
    await add_champion(database, "2026-09-04", created="2026-09-05T12:00")
    assert await run_at(database, "2026-10-04T05:00") == ["train"]
    await end_jobs(database)
    await client.delete("/v1/sales", params={"from": "2026-09-01", "to": "2026-09-05"})
    assert await run_at(database, "2026-11-01T05:00") == []
    await post_days(client, "2026-08-01", "2026-08-31")
    assert await run_at(database, "2026-11-01T05:01") == ["train"]


async def test_a_training_that_became_champion_puts_fine_tuning_off(
    client: httpx.AsyncClient, database: Database
) -> None:
    await only(database, "fine-tuning")
    await post_days(client, "2026-09-01", "2026-09-20")
    await add_champion(database, "2026-09-01", created="2026-09-02T12:00")
    await add_champion(database, "2026-09-14", created="2026-09-15T12:00", promoted=False)
    assert (await shown(client, "fine-tuning"))["next_run"] == "2026-09-09T04:00:00Z", "in the past: due"
    await add_champion(database, "2026-09-15", created="2026-09-16T12:00")
    assert (await shown(client, "fine-tuning"))["next_run"] == "2026-09-23T04:00:00Z"
    assert await run_at(database, "2026-09-22T12:00") == []
    assert await run_at(database, "2026-09-23T04:00") == ["fine_tune"]


async def test_retraining_asks_for_the_champions_own_training_and_counts_from_any(
    client: httpx.AsyncClient, database: Database
) -> None:
    await only(database, "retraining")
    await post_days(client, "2026-08-01", "2026-08-31")
    asked = TrainRequest(model="lstm", horizon=7, width=16, epochs=3, loss="mse", cleaning="none", seed=5, noise=0.1)
    config = TrainingConfig(
        model="lstm", horizon=7, width=16, epochs=3, loss="mse", cleaning="none", seed=5, noise=0.1, known=("promo",)
    )
    await add_champion(database, "2026-08-31", config=config.members()[0].as_dict())
    await post_days(client, "2026-09-01", "2026-09-28")
    assert await run_at(database, "2026-09-29T04:59") == []
    assert await run_at(database, "2026-09-29T05:00") == ["train"]
    (job,) = await jobs_of(client, "retraining")
    assert job["request"] == asked.filled_in()
    assert (job["kind"], job["schedule"]) == ("train", "retraining")
    await end_jobs(database)
    # One that somebody asked for and that was not promoted: the next is 28 days after it.
    await add_champion(database, "2026-10-09", created="2026-10-10T12:00", promoted=False)
    await post_days(client, "2026-09-29", "2026-11-01")
    assert await run_at(database, "2026-10-28T05:00") == []
    assert (await shown(client, "retraining"))["next_run"] == "2026-11-07T05:00:00Z"
    assert await run_at(database, "2026-11-20T05:00") == ["train"]
    assert await scheduled_days(database, "retraining") == ["2026-09-29", "2026-11-07"]


def described(model: str, **fields: Any) -> dict[str, Any]:
    """The configuration of a version, as the forecaster describes it."""
    members = [member.as_dict() for member in TrainingConfig(model=model, **fields).members()]  # type: ignore[arg-type]
    if len(members) == 1:
        return members[0]
    return {"architecture": "ensemble", "horizon": members[0]["horizon"], "members": members}


@pytest.mark.parametrize(
    "fields",
    [{}, {"horizon": 14, "width": 32, "context_length": 28, "seed": 3, "max_seconds": 7200.0}, {"loss": "mae"}],
    ids=str,
)
async def test_an_ensemble_is_asked_for_again_by_what_its_members_share(
    client: httpx.AsyncClient, database: Database, fields: dict[str, Any]
) -> None:
    asked = await retrained(client, database, described("ensemble", **fields))
    assert asked == TrainRequest(model="ensemble", **fields).filled_in()


async def test_an_update_of_a_student_is_distilled_again_from_an_ensemble(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Its own width and context are those of a small network; all else was its teachers'."""
    student = TrainingConfig(model="ensemble", horizon=7, epochs=5).student().as_dict()
    metrics = {"compressed": {"kept": "student", "sentence": "…"}}
    root = await add_champion(database, "2026-08-31", config=student, metrics=metrics)
    asked = await retrained(client, database, student, kind="update", parent=root)
    assert asked == TrainRequest(model="ensemble", horizon=7, epochs=5, layers=2, compress=True).filled_in()


async def test_what_an_older_version_does_not_tell_is_left_to_defaults(
    client: httpx.AsyncClient, database: Database
) -> None:
    config = {name: value for name, value in LSTM.items() if name not in ("cleaning", "noise")}
    asked = await retrained(client, database, config | {"dropout": 7.0, "horizon": 14})
    assert asked == TrainRequest(model="lstm", horizon=14, width=16, epochs=3, cleaning="none").filled_in()


async def test_a_configuration_that_contradicts_itself_is_left_to_defaults(
    client: httpx.AsyncClient, database: Database
) -> None:
    config = TrainingConfig(model="transformer", width=64, heads=4).members()[0].as_dict()
    asked = await retrained(client, database, config | {"heads": 5})
    assert asked == TrainRequest(model="transformer").filled_in()


async def test_a_network_that_nobody_knows_any_more_is_no_reason_to_stop(
    client: httpx.AsyncClient, database: Database
) -> None:
    await run(database, "UPDATE schedules SET since = '2026-01-01'")
    await post_days(client, "2026-08-01", "2026-08-31")
    await add_champion(database, "2026-08-30", config=LSTM | {"architecture": "arima"})
    assert set(await run_at(database, "2026-10-20T12:00")) == {"update", "fine_tune", "train"}
    assert await jobs_of(client, "retraining") == []
    assert len(await jobs_of(client, "daily-update")) == 1
    assert await run_at(database, "2026-10-20T12:01") == []


async def retrained(
    client: httpx.AsyncClient, database: Database, config: dict[str, Any], **version: Any
) -> dict[str, Any]:
    """What retraining a champion of this configuration asks for."""
    await only(database, "retraining")
    await post_days(client, "2026-08-01", "2026-09-05")
    await add_champion(database, "2026-08-31", config=config, **version)
    assert await run_at(database, "2026-10-20T12:00") == ["train"]
    (job,) = await jobs_of(client, "retraining")
    return dict(job["request"])


async def test_enabling_a_schedule_does_not_make_up_for_when_it_was_off(
    client: httpx.AsyncClient, database: Database
) -> None:
    await only(database, "daily-update")
    await post_days(client, "2025-01-01", "2025-01-31")
    await add_champion(database, "2025-01-15", created="2025-01-16T12:00")
    now = (await run(database, "SELECT CAST(now() AS text)"))[0][:16].replace(" ", "T")
    enabled = await put(client, "retraining", enabled=True, every=1)
    assert enabled["next_run"] > now
    assert "train" not in await run_at(database, now)
    assert await run_at(database, enabled["next_run"][:16]) == ["train"]


async def test_a_schedule_that_fails_stops_no_other(client: httpx.AsyncClient, database: Database) -> None:
    """A time zone that this machine does not know."""
    await run(database, "UPDATE schedules SET since = '2026-01-01'")
    await run(database, "UPDATE schedules SET timezone = 'Nowhere/Land' WHERE name = 'fine-tuning'")
    await post_days(client, "2026-08-01", "2026-08-31")
    await add_champion(database, "2026-08-30")
    assert set(await run_at(database, "2026-10-20T12:00")) == {"update", "train"}
    assert len(await jobs_of(client, "daily-update")) == 1
    assert await jobs_of(client, "fine-tuning") == []


async def test_housekeeping_that_is_cut_off_is_made_up_for(database: Database, settings: Settings) -> None:
    """Nobody does the same beside it meanwhile."""
    await only(database, "housekeeping")

    async def waits() -> bool:
        query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'workers'::regclass)"
        return (await run(database, query)) == [True]

    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE workers"))
        cut_off = asyncio.create_task(keep_house_when_due(database, settings))
        await until(waits)
        assert not await keep_house_when_due(database, settings)
        cut_off.cancel()
        await asyncio.wait([cut_off])
    assert await run(database, "SELECT last_run FROM schedules WHERE name = 'housekeeping'") == [None]
    assert await keep_house_when_due(database, settings)
    assert not await keep_house_when_due(database, settings)


async def test_housekeeping_needs_no_champion_and_makes_no_job(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    await only(database, "housekeeping", since="2026-10-19T12:00+00")
    assert (await shown(client, "housekeeping"))["next_run"] == "2026-10-20T02:00:00Z"

    async def kept(now: str) -> bool:
        return await keep_house_when_due(database, settings, now=moment(now))

    assert not await kept("2026-10-20T01:59")
    assert sorted(await asyncio.gather(*(kept("2026-10-20T02:00") for _ in range(3)))) == [False, False, True]
    assert not await kept("2026-10-20T02:01")
    assert await kept("2026-11-05T12:00")
    found = await shown(client, "housekeeping")
    assert (found["last_run"], found["next_run"]) == ("2026-11-05T12:00:00Z", "2026-11-06T02:00:00Z")
    assert (await client.get("/v1/training-jobs")).json()["jobs"] == []


async def test_a_worker_keeps_house_and_makes_what_is_due(
    client: httpx.AsyncClient, database: Database, database_url: str, settings: Settings
) -> None:
    await run(database, "UPDATE schedules SET since = '2026-01-01', enabled = name IN ('daily-update', 'housekeeping')")
    await run(database, "INSERT INTO workers (name, heartbeat_at) VALUES ('gone', now() - interval '25 hours')")
    await post_days(client, "2026-09-01", "2026-09-05")
    await run(database, "UPDATE posts SET created_at = created_at - interval '1 hour'")
    await add_champion(database, "2026-09-01")
    stop = asyncio.Event()
    settings = settings.model_copy(update={"refresh": False})
    working = asyncio.create_task(run_worker(settings, database_url, stop=stop))

    async def done() -> bool:
        kept = await run(database, "SELECT name FROM schedules WHERE kind = 'housekeeping' AND last_run IS NOT NULL")
        made = await run(database, "SELECT id FROM jobs WHERE schedule = 'daily-update' AND attempt > 0")
        return bool(kept and made)

    try:
        await until(done)
    finally:
        stop.set()
        await asyncio.wait_for(working, 15)
    assert await run(database, "SELECT name FROM workers WHERE name = 'gone'") == []
