"""Child processes of the service: started, started again when they die, ended; and how a child notices its parent's death.

The parent's side is `Child`; a child's side is `die_with_parent`, called by `python -m app.running.children NAME` below.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping

import structlog

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_STEADY_SECONDS = 30.0  # a child that lived this long died of something new
_PR_SET_PDEATHSIG = 1

log = structlog.get_logger("app.running.children")


class Child:
    """One child process and its successors, in a session of their own so that a Ctrl-C reaches only the service.

    Secrets go through the environment, never on the command line that everyone can read. Its standard input is a pipe that
    nobody writes to: its end tells the child that this process is gone.
    """

    def __init__(self, name: str, environment: Mapping[str, str], *, descriptor: int | None = None) -> None:
        self.name = name
        self.died = asyncio.Event()  # set by the first death
        self._environment = environment
        self._descriptor = descriptor
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._watch = asyncio.create_task(self._keep_running(), name=f"keep-{self.name}")

    async def end(self, seconds: float) -> None:
        """Ask it to stop, wait, and kill what is left after `seconds`."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            log.warning("child_killed", child=self.name, seconds=seconds)
        _kill_session(process.pid)
        await process.wait()

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            self._process = process = await self._spawn()
            code = await process.wait()
            self.died.set()
            _kill_session(process.pid)
            if time.monotonic() - started > _STEADY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            log.error("child_died", child=self.name, exit=_told(code), restart_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _spawn(self) -> asyncio.subprocess.Process:
        descriptors = () if self._descriptor is None else (self._descriptor,)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.running.children",
            self.name,
            str(os.getpid()),
            *map(str, descriptors),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=descriptors,
            env={**os.environ, **self._environment},
        )
        log.info("child_started", child=self.name, pid=process.pid)
        return process


def _kill_session(pid: int) -> None:
    """Kill what a dead child may have left in its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _told(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


def die_with_parent(parent: int, grace_seconds: float) -> None:
    """Send this process SIGTERM when its parent dies, and kill it `grace_seconds` later if it is still there."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    threading.Thread(target=_watch_stdin, args=(grace_seconds,), daemon=True, name="parent-watch").start()
    if os.getppid() != parent:  # it died before it could be watched
        os.kill(os.getpid(), signal.SIGTERM)


def _watch_stdin(grace_seconds: float) -> None:
    while os.read(sys.__stdin__.fileno() if sys.__stdin__ else 0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def main(name: str, parent: int, descriptor: int | None) -> int:
    from app.config import Settings

    settings = Settings()
    die_with_parent(parent, settings.shutdown_seconds + 1)
    if name == "worker":
        from app.jobs.worker import main as worker

        return worker()
    from app.running.api import supervised_api

    assert descriptor is not None
    return supervised_api(settings, descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
