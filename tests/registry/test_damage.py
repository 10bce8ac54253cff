"""A champion whose artifact is damaged, seen by whoever reads forecasts: nothing stops, and nothing is hidden."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from app.main import create_app
from app.registry.serving import serving_version
from tests.registry.support import champion_of, file_of, flip_byte, published
from tests.support import client_of

Started = Callable[[], Any]
FIRST_DAY = date(2026, 8, 1)


@pytest.fixture
def started(settings: Settings, database_url: str) -> Started:
    """Starts the API as a fresh process would: nothing in memory."""

    @asynccontextmanager
    async def start() -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(settings, database_url)
        async with (
            app.router.lifespan_context(app),
            client_of(app, settings.admin_key_file.read_text().strip()) as client,
        ):
            yield client

    return start


async def post_days(client: httpx.AsyncClient, days: range) -> None:
    rows = [{"sku": "A", "date": str(FIRST_DAY + timedelta(days=day)), "quantity": 3 + day % 7} for day in days]
    assert (await client.post("/v1/sales", json={"sales": rows})).status_code == 200


async def forecast(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/v1/forecasts", params={"sku": "A", "horizon": 7})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert len(body["forecast"]) == 7
    return body


async def damage(database: Database, settings: Settings, version: int, kind: str) -> str:
    """Damage a version's artifact in one of the ways a disk or a hand does; the name of the file."""
    file = await file_of(database, settings, version, "json" if kind == "flipped JSON" else "safetensors")
    if kind == "gone":
        file.unlink()
    else:
        flip_byte(file, file.stat().st_size // 2)
    return file.name


@pytest.mark.parametrize("kind", ["flipped weights", "gone"])
async def test_the_champion_in_memory_keeps_serving(
    started: Started, database: Database, settings: Settings, kind: str
) -> None:
    await published(database, settings, promote="always")
    async with started() as client:
        await post_days(client, range(100))
        assert (await forecast(client))["model_version"] == 1
        await damage(database, settings, 1, kind)
        await post_days(client, range(100, 101))
        body = await forecast(client)
        assert (body["model_version"], body["fallback"], body["cutoff"]) == (1, None, str(FIRST_DAY + timedelta(100)))


@pytest.mark.parametrize("kind", ["flipped weights", "flipped JSON", "gone"])
async def test_after_a_restart_the_newest_undamaged_former_champion_serves_and_says_so(
    started: Started, database: Database, settings: Settings, kind: str
) -> None:
    for seed in range(3):
        await published(database, settings, promote="always", seed=seed)
    name = await damage(database, settings, 3, kind)
    async with started() as client:
        await post_days(client, range(100))
        body = await forecast(client)
        assert body["model_version"] == 2
        assert body["fallback"] is not None
        assert name in body["fallback"]["detail"]
        assert "version 3" in body["fallback"]["detail"]
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["champion"]) == (200, 3)
        assert any(name in sentence for sentence in ready.json()["degraded"])
        refused = await client.post("/v1/models/3/promote")
        assert (refused.status_code, refused.json()["code"]) == (409, "artifact_damaged")
        # The operator makes it official; then nothing is out of the ordinary any more.
        assert (await client.post("/v1/models/2/promote", json={"expected_champion": 3})).status_code == 200
        assert await forecast(client) | {"generated_at": None} == body | {"generated_at": None, "fallback": None}
        assert not any(name in sentence for sentence in (await client.get("/readyz")).json()["degraded"])


async def test_with_no_undamaged_version_a_simple_method_answers_and_says_so(
    started: Started, database: Database, settings: Settings
) -> None:
    for seed in range(2):
        await published(database, settings, promote="always", seed=seed)
    names = [await damage(database, settings, version, "gone") for version in (1, 2)]
    async with started() as client:
        await post_days(client, range(100))
        body = await forecast(client)
        assert body["model_version"] is None
        assert names[1] in body["fallback"]["detail"]
        assert (await client.get("/readyz")).status_code == 200


async def test_those_left_by_a_rollback_stand_in_last(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    for seed in range(3):
        await published(database, settings, promote="always", seed=seed)
    assert (await client.post("/v1/models/rollback")).json()["version"] == 2
    location, order = settings.artifacts_location, []
    for _ in range(3):
        serving = await serving_version(database, location)
        assert (serving.champion, serving.damage is None) == (2, serving.version == 2)
        assert serving.version is not None
        order.append(serving.version)
        await damage(database, settings, serving.version, "flipped weights")
    assert order == [2, 1, 3]
    nobody = await serving_version(database, location)
    assert (nobody.version, nobody.forecaster, nobody.champion) == (None, None, 2)
    assert nobody.damage is not None and nobody.damage.startswith("The champion, version 2, cannot be loaded.")


async def test_without_a_champion_nothing_serves_and_nothing_is_wrong(database: Database, settings: Settings) -> None:
    await published(database, settings)
    assert await serving_version(database, settings.artifacts_location) == (None, None, None, None)
    assert await champion_of(database) is None


async def test_what_a_process_holds_serves_without_its_files(database: Database, settings: Settings) -> None:
    for seed in range(2):
        await published(database, settings, promote="always", seed=seed)
    held = await serving_version(database, settings.artifacts_location)
    assert held.version == 2 and held.forecaster is not None
    await damage(database, settings, 2, "gone")
    again = await serving_version(database, settings.artifacts_location, {2: held.forecaster})
    assert (again.version, again.forecaster, again.damage) == (2, held.forecaster, None)
