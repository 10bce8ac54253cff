"""Bringing a database to the schema that this code expects, and telling whether it is there."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import migrations
from app.errors import Problem


def configuration(url: str) -> Config:
    config = Config(Path(migrations.__file__).with_name("alembic.ini"))
    config.attributes["url"] = url
    return config


async def upgrade(url: str, revision: str = "head") -> None:
    """Run the migrations up to `revision`. Safe to call from several processes at once."""
    # Alembic runs its own event loop, so it needs a thread without one.
    await asyncio.to_thread(command.upgrade, configuration(url), revision)


async def downgrade(url: str, revision: str) -> None:
    await asyncio.to_thread(command.downgrade, configuration(url), revision)


def expected_revision() -> str:
    head = ScriptDirectory.from_config(configuration("")).get_current_head()
    assert head is not None
    return head


async def schema_is_current(connection: AsyncConnection) -> bool:
    """Whether the schema is at least as new as the code's: its revision is our head, or one we do not know yet."""
    found = (await connection.execute(text("SELECT to_regclass('alembic_version')"))).scalar_one()
    if found is None:
        return False
    revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    known = {script.revision for script in ScriptDirectory.from_config(configuration("")).walk_revisions()}
    return revision is not None and (revision == expected_revision() or revision not in known)


async def require_schema(connection: AsyncConnection) -> None:
    """Raise a 503 unless the schema is at least as new as the code's."""
    if not await schema_is_current(connection):
        raise Problem("unavailable", "The database's schema is older than this code: run `shelfcast migrate`.")
