"""The embedded Postgres under faults that are really caused: kills, a full disk, broken settings, old data."""

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from app.database.embedded import EmbeddedPostgres, EmbeddedPostgresError, HomeInUseError, supervisor
from app.database.embedded.cluster import Cluster
from app.database.embedded.home import account
from tests.database.embedded import connect, holds, keep, names_in, postmaster_of, rows, service, started
from tests.support import until


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
        assert await rows(postgres) == [1]


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
