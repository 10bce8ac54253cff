"""A shop with one worker, and settings under which jobs are short."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from tests.accuracy.world import SERIES, Shop
from tests.jobs.workers import working_here

HISTORY = 150


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", heartbeat_seconds=0.2, poll_seconds=0.1, refresh=False)


@pytest.fixture
async def worker(settings: Settings, database_url: str) -> AsyncIterator[None]:
    async with working_here(settings, database_url):
        yield


@pytest.fixture
async def shop(client: httpx.AsyncClient, database: Database, worker: None) -> Shop:
    """A shop with a history, of which two series are in another block than the others, and a champion. Nothing runs by itself."""
    await execute(database, "UPDATE schedules SET enabled = false")
    shop = Shop(client)
    first, second = list(SERIES)[:2], list(SERIES)[2:]
    await shop.post(HISTORY, first)
    await execute(database, "ALTER SEQUENCE series_id_seq RESTART WITH 600")
    await shop.post(HISTORY, second)
    shop.days = HISTORY
    await shop.train()
    return shop


async def execute(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(text(statement))
