"""What the tests of the embedded Postgres share: a started one, a separate service process, rows that must survive."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from app.database.embedded import EmbeddedPostgres
from tests.support import until

ROOT = Path(__file__).parents[2]
SERVICE = """
import asyncio, os, pathlib, resource, signal, sys
from app.database.embedded import EmbeddedPostgres, EmbeddedPostgresError
import asyncpg, concurrent.futures.thread  # nothing is left to import once the user is another

async def main():
    postgres = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
    try:
        await postgres.start()
    except EmbeddedPostgresError as error:
        sys.exit(f"REFUSED {error}")
    print(f"STARTED {postgres.pid}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await postgres.stop()
    print("STOPPED", flush=True)

"""


@asynccontextmanager
async def started(home: Path) -> AsyncIterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(home)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.stop()


@contextmanager
def service(home: Path, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """A separate process that holds the embedded Postgres until its standard input closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{SERVICE}\n{before}\nasyncio.run(main())", str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def postmaster_of(process: subprocess.Popen[str]) -> int:
    """Waits until the service says that it has started; the process id of its postmaster."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("STARTED"):
            return int(line.split()[1])
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


async def holds(condition: Callable[[], bool]) -> None:
    """Waits for something outside this process: a file, a process, a log line."""
    await until(lambda: asyncio.to_thread(condition), seconds=15)


async def connect(
    postgres: EmbeddedPostgres, *, user: str = "shelfcast", database: str = "shelfcast"
) -> asyncpg.Connection:
    return await asyncpg.connect(host=str(postgres.sockets), port=5432, user=user, database=database)


async def administer(postgres: EmbeddedPostgres, statement: str) -> None:
    connection = await connect(postgres, user="postgres", database="postgres")
    await connection.execute(statement)
    await connection.close()


async def rows(postgres: EmbeddedPostgres) -> list[int]:
    """The table's rows, asked for again while the database is away."""

    async def connected() -> asyncpg.Connection | None:
        try:
            return await connect(postgres)
        except (OSError, asyncpg.PostgresError):
            return None

    connection = await until(connected, seconds=15)
    assert isinstance(connection, asyncpg.Connection)
    found = [row["n"] for row in await connection.fetch("SELECT n FROM kept ORDER BY n")]
    await connection.close()
    return found


async def keep(postgres: EmbeddedPostgres, *numbers: int) -> None:
    connection = await connect(postgres)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (n integer PRIMARY KEY)")
    await connection.executemany("INSERT INTO kept VALUES ($1)", [(n,) for n in numbers])
    await connection.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
