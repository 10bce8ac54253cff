"""The embedded Postgres in good days and under faults that are really caused: kills, full disks, squatters, old data."""

import asyncio
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.database.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    HomeInUseError,
    binary,
    opened,
    running_url,
    supervisor,
)
from app.database.embedded.cluster import Cluster
from app.database.embedded.home import account
from tests.support import until

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another OS user")
SERVICE = """
import asyncio, os, pathlib, pwd, resource, signal, sys
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


async def rows(postgres: EmbeddedPostgres, *, patience: float = 5.0) -> list[int]:
    """The table's rows, asked for again while the database is away."""

    async def connected() -> asyncpg.Connection | None:
        try:
            return await connect(postgres)
        except (OSError, asyncpg.PostgresError):
            return None

    connection = await until(connected, seconds=patience)
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


async def test_serves_the_url_and_leaves_nothing_but_data_and_log(empty_home: Path) -> None:
    home = empty_home
    postgres = EmbeddedPostgres(home)
    await postgres.start()
    engine = create_async_engine(postgres.url)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT current_user, current_database()"))).one() == ("shelfcast",) * 2
    await engine.dispose()
    sockets = postgres.sockets
    assert running_url(home) == postgres.url
    assert [mode(path) for path in (home, home / "postgres", Cluster(home).data, sockets)] == [0o700] * 4
    assert mode(home / "postgres.log") == 0o600

    await postgres.stop()
    await postgres.stop()
    assert Cluster(home).processes() == []
    assert running_url(home) is None
    assert not sockets.exists()
    assert names_in(home) == ["postgres", "postgres.log"]
    assert names_in(home / "postgres") == ["data"]


async def test_is_durable_whatever_the_configuration_file_says(home: Path) -> None:
    async with started(home) as postgres:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            await administer(postgres, f"ALTER SYSTEM SET {name} = off")
        await keep(postgres, 1, 2, 3)
    async with started(home) as postgres:
        connection = await connect(postgres)
        names = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums", "server_encoding")
        found = [await connection.fetchval(f"SHOW {name}") for name in names]
        locale = await connection.fetchrow(
            "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'shelfcast'"
        )
        superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        listens = await connection.fetchval("SHOW listen_addresses")
        await connection.close()
        assert await rows(postgres) == [1, 2, 3]
    assert found == ["on", "on", "on", "on", "UTF8"]
    assert tuple(locale) == (b"b", "C.UTF-8")
    assert superuser is False
    assert listens == ""


async def test_a_killed_postmaster_is_started_again_with_every_acknowledged_row(home: Path) -> None:
    async with started(home) as postgres:
        await keep(postgres, *range(100))
        busy = await connect(postgres)
        endless = asyncio.create_task(busy.execute("SELECT count(*) FROM generate_series(1, 1000000000000)"))
        watching = await connect(postgres)
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM generate%' AND state = 'active'"
        await until(lambda: watching.fetchval(query))
        url, pid = postgres.url, postgres.pid
        assert pid is not None

        os.kill(pid, signal.SIGKILL)

        assert await rows(postgres) == list(range(100))
        assert postgres.pid != pid
        assert postgres.url == url
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await endless
        for connection in (busy, watching):
            connection.terminate()


async def test_a_restart_that_fails_is_tried_until_it_works(home: Path) -> None:
    async with started(home) as postgres:
        await keep(postgres, 1)
        settings = Cluster(home).data / "postgresql.conf"
        before = settings.read_text()
        settings.write_text(before + "\nno_such_setting_at_all = 1\n")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        await holds(lambda: "no_such_setting_at_all" in (home / "postgres.log").read_text())
        settings.write_text(before)
        assert await rows(postgres, patience=15) == [1]


async def test_a_postmaster_that_outlived_its_service_is_adopted(home: Path) -> None:
    with service(home) as first:
        pid = postmaster_of(first)
        with pytest.raises(HomeInUseError, match=rf"process {first.pid}\) already runs on .*my höme"):
            await EmbeddedPostgres(home).start()
        first.kill()
        first.wait()
        async with started(home) as postgres:
            assert postgres.pid == pid
            await keep(postgres, 1)
            os.kill(pid, signal.SIGKILL)  # one that is not our child is watched over all the same
            assert await rows(postgres) == [1]
            assert postgres.pid != pid
    assert Cluster(home).processes() == []


async def test_a_ctrl_c_in_the_terminal_does_not_reach_postgres(home: Path) -> None:
    with service(home, "signal.signal(signal.SIGINT, signal.SIG_IGN)") as process:
        pid = postmaster_of(process)
        assert os.getsid(pid) == pid
        os.killpg(process.pid, signal.SIGINT)
        async with opened(home) as url:
            engine = create_async_engine(url)
            async with engine.connect() as connection:
                assert (await connection.execute(text("SELECT 1"))).scalar() == 1
            await engine.dispose()
        process.communicate(timeout=15)
        assert process.returncode == 0
    assert not psutil.pid_exists(pid)
    assert Cluster(home).processes() == []


async def test_a_command_opens_the_database_whether_or_not_the_service_runs(home: Path) -> None:
    async with opened(home) as url:
        assert running_url(home) == url
    assert Cluster(home).processes() == []
    async with started(home) as postgres:
        async with opened(home) as url:
            assert url == postgres.url
        assert running_url(home) == postgres.url


async def test_stops_while_clients_are_in_a_transaction_and_in_a_computation(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    await postgres.start()
    await keep(postgres, 1)
    open_transaction, busy = await connect(postgres), await connect(postgres)
    await open_transaction.execute("BEGIN; INSERT INTO kept VALUES (2)")
    endless = asyncio.create_task(busy.execute("SELECT count(*) FROM generate_series(1, 1000000000000)"))
    async with asyncio.timeout(10):
        await postgres.stop()
    assert Cluster(home).processes() == []
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await endless
    for connection in (open_transaction, busy):
        connection.terminate()
    async with started(home) as postgres:
        assert await rows(postgres) == [1]


async def test_stops_a_postmaster_that_does_not_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_FAST_STOP_SECONDS", 0.3)
    monkeypatch.setattr(supervisor, "_IMMEDIATE_STOP_SECONDS", 0.3)
    postgres = EmbeddedPostgres(home)
    await postgres.start()
    await keep(postgres, 1)
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGSTOP)
    async with asyncio.timeout(10):
        await postgres.stop()
    assert Cluster(home).processes() == []
    async with started(home) as postgres:
        assert await rows(postgres) == [1]


async def test_a_home_too_long_for_a_socket_gets_a_short_private_directory(tmp_path: Path) -> None:
    home = tmp_path / ("very long name " * 8) / "größer: ja, noch 'länger'"
    with service(home) as process:
        pid = postmaster_of(process)
        process.kill()
        process.wait()
        async with started(home) as postgres:
            sockets = postgres.sockets
            assert postgres.pid == pid
            assert not sockets.is_relative_to(home)
            assert mode(sockets) == 0o700
            await keep(postgres, 1)
    assert not sockets.exists()
    async with started(home) as postgres:
        assert postgres.sockets == sockets
        assert await rows(postgres) == [1]


@as_root
async def test_a_socket_directory_that_another_user_made_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("very long name " * 8)
    async with started(home) as postgres:
        sockets = postgres.sockets
    sockets.mkdir(mode=0o700)
    os.chown(sockets, pwd.getpwnam("nobody").pw_uid, -1)
    try:
        with pytest.raises(EmbeddedPostgresError, match="no directory of the user root"):
            await EmbeddedPostgres(home).start()
    finally:
        shutil.rmtree(sockets)


ATTEMPT = """
import os, pwd, socket, struct, sys
os.setgroups([]); os.setgid(pwd.getpwnam("nobody").pw_gid); os.setuid(pwd.getpwnam("nobody").pw_uid)
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
except PermissionError:
    sys.exit("no way in")
words = b"user\\0" + sys.argv[2].encode() + b"\\0database\\0shelfcast\\0\\0"
client.sendall(struct.pack(">ii", len(words) + 8, 196608) + words)
sys.exit(repr(client.recv(2000)))
"""


def attempt_as_nobody(sockets: Path, role: str) -> str:
    command = [sys.executable, "-c", ATTEMPT, str(sockets / ".s.PGSQL.5432"), role]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stderr


@as_root
async def test_another_os_user_cannot_connect(home: Path) -> None:
    async with started(home) as postgres:
        assert attempt_as_nobody(postgres.sockets, "shelfcast").strip() == "no way in"
        for directory in (postgres.sockets, *postgres.sockets.parents[:5]):  # even if every door stood open
            directory.chmod(0o755)
        for role in ("shelfcast", "postgres"):
            assert "Peer authentication failed" in attempt_as_nobody(postgres.sockets, role)


async def test_it_listens_on_no_port(home: Path) -> None:
    async with started(home) as postgres:
        found = []
        for process in Cluster(home).processes():
            try:
                found += process.net_connections(kind="inet")
            except psutil.AccessDenied:
                pytest.skip("this root may not look into the processes of other users")
        assert found == []
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(postgres.sockets / ".s.PGSQL.5432"))


@as_root
def test_runs_for_an_ordinary_user(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    reachable = subprocess.run(["test", "-x", binary("postgres")], user=nobody.pw_uid, check=False, cwd="/")
    if reachable.returncode != 0:
        pytest.skip("another OS user cannot reach this virtual environment")
    parent = Path(tempfile.mkdtemp())
    try:
        os.chown(parent, nobody.pw_uid, nobody.pw_gid)
        become = f"os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})"
        with service(parent / "home", become) as process:
            pid = postmaster_of(process)
            assert Path(f"/proc/{pid}").stat().st_uid == nobody.pw_uid
            process.communicate(timeout=15)
            assert process.returncode == 0
        assert Cluster(parent / "home").processes() == []
    finally:
        shutil.rmtree(parent)


async def test_an_initdb_that_was_killed_half_way_is_done_anew(empty_home: Path) -> None:
    home = empty_home
    unfinished = home / "postgres" / "data.unfinished"
    with service(home) as process:
        await holds((unfinished / "base").exists)
        process.kill()
        process.wait()
    assert not Cluster(home).data.exists()
    assert unfinished.exists()
    async with started(home) as postgres:
        await keep(postgres, 1)
        assert await rows(postgres) == [1]
    assert not unfinished.exists()


async def test_a_full_disk_is_named_and_overcome(empty_home: Path) -> None:
    home = empty_home
    limit = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (300_000,) * 2)"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    with service(home, limit) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "REFUSED The database could not be set up in" in said
    assert "File too large" in said
    async with started(home) as postgres:
        await keep(postgres, 1)


async def test_a_failed_start_shows_the_log_and_leaves_nothing(home: Path) -> None:
    async with started(home) as postgres:
        sockets = postgres.sockets
    settings = Cluster(home).data / "postgresql.conf"
    before = settings.read_text()
    settings.write_text(before + "\nshared_buffers = \n")
    with pytest.raises(EmbeddedPostgresError, match=r"(?s)did not start.*postgres\.log.*syntax error in file"):
        await EmbeddedPostgres(home).start()
    assert Cluster(home).processes() == []
    assert not sockets.exists()
    settings.write_text(before)
    async with started(home):
        pass


async def test_data_of_another_postgres_is_refused_and_left_alone(empty_home: Path) -> None:
    home = empty_home
    data = home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by Postgres 16, this Shelfcast brings Postgres 18"):
        await EmbeddedPostgres(home).start()
    (data / "PG_VERSION").rename(data / "notes.txt")
    with pytest.raises(EmbeddedPostgresError, match="is not a Postgres data directory"):
        await EmbeddedPostgres(home).start()
    assert names_in(data) == ["notes.txt"]


@contextmanager
def another_program() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no Postgres, of the OS user that Postgres runs as."""
    with subprocess.Popen(["sleep", "60"], user=account().uid, cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()


async def test_locks_left_by_a_dead_postmaster_are_no_obstacle(home: Path) -> None:
    """In a container process numbers come back soon: the dead postmaster's may now be anyone's."""
    with service(home) as process:
        pid = postmaster_of(process)
        process.kill()
        process.wait()
        left = (Cluster(home).data / "postmaster.pid").read_text()
        for member in Cluster(home).processes():
            member.kill()
    await holds(lambda: Cluster(home).processes() == [])
    with another_program() as other:
        lock = Cluster(home).data / "postmaster.pid"
        lock.write_text(left.replace(str(pid), str(other.pid), 1))
        async with started(home) as postgres:
            await keep(postgres, 1)
            assert await rows(postgres) == [1]


async def test_the_log_stays_bounded(home: Path) -> None:
    async with started(home) as postgres:
        log = home / "postgres.log"
        with log.open("ab") as file:
            file.write(b"x" * supervisor._LOG_BYTES + b"\n")
        await holds(lambda: log.stat().st_size < 1_000_000)
        assert mode(home / "postgres.log.1") == 0o600
        await administer(postgres, "DO $$ BEGIN RAISE WARNING 'still written'; END $$")
        await holds(lambda: "still written" in log.read_text())
        assert not log.read_bytes().startswith(b"\0")
