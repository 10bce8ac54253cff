"""The panel and the context that the engine is given, read from sales that went in over HTTP."""

from datetime import date
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.sales.panel import Context, TrainingData, first_day_of_use, read_context, read_panel


async def post(client: httpx.AsyncClient, *rows: tuple[Any, ...]) -> None:
    names = ("sku", "location", "date", "quantity", "price", "promo", "in_stock")
    sales = [dict(zip(names, row, strict=False)) for row in rows]
    answer = await client.post("/v1/sales", json={"sales": sales})
    assert answer.status_code == 200, answer.text


async def calendar(database: Database, *rows: dict[str, Any]) -> None:
    """Calendar rows put in directly, with the revision that writing them raises."""
    async with database.transaction() as connection:
        for row in rows:
            values = {"sku": None, "location": None, "price": None, "promo": None, "event": None, "open": None}
            await connection.execute(
                text(
                    "INSERT INTO calendar (sku, location, date, price, promo, event, open, covariates) VALUES"
                    " (:sku, :location, :date, :price, :promo, :event, :open, CAST(:covariates AS jsonb))"
                ),
                {**values, "covariates": "{}", **row, "date": date.fromisoformat(row["date"])},
            )
        await connection.execute(text("UPDATE revisions SET value = value + 1"))


async def panel_of(database: Database, **options: Any) -> TrainingData:
    async with database.snapshot() as connection:
        data = await read_panel(connection, **options)
    assert data is not None
    return data


async def context_of(database: Database, ids: list[int], **options: Any) -> Context:
    async with database.snapshot() as connection:
        context = await read_context(connection, ids, **options)
    assert context is not None
    return context


def same(actual: Any, expected: list[Any]) -> bool:
    return np.array_equal(np.asarray(actual), np.array(expected, np.float32), equal_nan=True)


NAN = np.nan


async def test_no_sales_are_no_panel(database: Database) -> None:
    async with database.snapshot() as connection:
        assert await read_panel(connection) is None
        assert await read_context(connection, [1, 2], days=7, ahead=7) is None


async def test_a_panel_holds_what_was_posted_and_nan_where_nothing_was(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, ("A", "S1", "2026-01-05", 1), ("A", "S1", "2026-01-07", 3), ("B", "", "2026-01-06", None))
    data = await panel_of(database, ahead=2)
    assert data.panel.keys == [("A", "S1"), ("B", "")]
    assert str(data.panel.start) == "2026-01-05"
    assert same(data.panel.quantity_ST, [[1, NAN, 3], [NAN, NAN, NAN]])
    assert (data.cutoff, data.rows, data.calendar_revision) == (date(2026, 1, 7), 3, 0)
    assert data.revisions.tolist() == [1, 1]
    assert (data.panel.known, data.panel.past) == ({}, {})


async def test_a_panel_of_some_series_and_of_newer_days(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, ("A", "S1", "2026-01-05", 1), ("A", "S1", "2026-01-07", 3), ("B", "", "2026-01-06", 2))
    whole = await panel_of(database)
    of_b = await panel_of(database, series_ids=[int(whole.series_ids[1])])
    assert (of_b.panel.keys, of_b.rows) == ([("B", "")], 1)
    newer = await panel_of(database, since=date(2026, 1, 6))
    assert same(newer.panel.quantity_ST, [[NAN, 3], [2, NAN]])


async def test_price_promo_and_stock_that_only_sales_rows_tell_are_past_covariates(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, ("A", "", "2026-01-05", 1, 2.5, True, 0.5), ("A", "", "2026-01-06", 1, None, 0.25))
    panel = (await panel_of(database, ahead=1)).panel
    assert panel.known == {}
    assert same(panel.past["price"], [[2.5, NAN]])
    assert same(panel.past["promo"], [[1, 0.25]])
    assert same(panel.past["in_stock"], [[0.5, NAN]])


async def test_a_price_known_ahead_does_not_tell_on_which_days_something_was_sold(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, ("A", "", "2026-01-05", 1, 2.5, True), ("A", "", "2026-01-06", 0), ("A", "", "2026-01-07", 1, 3))
    await calendar(database, {"date": "2026-01-09", "price": 2, "promo": 1})
    panel = (await panel_of(database, ahead=3)).panel
    assert same(panel.known["price"], [[2.5, 2.5, 3, 3, 2, 2]])
    assert same(panel.known["promo"], [[1, 0, 0, 0, 1, 0]])


async def test_the_more_specific_calendar_row_wins_and_a_days_own_price_wins_over_all(
    client: httpx.AsyncClient, database: Database
) -> None:
    for sku in ("A", "B"):
        await post(client, *((sku, place, "2026-01-05", 1) for place in ("S1", "S2")))
    await post(client, ("A", "S1", "2026-01-06", 1, 9.0))
    day = "2026-01-07"
    await calendar(
        database,
        {"date": day, "price": 1, "event": "fair"},
        {"date": day, "location": "S1", "price": 2},
        {"date": day, "sku": "A", "price": 3, "promo": 0.5},
        {"date": day, "sku": "A", "location": "S1", "price": 4},
        {"date": "2026-01-06", "price": 7},
    )
    panel = (await panel_of(database, ahead=1)).panel
    assert panel.keys == [("A", "S1"), ("A", "S2"), ("B", "S1"), ("B", "S2")]
    assert same(panel.known["price"], [[NAN, 9, 4], [NAN, 7, 3], [NAN, 7, 2], [NAN, 7, 1]])
    assert same(panel.known["promo"][:, 2], [0.5, 0.5, 0, 0])
    assert same(panel.known["event"], [[0, 0, 1]] * 4)


async def test_events_that_come_again_are_told_by_name(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, *(("A", place, f"2026-01-{day:02}", 1) for place in ("S1", "S2") for day in (5, 6, 7)))
    await calendar(
        database,
        {"date": "2026-01-05", "event": "market day"},
        {"date": "2026-01-06", "event": "fair"},
        {"date": "2026-01-08", "event": "market day"},
        {"date": "2026-01-08", "location": "S2", "event": "fair"},
        {"date": "2026-01-09", "event": "jubilee"},
        {"date": "2026-01-10", "event": "jubilee"},
        {"date": "2026-01-07", "event": "once only", "covariates": '{"event=market day": 1}'},
    )
    data = await panel_of(database, ahead=3)
    known = data.panel.known
    assert sorted(known) == ["event", "event=fair", "event=market day"]
    assert same(known["event"], [[1, 1, 1, 1, 1, 1]] * 2)
    assert same(known["event=market day"], [[1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
    assert same(known["event=fair"], [[0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0]])
    asked = ("event=fair", "event", "event=never told")
    context = await context_of(database, data.series_ids.tolist(), days=2, ahead=2, known=asked)
    assert same(context.panel.known["event=fair"], [[1, 0, 0, 0], [1, 0, 1, 0]])
    assert same(context.panel.known["event=never told"], [[0, 0, 0, 0]] * 2)


async def test_an_items_age_is_told_where_its_launch_is_known(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, *((sku, "", f"2026-01-{day:02}", 1) for sku in ("A", "B", "C") for day in (5, 6)))
    assert (await panel_of(database)).panel.known == {}
    told = [{"sku": "A", "launched_on": "2025-12-27"}, {"sku": "B", "launched_on": "2026-01-06"}, {"sku": "C"}]
    assert (await client.put("/v1/items", json={"items": told})).status_code == 200
    data = await panel_of(database, ahead=2)
    ages = [[10, 11, 12, 13], [1, 1, 2, 3], [NAN, NAN, NAN, NAN]]
    assert same(data.panel.known["age"], ages)
    ids = data.series_ids.tolist()
    assert same((await context_of(database, ids, days=2, ahead=2, known=("age",))).panel.known["age"], ages)
    await calendar(database, {"date": "2026-01-08", "covariates": '{"age": 40}'})
    assert same((await panel_of(database, ahead=2)).panel.known["age"][:, 3], [40, 40, 40])


async def test_a_day_is_open_unless_the_calendar_closes_it(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, ("A", "S1", "2026-01-05", 1), ("A", "S2", "2026-01-06", 1))
    await calendar(
        database, {"date": "2026-01-06", "open": False}, {"date": "2026-01-06", "location": "S2", "open": True}
    )
    panel = (await panel_of(database, ahead=1)).panel
    assert same(panel.known["open"], [[1, 0, 1], [1, 1, 1]])


async def test_covariates_given_ahead_are_known_and_others_are_past(
    client: httpx.AsyncClient, database: Database
) -> None:
    await post(client, ("A", "S1", "2026-01-05", 1), ("A", "S1", "2026-01-06", 1))
    await calendar(
        database,
        {"date": "2026-01-05", "covariates": '{"rain": 2.5, "school\'s out": 0}'},
        {"date": "2026-01-06", "location": "S1", "covariates": '{"rain": null, "school\'s out": 1}'},
        {"date": "2026-01-07", "covariates": '{"school\'s out": 1}'},
    )
    panel = (await panel_of(database, ahead=1)).panel
    assert same(panel.past["rain"], [[2.5, NAN]])
    assert same(panel.known["school's out"], [[0, 1, 1]])


async def test_a_context_ends_with_each_series_own_last_day(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, *(("A", "", f"2026-01-{day:02}", day) for day in range(1, 11)))
    await post(client, ("B", "", "2026-01-07", 5), ("B", "", "2026-01-08", 6))
    ids = (await panel_of(database)).series_ids.tolist()
    context = await context_of(database, ids, days=3, ahead=2)
    assert (context.series_ids, context.revisions) == (ids, [1, 1])
    assert str(context.panel.start) == "2026-01-06"
    assert same(context.panel.quantity_ST, [[NAN, NAN, 8, 9, 10], [NAN, 5, 6, NAN, NAN]])
    assert context.cutoff_S.tolist() == [4, 2]
    assert context.last_days == [date(2026, 1, 10), date(2026, 1, 8)]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_context_has_the_covariates_asked_for_whether_or_not_they_have_values(
    client: httpx.AsyncClient, database: Database, count: int
) -> None:
    for sku in ("A", "B")[:count]:
        await post(client, (sku, "S1", "2026-01-05", 1, 2.0, None, 0.5), (sku, "S1", "2026-01-06", 1))
    ids = (await panel_of(database)).series_ids.tolist()
    asked = {"known": ("price", "open", "event", "fair"), "past": ("in_stock", "rain")}
    bare = (await context_of(database, ids, days=2, ahead=1, **asked)).panel
    assert same(bare.known["price"], [[2, 2, 2]] * count)
    assert same(bare.known["open"], [[1, 1, 1]] * count)
    assert same(bare.known["event"], [[0, 0, 0]] * count)
    assert same(bare.known["fair"], [[NAN, NAN, NAN]] * count)
    assert same(bare.past["rain"], [[NAN, NAN]] * count)
    row = {"date": "2026-01-07", "price": 3, "open": False, "event": "x", "covariates": '{"fair": 1, "rain": 4}'}
    await calendar(database, row, {"date": "2026-01-06", "covariates": '{"rain": 5}'})
    context = await context_of(database, ids, days=2, ahead=1, **asked)
    assert context.calendar_revision == 1
    assert same(context.panel.known["price"], [[2, 2, 3]] * count)
    assert same(context.panel.known["open"], [[1, 1, 0]] * count)
    assert same(context.panel.known["event"], [[0, 0, 1]] * count)
    assert same(context.panel.known["fair"], [[NAN, NAN, 1]] * count)
    assert same(context.panel.past["in_stock"], [[0.5, NAN]] * count)
    assert same(context.panel.past["rain"], [[NAN, 5]] * count)


async def test_a_snapshot_does_not_see_what_is_posted_meanwhile(client: httpx.AsyncClient, database: Database) -> None:
    await post(client, ("A", "", "2026-01-05", 1))
    async with database.snapshot() as connection:
        before = await read_panel(connection)
        await post(client, ("A", "", "2026-01-06", 2))
        after = await read_panel(connection)
    assert before is not None and after is not None
    assert (after.rows, after.cutoff, after.revisions.tolist()) == (1, before.cutoff, [1])


async def test_a_mistyped_year_does_not_stretch_the_panel(client: httpx.AsyncClient, database: Database) -> None:
    days = [f"2026-{month:02}-{day:02}" for month in (7, 8, 9, 10) for day in range(1, 29)]
    await post(client, ("A", "", "1990-07-01", 5), *[("A", "", day, 1) for day in days])
    data = await panel_of(database)
    assert (str(data.panel.start), data.rows) == ("2026-07-01", len(days))


def test_only_few_rows_before_a_long_gap_are_strays() -> None:
    recent = np.arange(20_000, 20_100, dtype=np.int32)
    assert first_day_of_use(recent) == 20_000
    assert first_day_of_use(np.r_[np.int32(19_634), recent]) == 19_634  # a gap of a year is a season, not an error
    assert first_day_of_use(np.r_[np.int32(19_633), recent, recent]) == 20_000
    assert first_day_of_use(np.r_[np.int32([0, 1, 2]), recent, recent]) == 0  # one row in a hundred is history
    assert first_day_of_use(np.r_[np.int32([-5000, 9000]), recent, recent, recent]) == 20_000
