"""What builds and runs the image: docker, or a script that stands in for it where no engine can run.

Both give the same few operations. What only one of them can hold is said in `holds`, so that the test's report is honest.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

USER = 10001
HOME = "/var/lib/shelfcast"
STOP_SECONDS = 20
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Running:
    """Commands of the image that run: their containers' names, where there are such, and whether one has ended."""

    names: list[str]
    ended: Callable[[], bool]


class Docker:
    """Containers as an operator would run them: read-only, without capabilities, a named volume for the home."""

    holds = (
        "a read-only root file system, no capabilities, no new privileges; api and worker in containers of their own"
    )

    def __init__(self, tag: str) -> None:
        self._tag = tag

    def build(self, context: Path) -> str:
        given = ["--build-arg", "TORCH_INDEX_URL"] if os.environ.get("TORCH_INDEX_URL") else []
        subprocess.run(["docker", "build", *given, "-t", self._tag, str(context)], check=True)
        size = _output(["docker", "image", "inspect", "-f", "{{.Size}}", self._tag])
        return f"{int(size) / 2**20:.0f} MiB"

    def command(self, settings: Mapping[str, str], *command: str) -> str:
        """Run one command of the image to its end; what it printed."""
        return _output([*self._run(settings), "--rm", self._tag, *command])

    @contextlib.contextmanager
    def running(self, settings: Mapping[str, str], *commands: str) -> Iterator[Running]:
        """Containers of these commands over one home; stopped at the end, in time and with exit code 0."""
        volume = f"image-test-{uuid.uuid4().hex[:8]}"
        names = [f"{volume}-{command}" for command in commands]
        try:
            for name, command in zip(names, commands, strict=True):
                _output([*self._run(settings), "-d", "--name", name, "-v", f"{volume}:{HOME}", self._tag, command])
            yield Running(names, lambda: not all(map(self._runs, names)))
            self._stop(names)
        finally:
            for name in names:
                subprocess.run(["docker", "rm", "-f", name], check=False, capture_output=True)
            subprocess.run(["docker", "volume", "rm", "-f", volume], check=False, capture_output=True)

    def healthy(self, name: str) -> bool:
        return _output(["docker", "inspect", "-f", "{{.State.Health.Status}}", name]) == "healthy"

    def _runs(self, name: str) -> bool:
        return _output(["docker", "inspect", "-f", "{{.State.Running}}", name]) == "true"

    def _run(self, settings: Mapping[str, str]) -> list[str]:
        values = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
        closed = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host"]
        return ["docker", "run", *closed, *values]

    def _stop(self, names: list[str]) -> None:
        for name in names:
            began = time.monotonic()
            subprocess.run(["docker", "stop", "-t", str(STOP_SECONDS + 10), name], check=True, capture_output=True)
            took = time.monotonic() - began
            code = _output(["docker", "inspect", "-f", "{{.State.ExitCode}}", name])
            assert code == "0", f"{name} ended with {code}"
            assert took < STOP_SECONDS, f"{name} took {took:.0f} s to stop"


class Script:
    """A script called as `SCRIPT CONTEXT TAG` and `SCRIPT --run TAG -e NAME=VALUE … -- COMMAND`, on this machine's network.

    It shares no volume between containers, so api and worker run side by side in one; it cannot make the root read-only, so
    what the image's user has left outside its home is looked for when the service has ended.
    """

    holds = "no file left outside the home, no process left; root file system not read-only, api and worker in one container"

    def __init__(self, path: str, tag: str) -> None:
        self._path = path
        self._tag = tag

    def build(self, context: Path) -> str:
        built = subprocess.run([self._path, str(context), self._tag], check=True, stdout=subprocess.PIPE, text=True)
        return built.stdout.strip().splitlines()[-1]

    def command(self, settings: Mapping[str, str], *command: str) -> str:
        return _output([*self._run(settings), "shelfcast", *command])

    @contextlib.contextmanager
    def running(self, settings: Mapping[str, str], *commands: str) -> Iterator[Running]:
        mark = uuid.uuid4().hex
        before = self._processes()
        started = "; ".join(f"shelfcast {command} & {command}=$!" for command in commands)
        every = " ".join(f'"${command}"' for command in commands)
        waited = "; ".join(f'wait "${command}" || {{ kill {every}; exit 1; }}' for command in commands)
        # Folders that the user may not enter hold nothing of it: no complaint about them.
        left = f"find / /dev/shm -xdev -user {USER} ! -path '{HOME}*' ! -path '/proc/*' 2>/dev/null; exit 0"
        script = f"{started}; {waited}; {left}"
        command = [*self._run({**settings, "IMAGE_TEST": mark}), "sh", "-c", script]
        with tempfile.TemporaryFile("w+") as output:
            container = subprocess.Popen(command, stdout=output, stderr=None)
            try:
                yield Running([], lambda: container.poll() is not None)
                began = time.monotonic()
                self._terminate(mark, commands)
                code = container.wait(timeout=STOP_SECONDS + 30)
                took = time.monotonic() - began
            finally:
                left_behind = self._kill(self._processes() - before)
                container.wait(timeout=60)
            output.seek(0)
            printed = [line for line in output if not line.startswith(("Shelfcast is ready", "The Shelfcast API"))]
            assert code == 0, f"ended with {code}"
            assert took < STOP_SECONDS, f"took {took:.0f} s to stop"
            assert not printed, f"left outside the home: {printed}"
            assert not left_behind, f"processes were left: {left_behind}"

    def healthy(self, _name: str) -> bool:
        raise AssertionError("no engine asks for its health")

    def _run(self, settings: Mapping[str, str]) -> list[str]:
        values = [word for name, value in settings.items() for word in ("-e", f"{name}={value}")]
        return [self._path, "--run", self._tag, *values, "--"]

    def _terminate(self, mark: str, commands: Sequence[str]) -> None:
        """SIGTERM to the commands themselves, as an engine sends it to a container's first process."""
        found = {command: _command_process(mark, command) for command in commands}
        for process in found.values():
            process.terminate()

    def _processes(self) -> set[int]:
        return {process.pid for process in psutil.process_iter() if _lives_as(process) == USER}

    def _kill(self, left: set[int]) -> list[str]:
        """End what is left; the command lines."""
        names = []
        for pid in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                names.append(" ".join(process.cmdline()))
                process.kill()
        return names


def _command_process(mark: str, command: str) -> psutil.Process:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.cmdline()[-1:] == [command] and process.environ().get("IMAGE_TEST") == mark:
                return process
    raise AssertionError(f"{command} does not run any more")


def _lives_as(process: psutil.Process) -> int | None:
    """The user of a process; None where there is no process any more, or only the entry of one that has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.uids().real)
    return None


def _output(command: list[str]) -> str:
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    assert ran.returncode == 0, f"{json.dumps(command[:3])} … ended with {ran.returncode}: {ran.stdout}{ran.stderr}"
    return ran.stdout.strip()
