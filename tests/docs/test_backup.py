"""Back-up and restore as docs/operations.md describes them: its commands are run, and the same forecast is answered."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from app.config import Settings
from app.database.embedded import opened
from app.forecasts.rendered import RenderedAnswers
from app.main import create_app
from tests.docs.checkout import checkout_in, environment, shell
from tests.docs.examples import named
from tests.jobs.workers import TINY
from tests.serve.service import Service
from tests.support import client_of, driver_url, on_database, run_sql, until

COMMANDS = named(Path(__file__).parents[2] / "docs" / "operations.md")
QUERY = {"sku": "A-1", "location": "S1"}


class BackedUp(NamedTuple):
    """A folder with `backup` in it, and what the service answered when the back-up was taken."""

    folder: Path
    key: str
    forecast: dict[str, Any]


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> BackedUp:
    """Sales posted, a network trained and promoted, its forecast read, a back-up taken while the service runs."""
    folder = tmp_path_factory.mktemp("back-up")
    checkout_in(folder)
    # Nobody but the reader computes a forecast: the one that is read is the one that is stored.
    service = Service(folder / ".shelfcast", output=folder / "service", SHELFCAST_REFRESH="false").until_ready()
    try:
        forecast = asyncio.run(trained_forecast(service))
        run_example("back-up", folder)
    finally:
        service.end()
    return BackedUp(folder, service.key, forecast)


async def trained_forecast(service: Service) -> dict[str, Any]:
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    body = (service.home.parent / "sales.parquet").read_bytes()
    async with service.client() as client:
        posted = await client.post("/v1/sales", content=body, headers=headers)
        assert posted.status_code == 200, posted.text
        job = (await client.post("/v1/training-jobs", json=TINY | {"promote": "always"})).json()["id"]

        async def succeeded() -> bool:
            return (await client.get(f"/v1/training-jobs/{job}")).json()["status"] == "succeeded"

        await until(succeeded, seconds=120)
        answer = await client.get("/v1/forecasts", params=QUERY)
    forecast: dict[str, Any] = answer.json()
    assert forecast["model_version"] == 1
    return forecast


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    name = f"restored_{os.getpid()}"
    run_sql(postgres_url, f"CREATE DATABASE {name}")
    yield driver_url(on_database(postgres_url, name))
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_back_up_is_restored_into_a_new_home(backed_up: BackedUp) -> None:
    run_example("restore", backed_up.folder)
    home = backed_up.folder / "restored"
    assert (home / "admin.key").stat().st_mode & 0o777 == 0o600
    async with opened(home) as url:
        await answers_as_before(Settings(home=home), url, backed_up)


async def test_a_back_up_is_restored_into_a_server(
    backed_up: BackedUp, empty_database_url: str, tmp_path: Path
) -> None:
    run_example("restore into a server", backed_up.folder, SHELFCAST_DATABASE_URL=empty_database_url)
    settings = Settings(home=tmp_path, artifacts=str(backed_up.folder / "artifacts"))
    await answers_as_before(settings, empty_database_url, backed_up)


def run_example(name: str, folder: Path, **settings: str) -> None:
    ran = shell(COMMANDS[name].code, folder, environment(**settings))
    assert ran.returncode == 0, f"{name}: {ran.stdout}{ran.stderr}"


async def answers_as_before(settings: Settings, url: str, backed_up: BackedUp) -> None:
    """The stored forecast, the same one computed anew by the restored network, and posts that go on counting."""
    app = create_app(settings, url)
    async with app.router.lifespan_context(app), client_of(app, backed_up.key) as client:
        assert (await client.get("/v1/forecasts", params=QUERY)).json() == backed_up.forecast
        async with app.state.database.transaction() as connection:
            await connection.execute(text("DELETE FROM forecasts"))
        app.state.rendered = RenderedAnswers()
        anew = (await client.get("/v1/forecasts", params=QUERY)).json()
        assert anew["generated_at"] > backed_up.forecast["generated_at"]
        assert numbers(anew) == pytest.approx(
            numbers(backed_up.forecast), rel=1e-4
        )  # alone now, with others in a batch then
        for named_field in ("cutoff", "model_version", "fallback"):
            assert anew[named_field] == backed_up.forecast[named_field]
        again = {"sales": [QUERY | {"date": "2026-11-24", "quantity": 5}]}
        assert (await client.post("/v1/sales", json=again)).json()["post_id"] == 2


def numbers(forecast: dict[str, Any]) -> list[float]:
    return [number for day in forecast["forecast"] for number in (day["mean"], *day["quantiles"].values())]
