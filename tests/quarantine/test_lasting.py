"""What is held of a place for months, while nobody looks, and what a decision about one of its days does to the days after it."""

import httpx
import pytest

from tests.quarantine.places import a_day, day, decide, entries, open_shop, rows_of, send


def week(number: int, times: float) -> list[dict[str, object]]:
    """The days of a week after the shop's past, the first being 0."""
    days = range(7 * number + 1, 7 * number + 8)
    return [row for ahead in days for row in rows_of(a_day(ahead, times=times, ahead=ahead), day(ahead))]


@pytest.mark.parametrize("times", [12, 1 / 12, 0])
async def test_a_place_is_held_until_somebody_decides(client: httpx.AsyncClient, times: float) -> None:
    await open_shop(client)
    for number in range(12):
        assert (await send(client, week(number, times)))["held"] == 70, f"week {number}"
    later = rows_of(a_day(99, ahead=85), day(85))
    assert (await send(client, later))["held"] == 0  # and what is right again is not held


async def confirm_first_day(client: httpx.AsyncClient, *, part: int = 10) -> None:
    found = await entries(client, **{"from": day(1), "to": day(1)})
    await decide(client, "confirm", body={"ids": [entry["id"] for entry in found[:part]]})


@pytest.mark.parametrize("times", [12, 1 / 12, 0])
@pytest.mark.parametrize("weeks", [1, 4, 6, 7])
async def test_one_confirmed_day_frees_those_after_it_and_those_after_that_spell(
    client: httpx.AsyncClient, times: float, weeks: int
) -> None:
    await open_shop(client)
    assert (await send(client, week(0, times)))["held"] == 70
    await confirm_first_day(client)
    for number in range(1, weeks):
        assert (await send(client, week(number, times)))["held"] == 0, f"week {number}"
    for number in range(weeks, weeks + 2):
        assert (await send(client, week(number, 1)))["held"] == 0, f"back to normal in week {number}"


async def test_a_week_that_was_confirmed_whole_is_no_wonder(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    post = await send(client, week(0, 10))
    await decide(client, "confirm", body={"post_id": post["post_id"]})
    assert [(await send(client, week(number, 10)))["held"] for number in (1, 2)] == [0, 0]


async def test_days_held_before_the_decision_are_free_once_they_are_said_again(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, week(0, 12))
    await confirm_first_day(client)
    assert len(await entries(client)) == 60
    await send(client, week(0, 12))
    assert await entries(client) == []
    mistaken = a_day(8, times=12, ahead=8) | {"A-0": 12 * 4.0 * 50}
    assert (await send(client, rows_of(mistaken, day(8))))["held"] == 1


async def test_a_confirmed_rush_frees_no_mistake_of_later_weeks(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    assert (await send(client, rows_of(a_day(1, times=5, ahead=1), day(1))))["held"] == 10
    await confirm_first_day(client)
    await send(client, [row for row in week(0, 1) if row["date"] > day(1)])
    await send(client, week(1, 1))
    assert (await send(client, rows_of(a_day(15, times=12, ahead=15), day(15))))["held"] == 10


async def test_a_few_confirmed_rows_say_nothing_of_their_place(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, week(0, 12))
    await confirm_first_day(client, part=4)
    assert (await send(client, week(1, 12)))["held"] == 70


@pytest.mark.parametrize("times", [12, 1 / 12, 0])
@pytest.mark.parametrize("corrected", ["price", "quantity", "all quantities"])
async def test_an_old_correction_in_the_same_file_blinds_no_rule(
    client: httpx.AsyncClient, times: float, corrected: str
) -> None:
    await open_shop(client)
    old = rows_of({"A-3": 7.0}, day(-60)) if corrected != "all quantities" else rows_of(a_day(ahead=-60), day(-60))
    if corrected == "price":
        sold = (await client.get("/v1/sales", params={"from": day(-60), "to": day(-60)})).json()["sales"]
        old = [{**row, "price": 2.5} for row in sold]
    posted = await send(client, old + rows_of(a_day(1, times=times), day(1)))
    assert (posted["updated"] > 0, posted["held"]) == (True, 10)


async def test_a_year_and_the_posts_own_days_do_not_settle_who_sells_now_and_then(client: httpx.AsyncClient) -> None:
    """Its place's rules are for those that sell on most days."""
    await open_shop(client, skus=1)
    rare = {f"R-{sku}": 3.0 for sku in range(9)}
    await send(client, [row for ago in range(40) for row in rows_of(rare, day(-7 * ago))])
    assert (await send(client, rows_of(dict.fromkeys(rare, 29.0), day(1)) + rows_of(rare, day(-62))))["held"] == 0
