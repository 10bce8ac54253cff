"""The parent's end of a training child: started, listened to, killed. What the child does is in child.py.

Both ends talk in lines of JSON: the task goes down the child's stdin, which then stays open so that the child sees its parent
die; progress, trials that have ended and one last word come up its stdout. A child that was started ahead of its task waits for
it with everything imported.
"""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from typing import Any

import orjson

from app.jobs.queue import News

LONGEST_LINE = 16 * 2**20
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
"""An update touches more than a gigabyte of new memory: by pages of 2 MiB that takes a fortieth of the faults. Another C library
does not read this."""


async def new_process() -> asyncio.subprocess.Process:
    """A child's process, which waits for its task."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.jobs.child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {TUNABLES: ":".join(filter(None, [HUGE_PAGES, os.environ.get(TUNABLES)]))},
        start_new_session=True,
        limit=LONGEST_LINE,
    )


class ReadyChild:
    """The process that a worker keeps ready for its next job, if it keeps any."""

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._process: asyncio.subprocess.Process | None = None

    async def prepare(self) -> None:
        """Start it, where it is kept and there is none that lives."""
        if self._kept and (self._process is None or self._process.returncode is not None):
            self._process = await new_process()

    def taken(self) -> asyncio.subprocess.Process | None:
        """It, for a job: from then on it is that job's."""
        process, self._process = self._process, None
        return process

    async def end(self) -> None:
        """End it, as a worker that stops does."""
        process = self.taken()
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


class Child:
    """A running child process, in a session of its own so that a Ctrl-C reaches only its parent."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._epochs: list[dict[str, Any]] = []
        self._trials: list[dict[str, Any]] = []
        self.news: News | None = None
        self.last_word: dict[str, Any] | None = None
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, task: dict[str, Any], waiting: asyncio.subprocess.Process | None = None) -> "Child":
        """A child that works on a task: the one that waits for it, if there is one and it lives, or a new one."""
        process = waiting if waiting is not None and waiting.returncode is None else await new_process()
        child = cls(process)
        assert process.stdin is not None
        try:
            process.stdin.write(orjson.dumps({**task, "parent": os.getpid()}) + b"\n")
            await process.stdin.drain()
        except ConnectionError:
            pass  # it died already, which `ended` tells
        except BaseException:
            await child.kill()
            raise
        return child

    async def ended(self) -> int:
        """Wait until the child is gone; its exit code, negative for a signal. `last_word` is then complete."""
        await asyncio.shield(self._listening)
        return await self._process.wait()

    async def kill(self) -> None:
        """End the child at once, with all that it may have started, and wait until it is gone."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.kill()  # before its session was made
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if not line.endswith(b"\n"):
                return  # it was killed amid this line
            message = orjson.loads(line)
            if message["type"] == "trial":
                self._trials.append(message["trial"])
                if self.news is not None:
                    self.news = replace(self.news, trials=list(self._trials))
            elif message["type"] == "progress":
                self._note(message)
            else:
                self.last_word = message

    def _note(self, told: dict[str, Any]) -> None:
        epoch = told["epoch"]
        if told["loss"] is not None and epoch > (self._epochs[-1]["epoch"] if self._epochs else 0):
            self._epochs.append({name: told[name] for name in ("epoch", "loss", "validation")})
        self.news = News(
            progress=told["progress"],
            stage=told["stage"],
            epoch=epoch,
            loss=told["loss"],
            validation=told["validation"],
            eta_seconds=told["eta_seconds"],
            epochs=list(self._epochs),
            trials=list(self._trials),
        )
