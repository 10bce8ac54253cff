"""`python -m app.database PROGRAM ARGUMENTS…`: a Postgres program (psql, pg_dump, pg_restore …) on the service's database.

The database is that of SHELFCAST_DATABASE_URL, else the embedded one of SHELFCAST_HOME, which is started for as long as the
program runs unless the service runs already. Where to connect goes through the environment: no password is on a command line.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.config import Settings
from app.database.embedded import EmbeddedPostgresError, binary, opened
from app.telemetry import configure_logging

_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "sslmode": "PGSSLMODE", "ssl": "PGSSLMODE"}


def main(command: Sequence[str]) -> int:
    """Run the program with its arguments; its exit code, or 1 and a sentence."""
    configure_logging("warning")  # to standard error: what the program prints is all that is on standard output
    try:
        if not command or "/" in command[0] or not binary(command[0]).is_file():
            return _fail("Name a program of Postgres, such as psql, pg_dump or pg_restore, and then its arguments.")
        return asyncio.run(_run(command, Settings()))
    except (EmbeddedPostgresError, ArgumentError) as error:
        return _fail(str(error))


async def _run(command: Sequence[str], settings: Settings) -> int:
    if settings.database_url is not None:
        return await _run_on(settings.database_url.get_secret_value(), command)
    async with opened(settings.home) as url:
        return await _run_on(url, command)


async def _run_on(url: str, command: Sequence[str]) -> int:
    program = [str(binary(command[0])), *command[1:]]
    return await asyncio.to_thread(lambda: subprocess.run(program, env=_environment(url), check=False).returncode)


def _environment(url: str) -> dict[str, str]:
    """This process' environment, with libpq's variables for the URL and none of the caller's own."""
    parsed = make_url(url)
    given = {name: str(value) for name, value in parsed.query.items()} | {
        name: str(value) for name, value in (("host", parsed.host), ("port", parsed.port)) if value is not None
    }
    found = {_VARIABLES[name]: value for name, value in given.items() if name in _VARIABLES}
    found |= {
        "PGUSER": parsed.username or "",
        "PGPASSWORD": str(parsed.password or ""),
        "PGDATABASE": parsed.database or "",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {name: value for name, value in found.items() if value}


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
