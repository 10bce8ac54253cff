"""Questions about many series at once, which take long, leave connections to those who read forecasts."""

import asyncio

import httpx
import pytest
from sqlalchemy import text

from app.accuracy.reading import WIDE_AT_ONCE
from app.config import Settings
from app.database.engine import Database
from tests.support import until

POOL = WIDE_AT_ONCE + 1
SPAN = {"from": "2026-06-01", "to": "2026-06-07"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"pool_size": POOL, "pool_timeout_seconds": 0.5})


async def test_many_questions_about_a_location_leave_a_connection_to_forecasts(
    client: httpx.AsyncClient, database: Database
) -> None:
    rows = [{"sku": "A", "location": "S1", "date": f"2026-06-0{day}", "quantity": day} for day in range(1, 8)]
    assert (await client.post("/v1/sales", json={"sales": rows})).status_code == 200

    def ask(**query: str) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(client.get("/v1/accuracy", params=SPAN | query))

    async def waiting() -> bool:
        async with database.reading() as driver:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'series_scores'::regclass"
            return bool(await driver.fetchval(query) == WIDE_AT_ONCE)

    async def others_refused() -> bool:
        return sum(one.done() for one in asked) == len(asked) - WIDE_AT_ONCE

    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE series_scores IN ACCESS EXCLUSIVE MODE"))
        asked = [ask(location="S1") for _ in range(POOL)] + [ask(sku="A") for _ in range(POOL)]
        await until(waiting, seconds=30)
        answer = await client.get("/v1/forecasts", params={"sku": "A", "location": "S1"})
        assert answer.status_code == 200, answer.text
        await until(others_refused)
    answers = await asyncio.gather(*asked)
    assert sorted(one.status_code for one in answers) == [200] * WIDE_AT_ONCE + [503] * (len(asked) - WIDE_AT_ONCE)
    for one in (one for one in answers if one.status_code == 503):
        assert (one.json()["code"], one.headers["retry-after"]) == ("unavailable", "1")
        assert "about a SKU or a location" in one.json()["detail"]
