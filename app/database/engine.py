"""Where connections are opened, and the one place that commits.

`Database.transaction()` is a read-committed write transaction, `Database.snapshot()` a read-only one. Hot paths reach the
asyncpg driver through `driver(connection)`. A database that is absent or going away becomes a 503 here, nowhere else.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import Problem

DriverError = AsyncAdapt_asyncpg_dbapi.Error  # what SQLAlchemy raises when a connection cannot be made

GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.CannotConnectNowError,  # starting up, recovering
    asyncpg.exceptions.DatabaseDroppedError,
    asyncpg.exceptions.IdleSessionTimeoutError,
    asyncpg.exceptions.TooManyConnectionsError,
    ConnectionError,
)

NOT_REACHED = (*GONE, PoolTimeout, DBAPIError, DriverError, asyncpg.PostgresError, OSError)
"""What opening a connection may end in."""


def async_url(url: str) -> str:
    """The SQLAlchemy URL for asyncpg of any spelling of a Postgres URL."""
    for prefix in ("postgresql+asyncpg://", "postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+asyncpg://" + url[len(prefix) :]
    raise ValueError("the database URL must start with postgresql://")


@asynccontextmanager
async def turn(
    free: asyncio.Semaphore, wait_seconds: float, refused: Callable[[TimeoutError], Problem]
) -> AsyncIterator[None]:
    """One of so many turns as are free; who waits too long for his is told what `refused` says."""
    try:
        async with asyncio.timeout(wait_seconds if free.locked() else None):
            await free.acquire()
    except TimeoutError as error:
        raise refused(error) from error
    try:
        yield
    finally:
        free.release()


class Database:
    """A pool of connections to one Postgres."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        pool_timeout: float = 5,
        statement_timeout: float = 60,
        idle_timeout: float = 60,
        application: str = "shelfcast",
    ) -> None:
        self._turns = asyncio.Semaphore(pool_size)
        self._pool_timeout = pool_timeout
        self.engine: AsyncEngine = create_async_engine(
            async_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout,
            pool_use_lifo=True,
            hide_parameters=True,  # errors are logged; customers' numbers are not
            connect_args={
                "timeout": pool_timeout,
                "server_settings": {
                    "application_name": application,
                    "timezone": "UTC",
                    "statement_timeout": str(int(statement_timeout * 1000)),
                    "lock_timeout": str(int(statement_timeout * 1000)),
                    "idle_in_transaction_session_timeout": str(int(idle_timeout * 1000)),
                },
            },
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits when the block ends well and rolls back otherwise."""
        async with self._connection() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction that sees one state of the database throughout."""
        async with self._connection() as connection, connection.begin():
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[asyncpg.Connection]:
        """The bare driver for one look-up outside any transaction: no BEGIN, no ROLLBACK, one round trip.

        Taken from the pool without SQLAlchemy's own connection around it, which costs as much again as a look-up.
        """
        # Look-ups queue here, first come first served: the pool lets a newcomer overtake those who wait for it.
        async with turn(self._turns, self._pool_timeout, unavailable):
            try:
                pooled = await self.engine.raw_connection()
            except NOT_REACHED as error:
                raise unavailable(error) from error
            try:
                yield pooled.driver_connection
            except GONE as error:
                if not is_gone(error):
                    raise
                pooled.invalidate(error)
                raise unavailable(error) from error
            finally:
                pooled.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            connection = await self.engine.connect()
        except NOT_REACHED as error:
            raise unavailable(error) from error
        try:
            try:
                yield connection
            except (*GONE, DBAPIError) as error:
                if not is_gone(error):
                    raise
                await connection.invalidate()
                raise unavailable(error) from error
        finally:
            await asyncio.shield(connection.close())

    async def close(self) -> None:
        await self.engine.dispose()


def is_gone(error: BaseException) -> bool:
    """Whether an error of the driver, bare or wrapped by SQLAlchemy, means that the server went away or is starting."""
    cause = getattr(error.orig, "__cause__", None) if isinstance(error, DBAPIError) else error
    if isinstance(cause, ValueError):  # a parameter of a wrong type: our defect, not the server's
        return False
    if isinstance(cause, GONE):
        return True
    return isinstance(error, DBAPIError) and (error.connection_invalidated or isinstance(error, InterfaceError))


def unavailable(error: BaseException) -> Problem:
    return Problem(
        "unavailable",
        f"The database cannot be reached ({type(error).__name__}).",
        headers={"Retry-After": "1"},
    )


async def driver(connection: AsyncConnection) -> asyncpg.Connection:
    """The asyncpg connection under a SQLAlchemy one. SQLAlchemy must have begun the transaction first (see `begun`)."""
    raw = await connection.get_raw_connection()
    return raw.driver_connection


async def begun(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver with the transaction really open: SQLAlchemy sends BEGIN only at its own first statement."""
    await connection.execute(text("SELECT 1"))
    return await driver(connection)
