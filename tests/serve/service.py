"""A whole service as real processes, started as a user would start it, and what tests ask of it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

START_SECONDS = 120.0
STOP_SECONDS = 20.0  # what the contract promises


class Service:
    """`shelfcast serve` on a home, in a process group of its own, on a free port."""

    def __init__(self, home: Path, *, output: Path | None = None, **settings: str) -> None:
        self.home = home
        self.log = (output or home).with_suffix(".log")
        self.printed = (output or home).with_suffix(".out")
        # What a person's shell has set must not reach the service under test.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SHELFCAST_")}
        environment |= {
            "SHELFCAST_HOME": str(home),
            "SHELFCAST_PORT": "0",
            "SHELFCAST_SHUTDOWN_SECONDS": "3",
            **settings,
        }
        with self.log.open("ab") as log, self.printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=log,
                start_new_session=True,
            )

    def until_ready(self) -> "Service":
        deadline = time.monotonic() + START_SECONDS
        while not re.search(r"ready on (\S+)", self.printed.read_text()):
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"not ready: {self.log.read_text()[-3000:]}"
            time.sleep(0.05)
        return self

    @property
    def url(self) -> str:
        found = re.search(r"ready on (\S+)", self.printed.read_text())
        assert found is not None
        return found.group(1)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def child(self, name: str) -> psutil.Process:
        """The child process of that name that runs now."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for process in psutil.Process(self.process.pid).children():
                if ["app.running.children", name] == command(process)[2:4]:
                    return process
            time.sleep(0.05)
        raise AssertionError(f"there is no child {name}")

    def postmaster(self) -> int:
        return int((self.home / "postgres/data/postmaster.pid").read_text().splitlines()[0])

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and wait; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def clear(self) -> None:
        """Whatever a failed test left running."""
        self.process.kill()
        self.process.wait()
        for process in processes_of(self.home):
            process.kill()


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process that runs on this home: Postgres by its command line, ours by their environment."""
    return [process for process in psutil.process_iter() if _runs_on(process, str(home))]


def _runs_on(process: psutil.Process, home: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get("SHELFCAST_HOME") == home or any(home in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def sale(sku: str, quantity: float = 1, date: str = "2026-01-01") -> dict[str, object]:
    return {"sales": [{"sku": sku, "date": date, "quantity": quantity}]}
