"""The command `shelfcast`: a client of the API like any other, and the commands that run the service.

client.py      requests, and how their problems are told
load.py        a file of sales sent in chunks, continued where it stopped
learn.py       train, update, jobs, models
backtest.py    backtests
quarantine.py  posted days that cannot be true
schedules.py   what runs by itself
show.py        tables and plots in the terminal
run.py         serve, api, worker, migrate, keys: the only ones that open the database themselves
"""

import os
import sys


def main() -> None:
    """What the installed command calls; the first process of a container does its chores and runs the command as a child."""
    if os.getpid() == 1:
        from app.running.first_process import run_this_again

        sys.exit(run_this_again())
    from app.cli.commands import main as run

    run()
