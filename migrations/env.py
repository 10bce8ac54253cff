"""How Alembic reaches the database: over the URL that `app.database.migrate` or the environment gives, with time-outs.

A migration waits at most 10 s for a lock, so that it never queues the whole service behind itself.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.config import Settings
from app.database.engine import async_url
from app.database.tables import metadata

LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "15min"


def _url() -> str:
    given = context.config.attributes.get("url")
    if given:
        return async_url(given)
    settings = Settings()
    if settings.database_url is None:
        raise SystemExit("Set SHELFCAST_DATABASE_URL, or use `shelfcast migrate` for the embedded Postgres.")
    return async_url(settings.database_url.get_secret_value())


def _run(connection: Connection) -> None:
    # Two processes that migrate at once: the second waits, however long that takes, and finds nothing to do.
    connection.execute(text("SELECT pg_advisory_lock(7306201)"))
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _migrate() -> None:
    engine = create_async_engine(_url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_migrate())
