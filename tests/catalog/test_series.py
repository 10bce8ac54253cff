"""Series listed and deleted, also while somebody else is writing to them."""

import asyncio
from typing import Any

import httpx

from app.catalog.series import delete_series
from app.database.engine import Database, begun
from app.sales.store import locked_series
from tests.catalog.test_items import listed
from tests.support import until


async def post(client: httpx.AsyncClient, *rows: tuple[str, str, str]) -> dict[str, Any]:
    sales = [{"sku": sku, "location": place, "date": date, "quantity": 1} for sku, place, date in rows]
    answer = await client.post("/v1/sales", json={"sales": sales})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def remove(client: httpx.AsyncClient, sku: str, location: str | None = None) -> int:
    query = {"sku": sku} if location is None else {"sku": sku, "location": location}
    return (await client.delete("/v1/series", params=query)).status_code


async def rows_of(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with database.reading() as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def add_forecast(database: Database, sku: str, version: int, made: str) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO forecasts (series_id, version, series_revision, calendar_revision, cutoff, horizon, means, quantiles,"
            f" generated_at) SELECT id, {version}, 1, 0, '2026-03-02', 1, '\\x00000000', '\\x00000000', '{made}' FROM series"
            f" WHERE sku = '{sku}'"
        )


async def test_series_are_listed_with_their_days_and_newest_forecast(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, ("A", "", "2026-03-01"), ("A", "", "2026-03-05"), ("A", "S1", "2026-03-02"))
    await add_forecast(database, "A", 1, "2026-03-06 10:00Z")
    await add_forecast(database, "A", 2, "2026-03-06 12:00Z")
    await post(client, ("B", "", "2026-03-03"))
    every = [
        {"sku": "A", "location": "", "first_day": "2026-03-01", "last_day": "2026-03-05", "rows": 2},
        {"sku": "A", "location": "S1", "first_day": "2026-03-02", "last_day": "2026-03-02", "rows": 1},
        {"sku": "B", "location": "", "first_day": "2026-03-03", "last_day": "2026-03-03", "rows": 1},
    ]
    made = ["2026-03-06T12:00:00Z", "2026-03-06T12:00:00Z", None]
    expected = [row | {"last_forecast": time} for row, time in zip(every, made, strict=True)]
    assert await listed(client, "series") == expected
    assert await listed(client, "series", page_size=1) == expected
    assert await listed(client, "series", location="") == [expected[0], expected[2]]


async def test_a_query_finds_part_of_a_sku_or_of_an_items_name(client: httpx.AsyncClient) -> None:
    skus = ["AB-1", "ab-2", "100%", "C_1", "CX1"]
    await post(client, *((sku, "", "2026-03-01") for sku in skus))
    await client.put(
        "/v1/items", json={"items": [{"sku": "CX1", "name": "Über-Abacus"}, {"sku": "none", "name": "ab"}]}
    )
    for query, found in [
        ("ab", {"AB-1", "ab-2", "CX1"}),
        ("ÜBER", {"CX1"}),
        ("%", {"100%"}),
        ("_", {"C_1"}),
        ("", set(skus)),
        ("\\", set()),
        ("zzz", set()),
    ]:
        assert {row["sku"] for row in await listed(client, "series", query=query)} == found, query


async def test_a_deleted_series_leaves_nothing(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, ("A", "", "2026-03-01"), ("A", "S1", "2026-03-01"), ("B", "", "2026-03-01"))
    changed = [{"sku": sku, "date": "2026-03-01", "quantity": 2} for sku in "AB"]
    await client.post("/v1/sales", json={"sales": changed})
    await add_forecast(database, "A", 1, "2026-03-06Z")
    assert await remove(client, "A") == 204
    assert [(row["sku"], row["location"]) for row in await listed(client, "series")] == [("A", "S1"), ("B", "")]
    for table, left in (("sales", 2), ("replaced_sales", 1), ("forecasts", 1)):
        assert await rows_of(database, f"SELECT count(*) FROM {table}") == [(left,)]
    assert await remove(client, "A") == 404
    assert await remove(client, "C") == 404
    assert await remove(client, "A", "S1") == 204
    assert (await client.delete("/v1/series")).status_code == 422


async def test_a_post_that_waited_for_a_deletion_makes_the_series_anew(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, ("A", "", "2026-03-01"), ("A", "", "2026-03-02"), ("B", "", "2026-03-01"))
    async with database.transaction() as connection:
        await delete_series(connection, "A", "")
        waiting = asyncio.create_task(post(client, ("A", "", "2026-03-02"), ("B", "", "2026-03-01")))
        await until(lambda: rows_of(database, "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'" + HERE))
    answer = await waiting
    assert (answer["inserted"], answer["unchanged"]) == (1, 1)
    assert [(row["sku"], row["rows"], row["first_day"]) for row in await listed(client, "series")] == [
        ("A", 1, "2026-03-02"),
        ("B", 1, "2026-03-01"),
    ]
    await nothing_is_lost(database)


async def test_a_post_whose_series_is_deleted_meanwhile_holds_up_nobody(
    client: httpx.AsyncClient, database: Database
) -> None:
    """It waits for A while it holds B. Once A is gone, somebody else makes it first, and wants B."""
    await post(client, ("B", "", "2026-03-01"))
    await post(client, ("A", "", "2026-03-01"))

    async def made_elsewhere() -> None:
        async with database.transaction() as other:
            await other.exec_driver_sql("INSERT INTO series (sku, location) VALUES ('A', '')")
            await other.exec_driver_sql("SELECT FROM series WHERE sku = 'B' FOR NO KEY UPDATE")

    async def waiting(count: int) -> bool:
        found = await rows_of(database, "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'" + HERE)
        return len(found) == count

    async with database.transaction() as connection:
        await delete_series(connection, "A", "")
        posting = asyncio.create_task(post(client, ("B", "", "2026-03-02"), ("A", "", "2026-03-02")))
        await until(lambda: waiting(1))
        making = asyncio.create_task(made_elsewhere())
        await until(lambda: waiting(2))
    await making
    assert (await posting)["inserted"] == 2
    await nothing_is_lost(database)


async def test_a_series_made_anew_while_its_lock_was_waited_for_is_locked(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, ("A", "", "2026-03-01"))
    async with database.transaction() as writing:
        async with database.transaction() as connection:
            await delete_series(connection, "A", "")
            await connection.exec_driver_sql("INSERT INTO series (sku, location) VALUES ('A', '')")
            locking = asyncio.create_task(locked_series(await begun(writing), [("A", "")], []))
            await until(lambda: rows_of(database, "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'" + HERE))
        await locking
        free = await rows_of(database, "SELECT FROM series WHERE sku = 'A' FOR NO KEY UPDATE SKIP LOCKED")
        assert free == []


async def test_a_deletion_waits_for_a_post(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, ("A", "", "2026-03-01"))
    async with database.transaction() as connection:
        await connection.exec_driver_sql("SELECT FROM series WHERE sku = 'A' FOR NO KEY UPDATE")  # as a writer holds it
        waiting = asyncio.create_task(remove(client, "A"))
        await until(lambda: rows_of(database, "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'" + HERE))
        await connection.exec_driver_sql(
            "INSERT INTO sales (series_id, day, post_id) SELECT id, '2026-03-02', 1 FROM series"
        )
    assert await waiting == 204
    await nothing_is_lost(database)
    assert await rows_of(database, "SELECT FROM sales") == []


async def test_posts_deletions_and_undos_at_once_leave_no_orphan(client: httpx.AsyncClient, database: Database) -> None:
    for turn in range(8):
        first = await post(client, ("A", "", "2026-03-01"), ("B", "", "2026-03-01"))
        statuses = await asyncio.gather(
            post(client, ("A", "", f"2026-03-{turn + 2:02}"), ("B", "", "2026-03-01")),
            remove(client, "A"),
            client.delete("/v1/sales", params={"from": "2026-03-01"}),
            client.post(f"/v1/posts/{first['post_id']}/undo"),
            post(client, ("B", "", "2026-03-09"), ("A", "", "2026-03-01")),
        )
        assert statuses[1] in (204, 404)
        assert statuses[2].status_code == 200, statuses[2].text
        assert statuses[3].status_code in (200, 409), statuses[3].text
        await nothing_is_lost(database)


HERE = " AND datname = current_database()"


async def nothing_is_lost(database: Database) -> None:
    """No sales without their series, and every series says truly what it holds."""
    wrong = await rows_of(
        database,
        "SELECT s.sku, x.series_id FROM series s FULL JOIN"
        " (SELECT series_id, count(*) n, min(day) a, max(day) b FROM sales GROUP BY 1) x ON x.series_id = s.id"
        " WHERE s.id IS NULL OR (s.rows, s.first_day, s.last_day) IS DISTINCT FROM (coalesce(x.n, 0), x.a, x.b)",
    )
    assert wrong == []
