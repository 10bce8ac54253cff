"""What `shelfcast` does as the first process of a container. Here it becomes the parent of orphans as a subreaper instead."""

import signal
import subprocess
import sys

import psutil
import pytest

from tests.support import until

PR_SET_CHILD_SUBREAPER = 36
AS_FIRST_PROCESS = f"""
import ctypes, sys
from app.running.first_process import run
ctypes.CDLL(None).prctl({PR_SET_CHILD_SUBREAPER}, 1)
sys.exit(run(sys.argv[1:]))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and containers are Linux's")


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", AS_FIRST_PROCESS, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,  # noqa: PLW1509 - no thread is here
    )


def heed_signals() -> None:
    """A test run in a shell's background may ignore some, and bash cannot trap what was ignored when it started."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 128 + 9)])
def test_the_exit_code_is_that_of_the_command(script: str, code: int) -> None:
    with start("bash", "-c", script) as first:
        assert first.wait(timeout=30) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    script = f"trap 'echo told; exit 7' {number.name.removeprefix('SIG')}; echo ready; while :; do read -t 0.05; done"
    with start("bash", "-c", script) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        first.send_signal(number)
        assert first.stdout.readline() == "told\n"
        assert first.wait(timeout=30) == 7


async def test_orphans_are_buried() -> None:
    # The inner shell ends at once; what it started then belongs to the first process, and ends too.
    script = "for n in 1 2 3; do bash -c 'sleep 0.05 & echo $!'; done; echo ready; read"
    with start("bash", "-c", script) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        orphans = [int(first.stdout.readline()) for _ in range(3)]
        assert first.stdout.readline() == "ready\n"

        async def buried() -> bool:
            return not any(psutil.pid_exists(pid) for pid in orphans)

        await until(buried)
        first.stdin.write("\n")
        first.stdin.close()
        assert first.wait(timeout=30) == 0
