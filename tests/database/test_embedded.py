"""The embedded Postgres in good days: what it promises, who may reach it, how it starts and stops."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.database.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    binary,
    opened,
    running_url,
    supervisor,
)
from app.database.embedded.cluster import Cluster
from tests.database.embedded import (
    administer,
    connect,
    holds,
    keep,
    mode,
    names_in,
    postmaster_of,
    rows,
    service,
    started,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another OS user")


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
