"""A day said again: what was held of a whole place is judged by what stands there now, rows that did not change included."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from tests.posts.calls import undo
from tests.quarantine.places import a_day, day, entries, forecast, held, open_shop, rows_of, send
from tests.support import until

SLOW = ("A-0", "A-1", "A-2", "A-3")
EVENING = a_day() | dict.fromkeys(SLOW, 0.0)
MORNING = {sku: float(quantity or 0) // 8 for sku, quantity in EVENING.items()}
"""The day before it was over: what sells slowly stands at its end as it stood then, at nothing."""
ZEROS = dict.fromkeys(a_day(), 0.0)


async def skus_held(client: httpx.AsyncClient) -> set[str]:
    return {sku for sku, _, _ in await held(client)}


async def test_the_whole_day_frees_the_rows_that_were_right(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    assert (await send(client, rows_of(MORNING, day(1))))["held"] == 10
    assert (await forecast(client, "A-0"))["held_out"] != []
    whole = await send(client, rows_of(EVENING, day(1)))
    assert (whole["updated"], whole["unchanged"], whole["held"]) == (6, 4, 0)
    assert await held(client) == []
    assert len(await entries(client, status="replaced")) == 10
    assert (await forecast(client, "A-0"))["held_out"] == []  # made afresh, though no sale of it changed


async def test_the_same_file_again_stays_held(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    for ahead, file in ((1, MORNING), (2, ZEROS), (3, a_day(times=12))):
        assert (await send(client, rows_of(file, day(ahead))))["held"] == 10
        before = await entries(client)
        again = await send(client, rows_of(file, day(ahead)))
        assert (again["unchanged"], again["held"]) == (10, 0)
        priced = await send(client, rows_of(file, day(ahead), price=2))
        assert (priced["updated"], priced["held"]) == (10, 0)
        assert await entries(client) == before


async def test_a_wrong_file_that_corrects_a_wrong_one_holds_all_of_the_day(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of(MORNING, day(1)))
    other = MORNING | {"A-9": 1.0}
    assert (await send(client, rows_of(other, day(1))))["held"] == 1
    assert len(await held(client)) == 10


@pytest.mark.parametrize("also", [{}, {"A-0": 0.0}])
async def test_one_sale_frees_all_zeros_of_its_place_and_no_others(
    client: httpx.AsyncClient, also: dict[str, float | None]
) -> None:
    for shop in ("S1", "S2"):
        await open_shop(client, shop)
        assert (await send(client, rows_of(ZEROS, day(1), shop)))["held"] == 10
    sale = rows_of({"A-3": 1.0, **also}, day(1))
    assert (await send(client, sale, dry_run=True))["held"] == 0
    assert len(await held(client)) == 20
    assert (await send(client, sale))["held"] == 0
    assert await held(client, location="S1") == []
    assert len(await held(client, location="S2")) == 10


async def test_the_right_file_that_waits_for_the_wrong_one_frees_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    await open_shop(client)

    def waiting(count: int) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            async with database.reading() as driver:
                return bool(await driver.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == count)

        return reached

    async with database.transaction() as connection:
        await connection.execute(text("SELECT id FROM series ORDER BY id LIMIT 1 FOR UPDATE"))
        wrong = asyncio.create_task(send(client, rows_of(MORNING, day(1))))
        await until(waiting(1))
        right = asyncio.create_task(send(client, rows_of(EVENING, day(1))))
        await until(waiting(2))
    assert (await wrong)["post_id"] < (await right)["post_id"]
    assert await held(client) == []


async def test_a_new_item_that_sold_frees_the_zeros_too(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of(ZEROS, day(1)))
    await send(client, rows_of({"new": 3.0}, day(1)))
    assert await held(client) == []


async def test_a_file_in_pieces_frees_what_it_says(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of(MORNING, day(1)))
    first, rest = {sku: EVENING[sku] for sku in EVENING if sku not in SLOW}, {sku: EVENING[sku] for sku in SLOW}
    await send(client, rows_of(first, day(1)))
    assert await skus_held(client) == set(SLOW)
    await send(client, rows_of(rest, day(1)))
    assert await held(client) == []


async def test_a_complete_file_says_the_zeros_that_it_leaves_out(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    sold = {sku: quantity for sku, quantity in MORNING.items() if quantity}
    assert (await send(client, rows_of(sold, day(1)), complete=True))["held"] == 10
    sold = {sku: quantity for sku, quantity in EVENING.items() if quantity}
    await send(client, rows_of(sold, day(1)), complete=True)
    assert await held(client) == []


async def test_a_file_of_another_date_that_was_partly_right_is_free_once_it_is_right(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of(a_day(), day(1)))
    assert (await send(client, rows_of(a_day(), day(2))))["held"] == 10
    await send(client, rows_of({"A-9": 30.0}, day(2)))
    assert await skus_held(client) == {*a_day()} - {"A-9"}, "one row that is corrected says nothing of the others"
    await send(client, rows_of(a_day() | {"A-9": 30.0, "A-8": 22.0}, day(2)))
    assert await held(client) == []


async def test_a_shop_too_small_to_be_judged_alone_frees_nothing_alone(client: httpx.AsyncClient) -> None:
    for shop in range(5):
        await open_shop(client, f"S{shop}", skus=2, seed=shop)
    wrong = [rows_of(a_day(seed=shop, skus=2, times=12), day(1), f"S{shop}") for shop in range(5)]
    assert (await send(client, [row for rows in wrong for row in rows]))["held"] == 10
    await send(client, wrong[0])
    assert len(await held(client)) == 10
    right = rows_of(a_day(seed=0, skus=2), day(1), "S0")
    await send(client, right)
    assert len(await held(client)) == 8


async def test_what_is_older_than_eight_weeks_is_not_judged_again(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of(ZEROS, day(1)))
    await send(client, rows_of({"A-0": 5.0}, day(58)))
    await send(client, rows_of({"A-1": 5.0, "A-2": 0.0}, day(1)))
    assert await skus_held(client) == {*ZEROS} - {"A-1"}


async def test_an_undo_of_what_gave_a_place_free_holds_it_again(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of(ZEROS, day(1)))
    before = await entries(client)
    sale = await send(client, rows_of({"A-3": 1.0}, day(1)))
    assert await held(client) == []
    assert (await forecast(client, "A-0"))["held_out"] == []
    await undo(client, sale["post_id"])
    assert await entries(client) == before
    assert len((await forecast(client, "A-0"))["held_out"]) == 1


async def test_what_was_given_free_stays_so_when_a_later_mistake_is_undone(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of(ZEROS, day(1)))
    before = await entries(client)
    sale = await send(client, rows_of({"A-3": 1.0}, day(1)))
    mistake = await send(client, rows_of({"A-0": 5.0, "A-1": 4.0}, day(1)))
    await undo(client, mistake["post_id"])
    assert await held(client) == []
    assert await entries(client, status="confirmed") == []  # nobody has
    await undo(client, sale["post_id"])
    assert await entries(client) == before
