"""The database and the artifacts that each test begins with are copies: what they hold is trained and updated once."""

import asyncio
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from tests.jobs.workers import Workers
from tests.support import on_database, run_sql
from tests.updates.world import Shop, begin, settings_of


@pytest.fixture(scope="session")
def begun_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("updates") / "home"


@pytest.fixture(scope="session")
def template(postgres_url: str, template: str, begun_home: Path) -> Iterator[str]:
    """The name of a database that others are cloned from, with two versions whose artifacts lie in `begun_home`."""
    name = f"updates_{uuid.uuid4().hex[:8]}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    with asyncio.Runner() as runner:
        runner.run(begin(on_database(postgres_url, name), begun_home))
    yield name
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(template: str, begun_home: Path, tmp_path: Path) -> Settings:
    shutil.copytree(begun_home, tmp_path / "home")
    return settings_of(tmp_path / "home")


@pytest.fixture
def shop(client: httpx.AsyncClient, settings: Settings, database: Database, database_url: str) -> Shop:
    return Shop(client, settings, database, database_url)


@pytest.fixture
def workers(settings: Settings, database_url: str) -> Iterator[Workers]:
    """Starts worker processes; ends them and checks that they leave no child behind."""
    workers = Workers(settings, database_url)
    yield workers
    workers.end()
