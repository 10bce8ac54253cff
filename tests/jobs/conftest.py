"""Real worker processes on a real queue, with tiny data and short leases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.database.engine import Database
from tests.jobs.workers import Workers, add_sales


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        heartbeat_seconds=0.2,
        lease_seconds=2,
        poll_seconds=0.1,
        retry_seconds=0.1,
        refresh=False,
    )


@pytest.fixture
async def sales(database: Database) -> None:
    """Three series of 150 days."""
    await add_sales(database)


@pytest.fixture
def workers(settings: Settings, database_url: str) -> Iterator[Workers]:
    """Starts worker processes; ends them and checks that they leave no child behind."""
    workers = Workers(settings, database_url)
    yield workers
    workers.end()
