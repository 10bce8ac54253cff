"""What every test may ask for: a real Postgres, a migrated database of its own, the app and a client that holds a key.

With SHELFCAST_TEST_POSTGRES (a superuser's URL) the tests use that server, otherwise the embedded one.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import torch
from fastapi import FastAPI

from app.auth import create_key
from app.config import Settings
from app.database.embedded import EmbeddedPostgres
from app.database.engine import Database
from app.database.migrate import upgrade
from app.main import create_app
from app.telemetry import configure_logging
from tests.support import client_of, on_database, run_sql

configure_logging("warning", human=False)
torch.set_num_threads(1)  # networks this small are faster on one, and two test processes do not fight for two cores
os.environ.setdefault("SHELFCAST_READY_CHILD", "false")  # a process for a job that most workers here never get


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A superuser's URL of a running Postgres."""
    given = os.environ.get("SHELFCAST_TEST_POSTGRES")
    if given:
        yield given
        return
    with asyncio.Runner() as runner:
        postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
        runner.run(postgres.start())
        try:
            yield postgres.url_of("postgres", role="postgres")
        finally:
            runner.run(postgres.stop())


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database that others are cloned from."""
    name = f"template_{uuid.uuid4().hex[:8]}"
    run_sql(postgres_url, f"CREATE DATABASE {name}")
    with asyncio.Runner() as runner:
        runner.run(upgrade(on_database(postgres_url, name)))
    yield name
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    """The URL of a fresh migrated database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield on_database(postgres_url, name)
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=5)
    yield database
    await database.close()


@pytest.fixture
async def app(settings: Settings, database_url: str) -> AsyncIterator[FastAPI]:
    app = create_app(settings, database_url)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose key may do everything."""
    async with client_of(app, settings.admin_key_file.read_text().strip()) as client:
        yield client


@pytest.fixture
async def key_with(database: Database) -> Callable[..., Awaitable[str]]:
    """Makes a key with the given scopes."""

    async def make(*scopes: str) -> str:
        async with database.transaction() as connection:
            return await create_key(connection, "test", scopes)

    return make


SLOW_FIRST = ("serve", "accuracy", "updates", "jobs", "docs", "cli", "models")
"""Folders whose tests start processes or train: begun last, one of them would keep a single worker busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return SLOW_FIRST.index(folder) if folder in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=place)
