"""The first process of a container, where no other program does this for us: passes signals on and buries orphans.

The kernel gives process 1 every process whose parent has died, to be waited for, and drops signals that it has no handler for
yet. The service runs as its child and knows of neither. Nothing heavy is imported here: this process lasts as long as it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def run(command: Sequence[str]) -> int:
    """Run `command` until it ends, passing signals on and waiting for whatever else becomes ours; its exit code."""
    awaited = {*PASSED_ON, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    # In a session of its own: a Ctrl-C in the terminal comes once, from here, not twice.
    child = subprocess.Popen(command, start_new_session=True, preexec_fn=_unblock)  # noqa: PLW1509 - no thread is here
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(child.pid, number)  # it may be dead, but not buried: that is done below only
        elif (code := _bury(child.pid)) is not None:
            return code


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _bury(main: int) -> int | None:
    """Wait for every child that has ended; the exit code of the main one if it is among them, as a shell would tell it."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == main:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended


def run_this_again() -> int:
    """Run the very command that this process was started with, as a child."""
    return run([sys.executable, *sys.orig_argv[1:]])
