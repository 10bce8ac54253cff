"""Real worker processes on a real queue, with tiny data and short leases.

The tests of this folder share one database, emptied before each: making and dropping one costs more than most of them.
"""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.database.engine import Database
from app.database.tables import metadata
from tests.jobs.workers import Workers, add_sales, working_here
from tests.support import on_database, run_sql

KEPT = ("revisions", "schedules")
EMPTIED = ", ".join(table.name for table in metadata.sorted_tables if table.name not in KEPT)


@pytest.fixture(scope="session")
def shared_database_url(postgres_url: str, template: str) -> Iterator[str]:
    name = f"jobs_{uuid.uuid4().hex[:12]}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield on_database(postgres_url, name)
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(shared_database_url: str) -> str:
    """The URL of a database without rows and without other connections, in which nothing runs by itself."""
    run_sql(
        shared_database_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        f"TRUNCATE {EMPTIED} RESTART IDENTITY",
        "UPDATE schedules SET enabled = false",
    )
    return shared_database_url


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        heartbeat_seconds=0.2,
        lease_seconds=3,
        poll_seconds=0.1,
        retry_seconds=0.1,
        refresh=False,
    )


@pytest.fixture
async def sales(database: Database) -> None:
    """Three series of 100 days."""
    await add_sales(database)


@pytest.fixture
def workers(settings: Settings, database_url: str) -> Iterator[Workers]:
    """Starts worker processes; ends them and checks that they leave no child behind."""
    workers = Workers(settings, database_url)
    yield workers
    workers.end()


@pytest.fixture
async def worker_here(settings: Settings, database_url: str) -> AsyncIterator[None]:
    async with working_here(settings, database_url):
        yield
