"""What the worker does while nothing else is to be done: forecasts are ready before they are read."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from app.forecasts import inference as inference_room
from app.forecasts.inference import Inference
from app.forecasts.refresh import refresh_stale
from models.training import Trained
from tests.forecasts.conftest import Publish, trained_quantities
from tests.forecasts.data import END, forecast, sell
from tests.support import until


@pytest.fixture
async def worker(database: Database, settings: Settings) -> AsyncIterator[Inference]:
    """What a worker process computes with."""
    worker = Inference(database, settings.artifacts_location)
    yield worker
    await worker.close()


async def generated(database: Database) -> dict[str, str]:
    """When each series' newest forecast was made."""
    async with database.reading() as connection:
        rows = await connection.fetch(
            "SELECT sku, max(generated_at)::text FROM forecasts JOIN series ON series.id = series_id GROUP BY sku"
        )
    return {row[0]: row[1] for row in rows}


async def test_only_what_is_not_fresh_is_computed(
    client: httpx.AsyncClient, database: Database, worker: Inference, publish_version: Publish, lstm: Trained
) -> None:
    for sku in range(3):
        await sell(client, f"T-{sku}", trained_quantities(sku))
    await sell(client, "E-1", trained_quantities(3), last=END - timedelta(days=57))
    assert await refresh_stale(worker) == 0  # without a version that serves there is nothing to do
    version = await publish_version(lstm)
    assert await refresh_stale(worker) == 3
    assert await refresh_stale(worker) == 0
    before = await generated(database)
    assert set(before) == {"T-0", "T-1", "T-2"}
    body = await forecast(client, "T-1")
    assert body["model_version"] == version
    assert await generated(database) == before  # the read found it ready
    await sell(client, "T-1", [50.0])
    assert await refresh_stale(worker) == 1
    after = await generated(database)
    assert {sku for sku in after if after[sku] != before[sku]} == {"T-1"}
    row = {"sku": "T-0", "location": "", "date": str(END + timedelta(days=2)), "price": 3.5}
    await client.put("/v1/calendar", json={"calendar": [row]})
    assert await refresh_stale(worker) == 3


async def test_batches_are_kept_when_the_work_is_broken_off(
    client: httpx.AsyncClient,
    database: Database,
    worker: Inference,
    publish_version: Publish,
    *,
    lstm: Trained,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.forecasts.refresh.BATCH", 2)
    assert inference_room.BATCH == 512
    for sku in range(5):
        await sell(client, f"T-{sku}", trained_quantities(sku))
    await publish_version(lstm)
    asked = iter([True, True, False])
    assert await refresh_stale(worker, proceed=lambda: next(asked)) == 4
    assert set(await generated(database)) == {"T-0", "T-1", "T-2", "T-3"}
    assert await refresh_stale(worker) == 1


async def test_a_post_while_a_refresh_runs_is_not_missed_by_the_next(
    client: httpx.AsyncClient,
    database: Database,
    worker: Inference,
    publish_version: Publish,
    *,
    lstm: Trained,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.forecasts.refresh.BATCH", 1)
    for sku in range(4):
        await sell(client, f"T-{sku}", trained_quantities(sku))
    await publish_version(lstm)
    running = asyncio.create_task(refresh_stale(worker))

    async def first_is_done() -> bool:
        return "T-0" in await generated(database)

    await until(first_is_done)
    await sell(client, "T-0", [50.0])
    assert await running == 4
    assert await refresh_stale(worker) == 1
    assert await refresh_stale(worker) == 0
