"""The service in the foreground: Postgres, migrations, and the processes `api` and `worker`, watched over until it is stopped.

`serve`, `api` and `worker` are what the command line calls; each returns an exit code. What one API process does is in
app/running/api.py, what ties a child to this process in app/running/children.py.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.config import Settings
from app.database.embedded import EmbeddedPostgres, EmbeddedPostgresError, HomeInUseError
from app.database.migrate import upgrade
from app.running.api import ADDRESS_IN_USE, NO_DATABASE, api, listen, url_of
from app.running.children import Child
from app.telemetry import configure_logging

__all__ = ["api", "serve", "worker"]

HOME_IN_USE = 3
FAILED = 1
START_SECONDS = 60

log = structlog.get_logger("app.running.serve")


class Stopped(Exception):
    """The service was asked to stop while it was starting."""


class CannotStart(Exception):
    """What keeps the service from starting, in a sentence, and the exit code for it."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def serve(settings: Settings) -> int:
    """Run everything until SIGTERM or SIGINT; nothing is left behind. Prints the address when ready."""
    configure_logging(settings.log_level)
    return asyncio.run(_Service(settings).run())


def worker(settings: Settings) -> int:
    """Run one worker over the database of the settings, or that of the service that runs on this home."""
    from app.jobs.worker import main

    configure_logging(settings.log_level)
    return main()


class _Service:
    """One running service: what it has started, in the order in which it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._children: list[Child] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        try:
            async with self._listening() as listener, self._database() as url:
                await self._unless_stopped(_migrate(url))
                try:
                    await self._start_children(listener, url)
                    await self._stop.wait()
                finally:
                    listener.close()
                    await self._end_children()
        except Stopped:
            return 0
        except CannotStart as error:
            print(error, file=sys.stderr)  # noqa: T201
            return error.code
        return 0

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[socket.socket]:
        """The socket that every API process in turn accepts from: while one restarts, clients wait instead of failing."""
        try:
            listener = await listen(self._settings)
        except OSError as error:
            raise CannotStart(
                f"The address {self._settings.host}:{self._settings.port} cannot be listened on ({error.strerror}). "
                "Stop what runs there, or set SHELFCAST_PORT.",
                ADDRESS_IN_USE,
            ) from error
        with listener:
            yield listener

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[str]:
        if self._settings.database_url is not None:
            yield self._settings.database_url.get_secret_value()
            return
        postgres = EmbeddedPostgres(self._settings.home)
        try:
            await self._unless_stopped(postgres.start())
        except HomeInUseError as error:
            raise CannotStart(str(error), HOME_IN_USE) from error
        except EmbeddedPostgresError as error:
            raise CannotStart(str(error), NO_DATABASE) from error
        try:
            yield postgres.url
        finally:
            await postgres.stop()

    async def _start_children(self, listener: socket.socket, url: str) -> None:
        environment = {"SHELFCAST_DATABASE_URL": url}
        door = Child("api", environment, descriptor=listener.fileno())
        self._children = [door, Child("worker", environment)]
        for child in self._children:
            child.start()
        await self._unless_stopped(_until_answering(listener, door))
        print(f"Shelfcast is ready on {url_of(listener)}", flush=True)  # noqa: T201

    async def _end_children(self) -> None:
        """Both are told at once; each gets the same time, since both have to be gone before Postgres stops."""
        await asyncio.gather(*(child.end(self._settings.shutdown_seconds + 1) for child in self._children))

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do part of the start; broken off in order when the service is asked to stop meanwhile."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            await task
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        raise Stopped


async def _migrate(url: str) -> None:
    try:
        await upgrade(url)
    except (OSError, SQLAlchemyError, asyncpg.PostgresError, ValueError) as error:
        log.error("migration_failed", error=type(error).__name__)
        raise CannotStart(
            f"The database cannot be reached or migrated: {error}. Is SHELFCAST_DATABASE_URL right?", NO_DATABASE
        ) from error


async def _until_answering(listener: socket.socket, door: Child) -> None:
    """Wait until the API answers; an API that dies before it ever answered ends the service instead of trying for ever."""
    answered = asyncio.create_task(_healthy(listener))
    died = asyncio.create_task(door.died.wait())
    try:
        await asyncio.wait([answered, died], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            raise CannotStart("The API process ended while it was starting; its log says why.", FAILED)
        if not answered.done() or not answered.result():
            raise CannotStart(f"The API did not answer within {START_SECONDS} s; its log says why.", FAILED)
    finally:
        answered.cancel()
        died.cancel()


async def _healthy(listener: socket.socket) -> bool:
    """Ask for /healthz: the connection waits in the socket's queue until an API process accepts it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).split()[1:2] == [b"200"]
    finally:
        writer.close()
