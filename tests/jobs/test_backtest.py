"""Backtests over HTTP with real workers: both forms, their table read back, what is refused, and how they end otherwise."""

import io
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.errors import Problem
from app.jobs import results, upkeep
from app.jobs.backtesting import backtested, outcome
from app.registry.artifacts import save
from models.baselines import BASELINES
from models.errors_by_part import TABLE
from models.evaluation import SCORED_LEVELS
from models.panel import Panel
from models.progress import Progress, TimeLimitReached
from tests.jobs.workers import (
    LONG,
    OVERLONG,
    TINY,
    Workers,
    add_days,
    add_sales,
    count_versions,
    post_job,
    until_status,
    working,
)
from tests.registry.support import flip_byte, published, weights_of
from tests.support import client_of, until

JOBS = "/v1/training-jobs"
PARQUET = {"Accept": "application/vnd.apache.parquet"}
BACKTEST = TINY | {"kind": "backtest", "windows": 3, "step": 7}
SOURCES = {"model", "seasonal_naive", "moving_average", "exponential_smoothing"}


@pytest.fixture
async def worker(settings: Settings, database_url: str) -> AsyncIterator[None]:
    """A worker inside the test's own process; its children are processes all the same."""
    async with working(settings, database_url):
        yield


async def ended(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    return await until_status(client, await post_job(client, body), "succeeded", "failed")


async def result_of(client: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    answer = await client.get(f"{JOBS}/{job['id']}/backtest")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def table_of(client: httpx.AsyncClient, job: dict[str, Any]) -> pd.DataFrame:
    answer = await client.get(f"{JOBS}/{job['id']}/backtest", headers=PARQUET)
    assert answer.status_code == 200, answer.text
    return pq.read_table(io.BytesIO(answer.content)).to_pandas()


@pytest.mark.usefixtures("sales", "worker")
async def test_a_fresh_network_is_judged_and_its_table_is_verified_and_nothing_is_published(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    job = await ended(client, BACKTEST)
    assert (job["status"], job["kind"], job["model_version"], job["progress"]) == ("succeeded", "backtest", None, 1), (
        job
    )
    assert (job["request"]["windows"], job["request"]["epochs"]) == (3, 1)
    assert [epoch["epoch"] for epoch in job["history"]] == [1]
    assert await count_versions(database) == 0

    found = await result_of(client, job)
    assert (found["id"], found["model"], found["model_version"], found["horizon"]) == (job["id"], "lstm", None, 7)
    assert [(w["cutoff"], w["weights"]) for w in found["windows"]] == [
        ("2026-07-18", "trained"),
        ("2026-07-25", "trained"),
        ("2026-08-01", "trained"),
    ]
    assert found["newest_day"] == "2026-08-08"
    assert found["left_out"] == {"cutoffs": [], "reason": None}
    assert (found["overall"]["forecasts"], found["overall"]["observed"]) == (9, 63)
    assert found["outcome"] == job["outcome"]
    assert (
        f"A fresh lstm has a WQL of {found['overall']['scores']['model']['wql']:.4f} over 3 windows of 7 days"
        in job["outcome"]
    )
    assert [part["segment"] for part in found["segments"]] == ["fast"]
    assert [part["days"] for part in found["horizons"]] == ["1-7"]

    answer = await client.get(f"{JOBS}/{job['id']}/backtest", headers=PARQUET)
    assert (answer.status_code, answer.headers["content-type"]) == (200, PARQUET["Accept"])
    assert answer.headers["content-disposition"] == f'attachment; filename="backtest-{job["id"]}.parquet"'
    assert len(answer.content) == found["table"]["bytes"]
    file = pq.ParquetFile(io.BytesIO(answer.content))
    assert file.schema_arrow.equals(TABLE)
    assert orjson.loads(file.schema_arrow.metadata[b"shelfcast"]) == {"job": job["id"]}
    table = file.read().to_pandas()
    assert len(table) == found["table"]["rows"] == 3 * 3 * 4
    assert set(table["source"]) == SOURCES == set(found["overall"]["scores"])
    check_scores(found, table)

    path = Path(settings.artifacts_location) / f"{found['table']['sha256']}.parquet"
    flip_byte(path, path.stat().st_size // 2)
    for wrong in ("is damaged", "is missing"):
        answer = await client.get(f"{JOBS}/{job['id']}/backtest", headers=PARQUET)
        assert (answer.status_code, answer.json()["code"]) == (409, "artifact_damaged")
        assert f"{path.name} {wrong}" in answer.json()["detail"]
        path.unlink(missing_ok=True)
    assert await result_of(client, job) == found  # the summary stands in the database


def check_scores(found: dict[str, Any], table: pd.DataFrame) -> None:
    """The scores of the summary come out of the table's sums."""
    table["pinball"] = table[[f"pinball_{level}" for level in SCORED_LEVELS]].mean(axis=1)
    sums = table.groupby(["source", "cutoff"])[
        ["pinball", "sales", "absolute_error", "mean", "observed", "to_0.9"]
    ].sum()
    scaled = table.assign(scaled=table["absolute_error"] / table["scale"]).groupby(["source", "cutoff"])["scaled"].sum()
    for source, scores in found["overall"]["scores"].items():
        one = sums.loc[source]
        assert (one["pinball"] / one["sales"]).mean() == pytest.approx(scores["wql"], rel=1e-5)
        assert (one["absolute_error"] / one["sales"]).mean() == pytest.approx(scores["wape"])
        assert ((one["mean"] - one["sales"]) / one["sales"]).mean() == pytest.approx(scores["bias"])
        assert (one["to_0.9"] / one["observed"]).mean() == pytest.approx(scores["coverage"]["0.9"])
        assert (scaled.loc[source] / one["observed"]).mean() == pytest.approx(scores["mase"])


@pytest.mark.usefixtures("sales", "worker_here")
async def test_a_version_is_judged_by_days_it_has_not_learned_from(
    client: httpx.AsyncClient, database: Database
) -> None:
    """Trained on 100 days, its twin on 80; then 14 more come in."""
    trained = await ended(client, TINY)
    assert trained["model_version"] == 1, trained
    await add_days(database, 14)
    body = {"kind": "backtest", "model_version": 1, "windows": 5, "step": 7}
    job = await ended(client, body)
    assert job["status"] == "succeeded", job
    assert (job["request"]["horizon"], job["model_version"]) == (7, None)
    found = await result_of(client, job)
    assert (found["model"], found["model_version"]) == ("lstm", 1)
    assert [(w["cutoff"], w["weights"]) for w in found["windows"]] == [
        ("2026-07-25", "twin"),
        ("2026-08-01", "twin"),
        ("2026-08-08", "version"),
        ("2026-08-15", "version"),
    ]
    assert found["left_out"]["cutoffs"] == ["2026-07-18"]
    assert "its twin until 2026-07-19" in found["left_out"]["reason"]
    assert "1 of the 5 windows was left out" in job["outcome"] and job["outcome"].startswith("Version 1 has a WQL of ")
    check_scores(found, await table_of(client, job))

    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM sales WHERE day > '2026-07-25'"))
    job = await ended(client, body)
    assert (job["status"], job["error"]["code"]) == ("failed", "not_trainable")
    assert "Wait for the sales of 1 more day" in job["error"]["detail"]
    assert '"model": "lstm"' in job["error"]["detail"]
    assert await count_versions(database) == 1


@pytest.mark.usefixtures("worker_here")
async def test_windows_without_history_are_left_out_and_none_left_fails(
    client: httpx.AsyncClient, database: Database
) -> None:
    await add_sales(database, days=34)
    short = await ended(client, BACKTEST)
    assert (short["status"], short["error"]["code"]) == ("failed", "not_trainable")
    assert "1 more are missing" in short["error"]["detail"]
    await add_days(database, 1)
    job = await ended(client, BACKTEST)
    assert job["status"] == "succeeded", job
    assert "2 of the 3 windows were left out: fewer than the 28 days" in job["outcome"]
    assert len((await result_of(client, job))["left_out"]["cutoffs"]) == 2


@pytest.mark.usefixtures("sales")
async def test_cancelled_lost_and_overdue_backtests(
    client: httpx.AsyncClient, settings: Settings, workers: Workers
) -> None:
    long = LONG | {"kind": "backtest", "windows": 1}
    queued = await post_job(client, long)
    assert (await client.post(f"{JOBS}/{queued}/cancel")).json()["status"] == "cancelled"
    running = await post_job(client, long)
    worker = workers.start()
    refused = await client.get(f"{JOBS}/{running}/backtest")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")

    async def training() -> bool:
        return bool((await client.get(f"{JOBS}/{running}")).json()["epoch"])

    await until(training, seconds=60)
    assert (await client.post(f"{JOBS}/{running}/cancel")).status_code == 202
    await until_status(client, running, "cancelled")
    assert workers.child(worker) is None
    overdue = await ended(client, long | OVERLONG)
    assert (overdue["status"], overdue["error"]["code"]) == ("failed", "time_limit")
    for job, said in ((queued, "was cancelled"), (running, "was cancelled"), (overdue["id"], "has failed: ")):
        answer = await client.get(f"{JOBS}/{job}/backtest")
        assert answer.status_code == 409 and said in answer.json()["detail"], answer.text
    assert results.stored(settings.artifacts_location) == set()


async def test_only_backtests_have_results(
    client: httpx.AsyncClient, app: FastAPI, key_with: Callable[..., Awaitable[str]]
) -> None:
    training = await post_job(client)
    answer = await client.get(f"{JOBS}/{training}/backtest")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "no backtest" in answer.json()["detail"]
    for job in (str(uuid.UUID(int=7)), "7"):
        assert (await client.get(f"{JOBS}/{job}/backtest")).status_code == 404
    backtest = await post_job(client, BACKTEST)
    answer = await client.get(f"{JOBS}/{backtest}/backtest")
    assert (answer.status_code, "is queued" in answer.json()["detail"]) == (409, True)
    answer = await client.get(f"{JOBS}/{backtest}/backtest", headers={"Accept": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    listed = (await client.get(JOBS, params={"kind": "backtest"})).json()["jobs"]
    assert [job["id"] for job in listed] == [backtest]
    async with client_of(app, await key_with("sales:read")) as stranger:
        assert (await stranger.get(f"{JOBS}/{backtest}/backtest")).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({"model": "arima"}, "model"),
        ({"model": "lstm", "model_version": 1}, "model"),
        ({"model": None, "model_version": 1}, "model"),
        ({"model": "lstm", "model_version": None}, "model_version"),
        ({"model_version": 0}, "model_version"),
        ({"model_version": "1"}, "model_version"),
        ({"model_version": 1, "epochs": 3}, "epochs"),
        ({"model_version": 1, "context_length": 14}, "context_length"),
        ({"model_version": 1, "promote": "never"}, "promote"),
        ({"model_version": 1, "horizon": 8}, "horizon"),
        ({"model_version": 1, "horizon": 0}, "horizon"),
        ({"model_version": 1, "max_seconds": 0}, "max_seconds"),
        ({"model": "lstm", "promote": "never"}, "promote"),
        ({"model": "lstm", "windows": 0}, "windows"),
        ({"model": "lstm", "windows": 53}, "windows"),
        ({"model": "lstm", "windows": 5.0}, "windows"),
        ({"model": "lstm", "step": 0}, "step"),
        ({"model_version": 1, "step": 366}, "step"),
        ({"model": "lstm", "horizon": 366}, "horizon"),
    ],
)
async def test_what_cannot_be_backtested_is_refused_by_field(
    client: httpx.AsyncClient, database: Database, settings: Settings, body: dict[str, Any], field: str
) -> None:
    await published(database, settings)  # version 1, of a horizon of 7
    answer = await client.post(JOBS, json={"kind": "backtest", **body})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field], answer.text
    assert (await client.get(JOBS)).json()["jobs"] == []


async def test_defaults_are_filled_in_and_an_unknown_version_is_not_found(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    answer = await client.post(JOBS, json={"kind": "backtest", "model_version": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    await published(database, settings)
    asked = (await client.post(JOBS, json={"kind": "backtest", "model_version": 1})).json()["request"]
    assert asked == {
        "kind": "backtest",
        "model_version": 1,
        "horizon": 7,
        "windows": 5,
        "step": 28,
        "max_seconds": 1800,
    }
    asked = (await client.post(JOBS, json={"kind": "backtest", "model": "cnn"})).json()["request"]
    assert (asked["windows"], asked["step"], asked["horizon"], asked["context_length"]) == (5, 28, 28, 56)
    assert "promote" not in asked
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE versions SET artifact_removed_at = now()"))
    answer = await client.post(JOBS, json={"kind": "backtest", "model_version": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_damaged")


def test_the_outcome_is_a_sentence_whatever_was_measured() -> None:
    scores = {name: {"wql": wql} for name, wql in zip(("model", *BASELINES), (0.2, 0.5, 0.3, 0.4), strict=True)}
    found: dict[str, Any] = {
        "model": "cnn",
        "model_version": None,
        "horizon": 1,
        "windows": [{}],
        "left_out": {"cutoffs": ["2026-01-01"], "reason": "of a reason"},
        "overall": {"scores": scores},
    }
    assert outcome(found) == (
        "A fresh cnn has a WQL of 0.2000 over 1 window of 1 day, beside the 0.3000 of the best baseline's, moving average. "
        "1 of the 2 windows was left out: of a reason."
    )
    nothing = {name: {"wql": None} for name in scores}
    unsold = found | {"overall": {"scores": nothing}, "left_out": {"cutoffs": [], "reason": None}}
    assert outcome(unsold) == "Nothing was sold in the 1 window of 1 day, so no WQL could be measured."


def test_a_backtest_in_the_child_tells_how_far_it_is_and_keeps_its_limit(tmp_path: Path) -> None:
    """A version trained until 2026-10-31, without a twin; sales until 2026-11-23."""
    quantity = np.random.default_rng(1).poisson(4, (2, 90)).astype(np.float32)
    panel = Panel(["A", "B"], ["", ""], np.datetime64("2026-08-26"), quantity)
    artifact = save(str(tmp_path), *weights_of(), job_id=uuid.uuid4())
    request = {"model_version": 3, "horizon": 7, "windows": 4, "step": 5, "max_seconds": 60}
    task = {"job_id": str(uuid.uuid4()), "artifacts": str(tmp_path), "request": request}
    told: list[Progress] = []
    done = backtested(task, panel, (3, artifact.sha256), told.append)
    assert [p.fraction for p in told] == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4, 1])
    assert {p.stage for p in told} == {"backtesting"}
    assert [w["cutoff"] for w in done["backtest"]["windows"]] == [
        "2026-11-01",
        "2026-11-06",
        "2026-11-11",
        "2026-11-16",
    ]
    assert results.load(str(tmp_path), done["table"]["sha256"])
    again = backtested(task, panel, (3, artifact.sha256), told.append)
    assert again == done, "an attempt repeated gives the same bytes under the same name"
    task["request"] = request | {"max_seconds": 0}
    with pytest.raises(TimeLimitReached, match="limit of 0 s, 0 of 4 windows done"):
        backtested(task, panel, (3, artifact.sha256), told.append)
    assert results.stored(str(tmp_path)) == {done["table"]["sha256"]}


def test_a_store_that_cannot_be_written_is_said_and_an_object_store_works(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Problem, match="artifact store cannot be written") as raised:
        results.save(str(tmp_path / "file"), b"table")
    assert raised.value.code == "unavailable"
    location = f"memory://{uuid.uuid4().hex}"
    table = results.save(location, b"table")
    assert (results.load(location, table.sha256), table.bytes) == (b"table", 5)
    assert results.remove(location, table.sha256) and not results.remove(location, table.sha256)


async def a_backtest(database: Database, settings: Settings, days_ago: float, status: str = "succeeded") -> str:
    """A finished job with a table, as a worker leaves them; the address of the table."""
    job = uuid.uuid4()
    content, rows = results.parquet([TABLE.empty_table()], TABLE, {"job": str(job)})
    table = results.save(settings.artifacts_location, content)
    result = {"version": None, "outcome": "", "backtest": {}, "table": {**table._asdict(), "rows": rows}}
    ends = {
        "succeeded": {"result": orjson.dumps(result).decode(), "error": None},
        "failed": {"result": None, "error": "{}"},
    }
    async with database.transaction() as connection:
        await connection.execute(
            text("""
            INSERT INTO jobs (id, kind, status, attempt, finished_at, result, error)
            VALUES (:id, 'backtest', :status, 1, now() - make_interval(secs => :seconds), CAST(:result AS jsonb),
                    CAST(:error AS jsonb))"""),
            {"id": job, "status": status, "seconds": days_ago * 86_400, **ends[status]},
        )
    return table.sha256


async def test_a_table_goes_with_its_job_and_not_before(database: Database, settings: Settings) -> None:
    old, young = await a_backtest(database, settings, 30.1), await a_backtest(database, settings, 29.9)
    gone = await a_backtest(database, settings, 31)
    results.remove(settings.artifacts_location, gone)  # an earlier round was interrupted here
    for _ in range(2):
        await upkeep.keep_house(database, settings)
        assert results.stored(settings.artifacts_location) == {young}
        async with database.reading() as connection:
            left = await connection.fetch("SELECT result #>> '{table,sha256}' AS sha256 FROM jobs")
        assert [row["sha256"] for row in left] == [young]
    assert old != young


async def test_a_table_that_no_job_names_goes_after_a_day(database: Database, settings: Settings) -> None:
    location = Path(settings.artifacts_location)
    lost, fresh = [await a_backtest(database, settings, 2, "failed") for _ in range(2)]
    named = await a_backtest(database, settings, 2)
    content, _ = results.parquet([TABLE.empty_table()], TABLE, {"job": str(uuid.uuid4())})
    foreign = results.save(settings.artifacts_location, content).sha256
    damaged = results.save(settings.artifacts_location, b"no Parquet").sha256
    then = time.time() - timedelta(hours=25).total_seconds()
    for sha256 in (lost, named, foreign, damaged):
        os.utime(location / f"{sha256}.parquet", (then, then))
    unfinished = location / f".{lost}.parquet.{'0' * 32}.tmp"
    unfinished.write_bytes(b"half")
    os.utime(unfinished, (then, then))
    await upkeep.keep_house(database, settings)
    assert results.stored(settings.artifacts_location) == {fresh, named, foreign, damaged}
    assert not unfinished.exists()
