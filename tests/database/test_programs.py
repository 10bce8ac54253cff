"""`python -m app.database PROGRAM`: Postgres' programs on the service's database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import driver_url

ROOT = Path(__file__).parents[2]


def program(*command: str, python: str = sys.executable, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHELFCAST_")}
    return subprocess.run(
        [python, "-m", "app.database", *command],
        env=inherited | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_embedded_database_is_started_for_it_even_where_only_this_user_may_enter(tmp_path: Path) -> None:
    # Where the programs lie below such a folder, root's Postgres, which is `nobody`, must still find them.
    closed = tmp_path / "closed to others"
    closed.mkdir(mode=0o700)
    (closed / "environment").symlink_to(sys.prefix)
    python = str(closed / "environment/bin/python")
    query = "SELECT current_database(), current_user"
    ran = program("psql", "-Atc", query, python=python, SHELFCAST_HOME=str(closed / "home"))
    assert (ran.returncode, ran.stdout) == (0, "shelfcast|shelfcast\n"), ran.stderr


def test_a_database_of_ones_own_is_reached_whatever_the_caller_has_set(database_url: str) -> None:
    url = driver_url(database_url)
    ran = program(
        "psql",
        "-Atc",
        "SELECT count(*) FROM series",
        SHELFCAST_DATABASE_URL=url,
        PGDATABASE="none",
        PGHOST="nowhere.invalid",
    )
    assert (ran.returncode, ran.stdout) == (0, "0\n"), ran.stderr


def test_the_exit_code_is_the_programs(database_url: str) -> None:
    assert program("psql", "-c", "SELEC", SHELFCAST_DATABASE_URL=driver_url(database_url)).returncode == 1


@pytest.mark.parametrize("command", [(), ("rm",), ("../bin/psql",)])
def test_what_is_no_program_of_postgres_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    refused = program(*command, SHELFCAST_HOME=str(tmp_path / "home"))
    assert refused.returncode == 1
    assert "Name a program of Postgres" in refused.stderr
    assert not (tmp_path / "home").exists()
