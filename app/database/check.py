"""`python -m app.database.check`: whether the migrations lead exactly to the tables in app/database/tables.py.

It migrates a fresh embedded Postgres up, compares (`alembic check`), then down to nothing and up again.
"""

import asyncio
import tempfile
from pathlib import Path

from alembic import command

from app.database.embedded import EmbeddedPostgres
from app.database.migrate import configuration, downgrade, upgrade


async def check() -> None:
    with tempfile.TemporaryDirectory(prefix="shelfcast-check-") as home:
        postgres = EmbeddedPostgres(Path(home))
        await postgres.start()
        try:
            await upgrade(postgres.url)
            await asyncio.to_thread(command.check, configuration(postgres.url))
            await downgrade(postgres.url, "base")
            await upgrade(postgres.url)
        finally:
            await postgres.stop()


if __name__ == "__main__":
    asyncio.run(check())
