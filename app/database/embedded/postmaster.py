"""One postmaster process of the embedded Postgres: its settings, its start, whether it lives, its end.

When to start, restart or stop it is decided in supervisor.py.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from app.database.embedded.cluster import Cluster, PidFile, process_environment
from app.database.embedded.home import PORT, EmbeddedPostgresError, account, binary, sync_method

_POLL_SECONDS = 0.02
_READY_SECONDS = 600.0  # a crash recovery that replays all of max_wal_size takes minutes on a slow disk
_KILLED_SECONDS = 3.0  # a killed process is gone at once unless the disk holds it
_LOG_LINES = 12


class Postmaster:
    """A running postmaster: our own child, or one adopted by process id."""

    def __init__(self, cluster: Cluster, process: psutil.Process, *, log_start: int) -> None:
        self.pid = process.pid
        self._cluster = cluster
        self._process = process
        self._log_start = log_start

    @classmethod
    def launch(cls, cluster: Cluster, sockets: Path) -> "Postmaster":
        """Starts Postgres, in a session of its own: a Ctrl-C in the terminal does not reach it."""
        options = [f"--{name}={value}" for name, value in settings(cluster, sockets).items()]
        log = os.open(cluster.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            log_start = os.fstat(log).st_size
            child = psutil.Popen(
                [*account().switch, str(binary("postgres")), "-D", str(cluster.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
                cwd="/",
                env=process_environment(),
            )
        finally:
            os.close(log)
        return cls(cluster, child, log_start=log_start)

    @classmethod
    def running(cls, cluster: Cluster) -> "Postmaster | None":
        """The postmaster that already runs on `cluster` and can be reached; None when there is none."""
        found = cluster.pid_file()
        if found is None or not (found.sockets / f".s.PGSQL.{PORT}").is_socket():
            return None
        for process in cluster.processes():
            if process.pid == found.pid:
                return cls(cluster, process, log_start=cluster.log.stat().st_size)
        return None

    def alive(self) -> bool:
        """Whether the process runs; a dead child of ours is reaped here."""
        if isinstance(self._process, psutil.Popen):
            return self._process.poll() is None
        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    async def until_ready(self) -> PidFile:
        """Waits until it accepts connections. EmbeddedPostgresError with its last log lines when it ends."""
        deadline = time.monotonic() + _READY_SECONDS
        while self.alive():
            found = self._cluster.pid_file()
            if found is not None and found.pid == self.pid and found.ready:
                return found
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"Postgres did not become ready in {_READY_SECONDS:.0f} s.{self._said()}")
            await asyncio.sleep(_POLL_SECONDS)
        raise EmbeddedPostgresError(f"Postgres did not start.{self._said()}")

    def _said(self) -> str:
        with self._cluster.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
        return f" The last lines of {self._cluster.log}:\n" + ("\n".join(lines) or "(nothing)")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; a postmaster that is already gone is no error."""
        if self.alive():
            os.kill(self.pid, number)

    async def gone_within(self, seconds: float) -> bool:
        """Waits for its end, at most `seconds`; False when it still runs."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True


async def clear_processes(cluster: Cluster, *, patience: float) -> None:
    """Waits until no process of the cluster is left; after `patience` seconds they are killed.

    Backends leave by themselves when their postmaster has died, but not in the middle of a computation. No
    new postmaster may start before they are gone; killing them is safe, since recovery from the log follows.
    """
    started = time.monotonic()
    while left := cluster.processes():
        waited = time.monotonic() - started
        if waited > patience + _KILLED_SECONDS:
            numbers = ", ".join(str(process.pid) for process in left)
            raise EmbeddedPostgresError(f"Processes {numbers} of an earlier Postgres cannot be ended.")
        if waited > patience:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        await asyncio.sleep(_POLL_SECONDS)


def settings(cluster: Cluster, sockets: Path) -> dict[str, str | int]:
    """Given on the command line, so that they hold whatever postgresql.conf or ALTER SYSTEM says."""
    quoted = '"' + str(sockets).replace('"', '""') + '"'
    return {
        # Reachable through one private directory only.
        "listen_addresses": "",
        "port": PORT,
        "unix_socket_directories": quoted,
        "unix_socket_permissions": "0700",
        "cluster_name": cluster.name,
        # What was acknowledged is on the disk.
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "recovery_init_sync_method": sync_method(),
        # A small machine that it shares with the service.
        "max_connections": 100,
        "shared_buffers": "256MB",
        # In the data directory, which is ours alone; and /dev/shm is tiny in containers.
        "dynamic_shared_memory_type": "mmap",
        "effective_cache_size": "1GB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "wal_buffers": "16MB",
        "min_wal_size": "256MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        # The log is rotated by the service.
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
    }
