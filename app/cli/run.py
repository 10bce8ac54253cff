"""The commands that run the service or open its database themselves: serve, api, worker, migrate, keys.

What they need of the service is imported when called, so that the client's commands start at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from app.cli import show
from app.cli.client import fail, print_json
from app.cli.learn import Json
from app.config import Settings

keys = typer.Typer(help="Make, list and revoke keys. Opens the database itself.", no_args_is_help=True)


def serve() -> None:
    """Run Postgres (unless SHELFCAST_DATABASE_URL is set), migrations, API and worker in the foreground."""
    from app.running.serve import serve as run

    raise typer.Exit(run(Settings()))


def api() -> None:
    """Run the API alone, over a database that another process serves and has migrated."""
    from app.running.serve import api as run

    raise typer.Exit(run(Settings()))


def worker() -> None:
    """Run one more worker, here or on another machine."""
    from app.running.serve import worker as run

    raise typer.Exit(run(Settings()))


def migrate(
    revision: Annotated[str, typer.Option(help="How far to go up.")] = "head",
    down: Annotated[
        str | None, typer.Option(help="Go down to this older revision; what it cannot hold is lost.")
    ] = None,
) -> None:
    """Bring the database to this version's schema, or back to an older one's."""
    from app.database.migrate import downgrade, upgrade

    if down == "base":
        fail("There is nothing below the first schema: to lose everything, drop the database.")

    async def run() -> None:
        async with _database_url() as url:
            if down is None:
                await upgrade(url, revision)
            else:
                await downgrade(url, down)

    _run(run)
    typer.echo(f"the schema is at {down or revision}")


@keys.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is called in logs.")],
    scopes: Annotated[str, typer.Option(help="Comma-separated, e.g. sales:write,forecasts:read.")],
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once."""
    from app.auth import create_key

    async def run() -> str:
        async with _database() as database, database.transaction() as connection:
            return await create_key(connection, name, [scope.strip() for scope in scopes.split(",")])

    key = _run(run)
    print_json({"name": name, "key": key}) if as_json else typer.echo(key)


@keys.command("list")
def list_keys(as_json: Json = False) -> None:
    """The keys, without their secret."""
    from app.auth import list_keys as listed

    async def run() -> list[dict[str, Any]]:
        async with _database() as database, database.snapshot() as connection:
            return await listed(connection)

    found = _run(run)
    rows = [row | {name: str(row[name] or "") for name in ("created_at", "revoked_at")} for row in found]
    print_json(rows) if as_json else show.table(rows, ["id", "name", "scopes", "created_at", "revoked_at"])


@keys.command("revoke")
def revoke(name: str, as_json: Json = False) -> None:
    """Revoke every key of a name; it is refused within seconds."""
    from app.auth import revoke_keys

    async def run() -> int:
        async with _database() as database, database.transaction() as connection:
            return await revoke_keys(connection, name)

    count = _run(run)
    if count == 0:
        fail(f"There is no valid key named {name!r}.")
    print_json({"revoked": count}) if as_json else typer.echo(f"revoked {count}")


@asynccontextmanager
async def _database_url() -> AsyncIterator[str]:
    from app.database.embedded import opened

    settings = Settings()
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
    else:
        async with opened(settings.home) as url:
            yield url


@asynccontextmanager
async def _database() -> AsyncIterator[Any]:
    from app.database.engine import Database
    from app.database.migrate import upgrade

    async with _database_url() as url:
        if Settings().database_url is None:
            await upgrade(url)
        database = Database(url, pool_size=1)
        try:
            yield database
        finally:
            await database.close()


def _run(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run to the end; what a person can mend becomes a sentence."""
    from alembic.util import CommandError

    from app.database.embedded import EmbeddedPostgresError
    from app.errors import Problem

    async def inner() -> Any:
        return await work()

    try:
        return asyncio.run(inner())
    except (Problem, EmbeddedPostgresError, CommandError, ValueError, OSError) as error:
        fail(str(error))
