"""A Postgres on 127.0.0.1 with a password, as somebody else would run it: the server that the image is pointed at."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.database.embedded import binary
from app.database.embedded.home import account

READY_SECONDS = 60


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of a fresh database `shelfcast`, owned by a role without further rights."""
    owner, port = account(), free_port()
    with tempfile.TemporaryDirectory(prefix="image-test-", dir="/tmp") as folder:
        data = Path(folder) / "data"
        secret = Path(folder) / "password"
        password = secrets.token_hex(16)
        secret.write_text(password)
        for path in (Path(folder), secret):
            os.chown(path, owner.uid, owner.gid)
        initdb = ["initdb", "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}", "-N"]
        subprocess.run(_as(owner.switch, initdb), check=True, stdout=subprocess.DEVNULL, cwd="/")
        server = ["postgres", "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        server += ["-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                _as(owner.switch, server), stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        try:
            admin = {**os.environ, "PGPASSWORD": password, "PGHOST": "127.0.0.1", "PGPORT": str(port)}
            _until_ready(process, admin, Path(folder) / "log")
            for statement in (
                f"CREATE ROLE shelfcast LOGIN PASSWORD '{password}'",
                "CREATE DATABASE shelfcast OWNER shelfcast",
            ):
                subprocess.run(_psql(statement), env=admin, check=True, stdout=subprocess.DEVNULL)
            yield f"postgresql://shelfcast:{password}@127.0.0.1:{port}/shelfcast"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as(switch: tuple[str, ...], command: list[str]) -> list[str]:
    return [*switch, str(binary(command[0])), *command[1:]]


def _psql(statement: str) -> list[str]:
    return [str(binary("psql")), "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", statement]


def _until_ready(process: subprocess.Popen[bytes], environment: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while subprocess.run(_psql("SELECT 1"), env=environment, check=False, capture_output=True).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"Postgres did not start: {log.read_text(errors='replace')}")
        time.sleep(0.1)
