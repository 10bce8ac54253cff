"""Weights that are damaged or gone: who serves meanwhile, and where that is said."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from app.main import create_app
from models.training import Trained
from tests.forecasts.conftest import Publish, trained_quantities
from tests.forecasts.data import forecast, refused, sell
from tests.support import client_of

Restart = Callable[[], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def restart(settings: Settings, database_url: str) -> AsyncIterator[Restart]:
    """Starts another process's worth of the app on the same home and database."""
    async with AsyncExitStack() as stack:

        async def started() -> httpx.AsyncClient:
            app = create_app(settings, database_url)
            await stack.enter_async_context(app.router.lifespan_context(app))
            return await stack.enter_async_context(client_of(app, settings.admin_key_file.read_text().strip()))

        yield started


async def weights_file(database: Database, settings: Settings, version: int) -> Path:
    async with database.reading() as connection:
        sha256 = await connection.fetchval("SELECT artifact_sha256 FROM versions WHERE version = $1", version)
    return Path(settings.artifacts_location) / f"{sha256}.safetensors"


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


async def test_a_champion_in_memory_keeps_serving_whatever_becomes_of_its_file(
    client: httpx.AsyncClient, database: Database, settings: Settings, publish_version: Publish, lstm: Trained
) -> None:
    version = await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    assert (await forecast(client, "T-1"))["model_version"] == version
    flip_a_byte(await weights_file(database, settings, version))
    await sell(client, "T-1", [9.0])
    body = await forecast(client, "T-1")
    assert (body["model_version"], body["fallback"]) == (version, None)
    assert (await client.get("/readyz")).json()["champion"] == version


async def test_after_a_restart_the_former_champion_serves_and_says_so(
    client: httpx.AsyncClient,
    *,
    database: Database,
    settings: Settings,
    publish_version: Publish,
    lstm: Trained,
    cnn: Trained,
    restart: Restart,
) -> None:
    first, second = await publish_version(cnn), await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    fresh = await forecast(client, "T-1")
    assert fresh["model_version"] == second
    broken = await weights_file(database, settings, second)
    whole = broken.read_bytes()
    flip_a_byte(broken)
    restarted = await restart()
    body = await forecast(restarted, "T-1")
    assert body["model_version"] == first
    assert (body["fallback"]["method"], body["fallback"]["reason"]) == ("former_champion", "champion_unavailable")
    assert broken.name in body["fallback"]["detail"]
    assert len(body["forecast"]) == cnn.forecaster.horizon
    weekly = await forecast(restarted, "T-1", period="week")
    assert weekly["fallback"] == body["fallback"]
    assert any(broken.name in sentence for sentence in (await restarted.get("/readyz")).json()["degraded"])
    problem = await refused(restarted, 409, sku="T-1", model_version=second, period="week")
    assert problem["code"] == "artifact_damaged"
    assert (await forecast(restarted, "T-1", model_version=first))["fallback"] is None
    # Put back, it serves again without a restart of anything but the look at it, which the next start makes at once.
    broken.write_bytes(whole)
    assert await forecast(await restart(), "T-1") == fresh


async def test_without_any_whole_champion_a_simple_method_serves_and_says_so(
    client: httpx.AsyncClient,
    *,
    database: Database,
    settings: Settings,
    publish_version: Publish,
    lstm: Trained,
    restart: Restart,
) -> None:
    version = await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    gone = await weights_file(database, settings, version)
    gone.unlink()
    restarted = await restart()
    body = await forecast(restarted, "T-1")
    assert body["model_version"] is None
    assert (body["fallback"]["method"], body["fallback"]["reason"]) == ("climatology", "champion_unavailable")
    assert gone.name in body["fallback"]["detail"]
    lines = await restarted.post("/v1/forecasts/query", json={"all": True})
    assert lines.json()["forecasts"] == [body]
    assert any(gone.name in sentence for sentence in (await restarted.get("/readyz")).json()["degraded"])


async def test_a_champion_that_turns_out_damaged_when_it_is_first_needed_is_stood_in_for(
    client: httpx.AsyncClient,
    *,
    database: Database,
    settings: Settings,
    publish_version: Publish,
    cnn: Trained,
    lstm: Trained,
) -> None:
    first = await publish_version(cnn)
    await sell(client, "T-1", trained_quantities(1))
    assert (await forecast(client, "T-1"))["model_version"] == first
    second = await publish_version(lstm)
    flip_a_byte(await weights_file(database, settings, second))
    body = await forecast(client, "T-1")
    assert (body["model_version"], body["fallback"]["reason"]) == (first, "champion_unavailable")
    everything = await client.post("/v1/forecasts/query", json={"all": True})
    assert everything.json()["forecasts"] == [body]


async def test_a_version_whose_weights_were_removed_is_named(
    client: httpx.AsyncClient, database: Database, publish_version: Publish, cnn: Trained, lstm: Trained
) -> None:
    first = await publish_version(cnn)
    await publish_version(lstm)
    async with database.transaction() as connection:
        await connection.exec_driver_sql(
            f"UPDATE versions SET artifact_removed_at = '2026-11-01' WHERE version = {first}"
        )
    await sell(client, "T-1", trained_quantities(1))
    both = await asyncio.gather(*(refused(client, 409, sku="T-1", model_version=first) for _ in range(2)))
    problem = both[0]
    assert "removed on 2026-11-01" in problem["detail"]
