"""Being woken: one connection of its own that listens for announcements about jobs.

It only shortens waits. While it is away nothing is missed for longer than a poll, so it is re-opened at leisure.
"""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog
from sqlalchemy.engine import make_url

from app.database.engine import GONE, async_url
from app.jobs.queue import CHANNEL

log = structlog.get_logger()

RETRY_SECONDS = 1.0
CHECK_SECONDS = 10.0


async def listen(database_url: str, announced: Callable[[str], None]) -> None:
    """Call `announced` with the id of every job that changes, until cancelled."""
    dsn = make_url(async_url(database_url)).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            await _listen_once(dsn, announced)
        except (*GONE, asyncpg.PostgresError, OSError, TimeoutError) as error:
            log.info("listener_reconnects", reason=type(error).__name__)
        await asyncio.sleep(RETRY_SECONDS)


async def _listen_once(dsn: str, announced: Callable[[str], None]) -> None:
    connection = await asyncpg.connect(dsn, timeout=5, server_settings={"application_name": "shelfcast listener"})
    try:
        await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, job: announced(str(job)))
        while not connection.is_closed():
            await asyncio.sleep(CHECK_SECONDS)
            await connection.fetchval("SELECT 1", timeout=5)  # a half-open connection would listen for ever
    finally:
        connection.terminate()
