"""The tests of this folder share one database, emptied before each: making and dropping one costs more than most of them."""

import uuid
from collections.abc import Iterator

import pytest

from app.database.tables import metadata
from tests.support import on_database, run_sql

EMPTIED = ", ".join(table.name for table in metadata.sorted_tables if table.name not in ("revisions", "schedules"))


@pytest.fixture(scope="session")
def shared_database_url(postgres_url: str, template: str) -> Iterator[str]:
    name = f"registry_{uuid.uuid4().hex[:12]}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield on_database(postgres_url, name)
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(shared_database_url: str) -> str:
    """The URL of a database without rows."""
    run_sql(shared_database_url, f"TRUNCATE {EMPTIED} RESTART IDENTITY")
    return shared_database_url
