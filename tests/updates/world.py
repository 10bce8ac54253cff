"""A shop of three series in which a version learns on: two versions, the second with forecasts issued, and a way to go on.

`update` does a job in the test's own process: a job asked for and read over the API, claimed, worked on and settled by what
workers and their children run. What is left out are the processes, which take most of a small job's time.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.main import create_app
from app.registry.serving import load_forecaster
from models.forecaster import Forecaster
from models.online.tracking import Tracking
from tests.jobs.workers import TINY, post_job, read_job, work_once
from tests.support import client_of

Name = tuple[str, str]
NAMES: list[Name] = [("A", "S1"), ("A", "S2"), ("B", "S1")]
FIRST = date(2026, 1, 5)
HISTORY = 120
NEWEST = HISTORY
"""The day that version 2 has learned until and issued forecasts at; the next one is NEWEST + 1."""
HORIZON = 14


def settings_of(home: Path) -> Settings:
    return Settings(
        home=home, heartbeat_seconds=0.2, lease_seconds=3, poll_seconds=0.1, retry_seconds=0.1, refresh=False
    )


def day_of(number: int) -> date:
    return FIRST + timedelta(days=number)


def sold(name: Name, day: int) -> float:
    """What a series sells on a day."""
    level = 14 + 6 * NAMES.index(name) if name in NAMES else 9
    return float(level + 5 * (day % 7 == 5) + (day * 37 % 5))


@dataclass(frozen=True)
class Shop:
    client: httpx.AsyncClient
    settings: Settings
    database: Database
    database_url: str

    async def post(
        self,
        days: Iterable[int],
        names: Iterable[Name] = NAMES,
        *,
        quantity: float | None = None,
        also: dict[tuple[Name, int], float] | None = None,
    ) -> int:
        """Post sales of these days, those of `sold` unless told otherwise, and `also` what a series sold on a day; its id."""
        rows = [
            {
                "sku": name[0],
                "location": name[1],
                "date": str(day_of(day)),
                "quantity": sold(name, day) if quantity is None else quantity,
            }
            for name in names
            for day in days
        ]
        for (name, day), other in (also or {}).items():
            rows.append({"sku": name[0], "location": name[1], "date": str(day_of(day)), "quantity": other})
        answer = await self.client.post("/v1/sales", json={"sales": rows})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["post_id"])

    async def update(self, **request: Any) -> dict[str, Any]:
        """Ask for an update, do it, and what became of the job."""
        return await self.job({"kind": "update"} | request)

    async def job(self, request: dict[str, Any]) -> dict[str, Any]:
        job = await post_job(self.client, request)
        assert await work_once(self.settings, self.database_url), "there is no job to do"
        return await read_job(self.client, job)

    async def updated(self, **request: Any) -> int:
        """The version that an update became."""
        ended = await self.update(**request)
        assert ended["status"] == "succeeded" and ended["model_version"], ended
        return int(ended["model_version"])

    async def model(self, version: int) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"/v1/models/{version}")).json()
        return found

    async def forecasts(self, names: Iterable[Name] = NAMES) -> list[dict[str, Any]]:
        """What callers read of each series, but for when it was computed."""
        found = []
        for sku, location in names:
            answer = await self.client.get("/v1/forecasts", params={"sku": sku, "location": location})
            assert answer.status_code == 200, answer.text
            wanted = ("cutoff", "model_version", "forecast", "fallback")
            found.append({name: answer.json()[name] for name in wanted})
        return found

    async def rows(self, query: str, *values: object) -> list[Any]:
        """What a query finds; of one column its values."""
        async with self.database.reading() as driver:
            found = [tuple(row) for row in await driver.fetch(query, *values)]
        return [row[0] if len(row) == 1 else row for row in found]

    async def artifact(self, version: int) -> str:
        (sha256,) = await self.rows("SELECT artifact_sha256 FROM versions WHERE version = $1", version)
        return str(sha256)

    async def forecaster(self, version: int) -> Forecaster:
        return load_forecaster(self.settings.artifacts_location, await self.artifact(version))

    async def state(self, version: int, names: list[Name] = NAMES) -> Tracking:
        """What a version has learned of these series, in their order."""
        tracking = (await self.forecaster(version)).tracking
        assert tracking is not None
        return tracking.of(names)

    def weights_of(self, sha256: str) -> str:
        """The SHA-256 of an artifact's weights: unlike its own, it does not know which job made it."""
        document = Path(self.settings.artifacts_location) / f"{sha256}.json"
        return str(json.loads(document.read_text())["weights"]["sha256"])

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        """Nobody writes to a table inside the block; gives a condition that tells whether somebody waits to."""

        async def waits() -> bool:
            query = "SELECT FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass"
            return bool(await self.rows(f"SELECT EXISTS ({query})", table) == [True])

        async with self.database.transaction() as connection:
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            await connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
            yield waits


async def begin(database_url: str, home: Path) -> None:
    """Post a history, train version 1, post a day, and update to version 2. No schedule runs by itself."""
    settings, database = settings_of(home), Database(database_url, pool_size=3)
    app = create_app(settings, database_url)
    async with app.router.lifespan_context(app), client_of(app, settings.admin_key_file.read_text().strip()) as client:
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE schedules SET enabled = false"))
        shop = Shop(client, settings, database, database_url)
        await shop.post(range(HISTORY))
        trained = await shop.job(TINY | {"horizon": HORIZON, "promote": "always"})
        assert trained["model_version"] == 1, trained
        await shop.post([NEWEST])
        assert await shop.updated(fine_tune=True, promote="always") == 2
    await database.close()
