"""The service's side of the embedded Postgres: start or adopt it, restart it when it dies, stop it in order.

Callers get a URL from here; pools and transactions are the engine's (app/database/engine.py).
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import structlog
from sqlalchemy.engine import URL

from app.database.embedded.cluster import ADMIN, DATABASE, ROLE, Cluster
from app.database.embedded.home import (
    PORT,
    EmbeddedPostgresError,
    HomeInUseError,
    HomeLock,
    private_directory,
    socket_directory,
)
from app.database.embedded.postmaster import Postmaster, clear_processes

_WATCH_SECONDS = 0.25
_ORPHAN_SECONDS = 1.0  # how long backends of a dead postmaster may take to leave by themselves
_FAST_STOP_SECONDS = 6.0  # fast shutdown: transactions are broken off, a checkpoint is written
_IMMEDIATE_STOP_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 10.0
_SERVICE_SECONDS = 20.0
_LOG_BYTES = 10_000_000

log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """A durable Postgres under `home`, for this machine and this user only.

    `start()` holds the home until `stop()`. A postmaster that outlived a killed service is adopted as it is;
    one that dies is started again; `stop()` leaves the data and the log, and nothing running.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self._cluster = Cluster(self.home)
        self._lock = HomeLock(self.home)
        self._sockets: Path | None = None
        self._postmaster: Postmaster | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when the database accepts connections.

        Raises HomeInUseError when another service holds the home, EmbeddedPostgresError when Postgres cannot
        run; then nothing is left running.
        """
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
            try:
                await self._open()
            except BaseException:
                await self._close()
                raise
        except (OSError, psutil.Error) as error:
            raise EmbeddedPostgresError(f"The embedded Postgres cannot use {self.home}: {error}") from error
        self._watcher = asyncio.create_task(self._watch(), name="embedded-postgres-watch")

    async def stop(self) -> None:
        """Ends Postgres within about 10 s, clients or not, and lets go of the home. Twice is once."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
            await self._close()

    @property
    def url(self) -> str:
        """SQLAlchemy URL (asyncpg) of the service's database; the same for as long as the home is held."""
        return self.url_of(DATABASE)

    def url_of(self, database: str, *, role: str = ROLE) -> str:
        """The URL of another database here, or as the superuser `postgres` (back-ups, tests)."""
        return _url(self.sockets, database, role)

    @property
    def sockets(self) -> Path:
        """The socket's directory: `psql -h` takes it."""
        if self._sockets is None:
            raise EmbeddedPostgresError("The embedded Postgres is not started.")
        return self._sockets

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster; None while there is none."""
        return None if self._postmaster is None else self._postmaster.pid

    async def _open(self) -> None:
        private_directory(self._cluster.folder)
        await self._cluster.make()
        changed = self._cluster.write_access()
        self._postmaster = Postmaster.running(self._cluster)
        if self._postmaster is None:
            self._sockets = private_directory(socket_directory(self._cluster.folder))
            await self._launch()
        else:
            self._sockets = (await self._postmaster.until_ready()).sockets
            if changed:
                self._postmaster.signal(signal.SIGHUP)
            log.info("embedded postgres adopted", pid=self.pid, home=str(self.home))
        await _ensure_database(self.sockets)

    async def _launch(self) -> None:
        """Starts a postmaster where none is, over what a dead one may have left."""
        assert self._sockets is not None
        await clear_processes(self._cluster, patience=_ORPHAN_SECONDS)
        self._cluster.discard_stale_lock()
        for leftover in private_directory(self._sockets).iterdir():
            leftover.unlink()
        self._postmaster = Postmaster.launch(self._cluster, self._sockets)
        await self._postmaster.until_ready()
        log.info("embedded postgres started", pid=self._postmaster.pid, home=str(self.home))

    async def _watch(self) -> None:
        """Restarts a postmaster that died, for as long as it takes, and keeps the log within bounds."""
        pause = _WATCH_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                if self._postmaster is None or not self._postmaster.alive():
                    log.error("embedded postgres died, starting it again", pid=self.pid)
                    self._postmaster = None
                    await self._launch()
                self._bound_log()
                pause = _WATCH_SECONDS
            except (EmbeddedPostgresError, OSError, psutil.Error) as error:
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                log.error("embedded postgres is not in order, trying again", error=str(error), seconds=pause)

    def _bound_log(self) -> None:
        """Keeps the log and one older copy. Copied, not renamed: Postgres keeps the file open."""
        path = self._cluster.log
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            try:
                shutil.copy(path, path.with_suffix(".log.1"))
            finally:  # on a full disk above all
                os.truncate(path, 0)

    async def _close(self) -> None:
        """Ends every process of the cluster, the gentle way first, and removes socket directory and lock."""
        try:
            if self._postmaster is not None:
                self._postmaster.signal(signal.SIGINT)
                if not await self._postmaster.gone_within(_FAST_STOP_SECONDS):
                    log.warning("embedded postgres is slow to stop, stopping it at once", pid=self.pid)
                    self._postmaster.signal(signal.SIGQUIT)
                    await self._postmaster.gone_within(_IMMEDIATE_STOP_SECONDS)
            await clear_processes(self._cluster, patience=0.0)
            if self._postmaster is not None:
                await self._postmaster.gone_within(_IMMEDIATE_STOP_SECONDS)
        finally:
            for process in self._cluster.processes():  # only when this shutdown was itself broken off
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if self._sockets is not None:
                shutil.rmtree(self._sockets, ignore_errors=True)
            self._postmaster = self._sockets = None
            self._lock.release()


def running_url(home: Path) -> str | None:
    """The URL of the Postgres that runs on `home` now, for other processes of its user; None if none does."""
    cluster = Cluster(home.absolute())
    found = cluster.pid_file()
    if found is None or not found.ready or Postmaster.running(cluster) is None:
        return None
    return _url(found.sockets, DATABASE, ROLE)


@contextlib.asynccontextmanager
async def opened(home: Path) -> AsyncIterator[str]:
    """The URL of the home's Postgres: the running service's, or one started for the length of the block."""
    postgres = EmbeddedPostgres(home)
    try:
        await postgres.start()
    except HomeInUseError as in_use:
        yield await _url_of_service(home, in_use)
        return
    try:
        yield postgres.url
    finally:
        await postgres.stop()


async def _url_of_service(home: Path, in_use: HomeInUseError) -> str:
    """The service may just be starting its Postgres, or starting it again."""
    deadline = time.monotonic() + _SERVICE_SECONDS
    while (url := running_url(home)) is None:
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"{in_use} Its Postgres does not answer.") from in_use
        await asyncio.sleep(_WATCH_SECONDS)
    return url


def _url(sockets: Path, database: str, role: str) -> str:
    query = {"host": str(sockets), "port": str(PORT)}
    url = URL.create("postgresql+asyncpg", username=role, database=database, query=query)
    return url.render_as_string(hide_password=False)


async def _ensure_database(sockets: Path) -> None:
    """Makes the service's role, which is no superuser, and its database, each unless it is there."""
    connect = asyncpg.connect(host=str(sockets), port=PORT, user=ADMIN, database="postgres", timeout=30)
    try:
        connection = await connect
        try:
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", ROLE):
                await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        finally:
            await connection.close()
    except asyncpg.PostgresError as error:
        raise EmbeddedPostgresError(f"The embedded Postgres runs, but cannot be set up: {error}") from error
