"""Homes for the tests of the embedded Postgres."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.database.embedded.cluster import Cluster
from tests.database.embedded import started


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database is made, and stopped: copying it is faster than making one for each test."""
    home = tmp_path_factory.mktemp("made")

    async def make() -> None:
        async with started(home):
            pass

    asyncio.run(make())
    return home


@pytest.fixture
def empty_home(tmp_path: Path) -> Iterator[Path]:
    """A home with a space and a letter that is not ASCII; whatever a failed test leaves running is ended."""
    home = tmp_path / "my höme"
    yield home
    for process in Cluster(home).processes():
        process.kill()


@pytest.fixture
def home(empty_home: Path, made: Path) -> Path:
    """A home whose database is made."""
    subprocess.run(["cp", "-a", made, empty_home], check=True)
    return empty_home
