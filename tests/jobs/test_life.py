"""A job's ordinary life, from the request to the published version, an update of it, and failures that are no fault."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from app.registry.artifacts import stored
from tests.jobs.workers import TINY, add_days, add_sales, post_job, until_status, working, working_here
from tests.support import until


@pytest.fixture
async def worker(settings: Settings, database_url: str) -> AsyncIterator[None]:
    """A worker inside the test's own process, which also refreshes forecasts; its children are processes all the same."""
    settings = settings.model_copy(update={"refresh": True})
    async with working(settings, database_url):
        yield


@pytest.mark.usefixtures("sales", "worker")
async def test_a_training_becomes_a_version_and_updates_become_its_children(
    client: httpx.AsyncClient, database: Database
) -> None:
    early = await post_job(client, {"kind": "update"})
    refused = await until_status(client, early, "failed", "succeeded")
    assert (refused["error"]["code"], refused["attempt"]) == ("conflict", 1)
    assert "no champion" in refused["error"]["detail"]

    job = await post_job(client, TINY | {"epochs": 2, "promote": "always"})
    ended = await until_status(client, job, "succeeded", "failed")
    assert (ended["status"], ended["model_version"], ended["attempt"]) == ("succeeded", 1, 1), ended
    assert (ended["progress"], ended["error"], ended["eta_seconds"]) == (1, None, None)
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]
    assert [epoch["epoch"] for epoch in ended["history"]] == [1, 2]
    assert all(epoch["loss"] > 0 and epoch["validation"] > 0 for epoch in ended["history"])
    assert {name: ended[name] for name in ("epoch", "loss", "validation")} == ended["history"][-1]
    model = (await client.get("/v1/models/1")).json()
    assert (model["decision"], model["parent"], model["aliases"]) == (ended["outcome"], None, ["champion"])
    assert (model["trained_on"]["rows"], model["trained_on"]["cutoff"]) == (300, "2026-08-08")
    assert {"model", "seasonal_naive", "moving_average", "exponential_smoothing"} <= set(model["metrics"])

    async def refreshed() -> bool:
        async with database.reading() as connection:
            return await connection.fetchval("SELECT count(*) FROM forecasts WHERE version = 1") == 3

    await until(refreshed)
    idle = await post_job(client, {"kind": "update"})
    ended = await until_status(client, idle, "succeeded", "failed")
    assert (ended["status"], ended["model_version"]) == ("succeeded", None), ended
    assert "2026-08-08" in ended["outcome"]

    await add_days(database, 28)
    job = await post_job(client, {"kind": "update"})
    ended = await until_status(client, job, "succeeded", "failed")
    assert (ended["status"], ended["model_version"]) == ("succeeded", 2), ended
    child = (await client.get("/v1/models/2")).json()
    assert (child["parent"], child["kind"], child["decision"]) == (1, "update", ended["outcome"])
    assert {"model", "parent"} <= set(child["metrics"])
    assert child["trained_on"]["cutoff"] == "2026-09-05"

    job = await post_job(client, TINY | {"seed": 1, "promote": "never"})
    ended = await until_status(client, job, "succeeded", "failed")
    assert ended["model_version"] == 3, ended
    assert "champion" in (await client.get("/v1/models/3")).json()["metrics"]


@pytest.mark.usefixtures("worker_here")
async def test_data_that_cannot_be_trained_on_fails_at_once_with_the_reason(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    nothing = await until_status(client, await post_job(client), "failed", "succeeded")
    assert (nothing["error"]["code"], nothing["attempt"]) == ("not_trainable", 1)
    assert "no sales" in nothing["error"]["detail"]
    await add_sales(database, days=15)
    short = await until_status(client, await post_job(client), "failed", "succeeded")
    assert (short["error"]["code"], short["attempt"], short["model_version"]) == ("not_trainable", 1, None)
    assert "13 more are missing" in short["error"]["detail"]
    assert short["error"]["instance"] == f"/v1/training-jobs/{short['id']}"
    assert stored(settings.artifacts_location) == set()


@pytest.mark.usefixtures("sales")
async def test_an_artifact_store_that_cannot_be_written_is_tried_again_and_then_named(
    client: httpx.AsyncClient, settings: Settings, database_url: str
) -> None:
    (settings.home / "artifacts").write_text("a file where the folder should be")
    async with working_here(settings.model_copy(update={"max_attempts": 2}), database_url):
        ended = await until_status(client, await post_job(client), "failed", "succeeded")
    assert (ended["error"]["code"], ended["attempt"]) == ("unavailable", 2)
    assert "artifact" in ended["error"]["detail"]
