"""What a post holds, and what it must not: each kind of accident, first loads, promotions, closed days, dry runs."""

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.quarantine.posted import SAMPLE
from tests.quarantine.places import a_day, day, entries, forecast, held, open_shop, rows_of, send


async def test_a_first_load_is_never_judged(client: httpx.AsyncClient) -> None:
    rows = [
        {"sku": f"A-{sku}", "date": day(-at), "quantity": 5_000 if at == 3 else 5}
        for sku in range(10)
        for at in range(100)
    ]
    assert (await send(client, rows))["held"] == 0


@pytest.mark.parametrize(("days", "expected"), [(27, 0), (28, 1)])
async def test_a_series_needs_four_weeks_before_it_is_judged(
    client: httpx.AsyncClient, days: int, expected: int
) -> None:
    await open_shop(client, skus=1, days=days)
    assert (await send(client, rows_of({"A-0": 400}, day(1))))["held"] == expected


async def test_null_days_are_no_history(client: httpx.AsyncClient) -> None:
    await open_shop(client, skus=1, days=27)
    await send(client, rows_of({"A-0": None}, day(1)))
    assert (await send(client, rows_of({"A-0": 400}, day(2))))["held"] == 0


async def test_what_the_same_post_brings_is_no_history(client: httpx.AsyncClient) -> None:
    await open_shop(client, skus=1, days=20)
    rows = [row for ahead in range(1, 20) for row in rows_of({"A-0": 4}, day(ahead))]
    assert (await send(client, rows + rows_of({"A-0": 400}, day(20))))["held"] == 0
    assert (await send(client, rows_of({"A-0": 400}, day(21))))["held"] == 0  # day 20 stands: there have been such days


async def test_a_day_times_fifty_is_held_and_the_others_are_not(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    true_day = a_day()
    posted = await send(client, rows_of(true_day | {"A-3": 500}, day(1)))
    assert posted["held"] == 1
    [entry] = await entries(client)
    assert {name: entry[name] for name in ("sku", "location", "date", "quantity", "reason", "status", "post_id")} == {
        "sku": "A-3",
        "location": "S1",
        "date": day(1),
        "quantity": 500,
        "reason": "factor",
        "status": "held",
        "post_id": posted["post_id"],
    }
    assert 5 < entry["expected"] < 20
    assert "500 is" in entry["detail"]
    sales = (await client.get("/v1/sales", params={"sku": "A-3", "from": day(1)})).json()["sales"]
    assert [row["quantity"] for row in sales] == [500]  # stored as posted


async def test_a_true_day_a_rush_and_a_slow_seller_that_sells_thirty_are_not_held(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, [row for at in range(60) for row in rows_of({"slow": float(at % 3 == 0)}, day(-at))])
    posted = await send(client, rows_of(a_day() | {"A-3": 60, "slow": 30}, day(1)))
    assert posted["held"] == 0
    assert (await send(client, rows_of(a_day(seed=8, times=3), day(2))))["held"] == 0


async def test_sales_that_come_without_zeros_are_judged_by_a_year(client: httpx.AsyncClient) -> None:
    rows = [row for week in range(40) for row in rows_of({"rare": 2}, day(-7 * week))]
    await send(client, rows)
    assert (await send(client, rows_of({"rare": 25}, day(1))))["held"] == 0
    assert (await send(client, rows_of({"rare": 100}, day(2))))["held"] == 1


async def test_what_was_sold_a_year_ago_is_known(client: httpx.AsyncClient) -> None:
    await open_shop(client, skus=1, days=390)
    await send(client, rows_of({"A-0": 300}, day(-370)))
    assert (await send(client, rows_of({"A-0": 400}, day(1))))["held"] == 0


@pytest.mark.parametrize("how", ["row", "calendar", "event"])
async def test_a_promotion_or_an_event_widens_the_limit(client: httpx.AsyncClient, how: str) -> None:
    await open_shop(client)
    said = {"promo": True} if how == "calendar" else {"event": "Fair"}
    if how != "row":
        calendar = {"calendar": [{"location": "S1", "date": day(1), **said}]}
        assert (await client.put("/v1/calendar", json=calendar)).status_code == 200
    more: dict[str, Any] = {"promo": True} if how == "row" else {}
    assert (await send(client, rows_of({"A-3": 150}, day(1), **more)))["held"] == 0
    assert (await send(client, rows_of({"A-4": 150}, day(2))))["held"] == 1


@pytest.mark.parametrize("times", [12, 1 / 12])
async def test_a_shops_day_in_another_unit_is_held_whole(client: httpx.AsyncClient, times: float) -> None:
    await open_shop(client)
    posted = await send(client, rows_of(a_day(times=times), day(1)))
    assert posted["held"] == 10
    assert {reason for _, _, reason in await held(client)} == {"units"}


async def test_another_shops_day_is_not_held_with_it(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await open_shop(client, "S2", seed=1)
    rows = rows_of(a_day(times=12), day(1)) + rows_of(a_day(seed=9), day(1), "S2")
    assert (await send(client, rows))["held"] == 10
    assert {entry["location"] for entry in await entries(client)} == {"S1"}


async def test_small_shops_are_judged_together(client: httpx.AsyncClient) -> None:
    for shop in range(5):
        await open_shop(client, f"S{shop}", skus=2, seed=shop)
    rows = [row for shop in range(5) for row in rows_of(a_day(seed=shop, skus=2, times=12), day(1), f"S{shop}")]
    assert (await send(client, rows))["held"] == 10


async def test_a_file_posted_again_under_another_date_is_held(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    assert (await send(client, rows_of(a_day(), day(1))))["held"] == 0
    again = await send(client, rows_of(a_day(), day(2)))
    assert again["held"] == 10
    details = {entry["detail"] for entry in await entries(client)}
    assert {reason for _, _, reason in await held(client)} == {"repeated"}
    assert all(day(1) in detail for detail in details)
    assert (await send(client, rows_of(a_day(), day(3))))[
        "held"
    ] == 10  # and once more: what is held is no day to be equal to


async def test_of_two_equal_days_in_one_post_the_later_is_held(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    assert (await send(client, rows_of(a_day(), day(1)) + rows_of(a_day(), day(2))))["held"] == 10
    assert {date for _, date, _ in await held(client)} == {day(2)}


async def test_days_that_are_equal_as_a_rule_are_not_held(client: httpx.AsyncClient) -> None:
    rows = [{"sku": f"A-{sku}", "date": day(-at), "quantity": sku + at % 7} for sku in range(10) for at in range(60)]
    await send(client, rows)
    assert (await send(client, [{"sku": f"A-{sku}", "date": day(1), "quantity": sku + 6} for sku in range(10)]))[
        "held"
    ] == 0


async def test_a_sudden_wall_of_zeros_is_held(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    posted = await send(client, rows_of(dict.fromkeys(a_day(), 0.0), day(1)))
    assert posted["held"] == 10
    assert {reason for _, _, reason in await held(client)} == {"zeros"}


async def test_zeros_that_complete_adds_are_judged_too(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    posted = await send(client, rows_of({"A-3": 0}, day(1)), complete=True)
    assert (posted["completed"], posted["held"]) == (9, 10)


async def test_a_single_sale_makes_zeros_true(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    await send(client, rows_of({"A-0": 1}, day(1)))
    zeros = {sku: 0.0 for sku in a_day() if sku != "A-0"}
    assert (await send(client, rows_of(zeros, day(1))))["held"] == 0


async def test_zeros_of_those_that_did_not_sell_may_come_first(client: httpx.AsyncClient) -> None:
    await open_shop(client, skus=20)
    zeros = dict.fromkeys(list(a_day())[:9], 0.0)  # the shop's other eleven are posted later
    assert (await send(client, rows_of(zeros, day(1))))["held"] == 0


@pytest.mark.parametrize("why", ["calendar", "country", "covariate"])
async def test_zeros_of_a_closed_day_or_a_holiday_are_true(client: httpx.AsyncClient, why: str) -> None:
    await open_shop(client)
    fourth_of_july = day(4)
    if why == "country":
        answer = await client.put("/v1/locations", json={"locations": [{"location": "S1", "country": "US"}]})
    else:
        said = {"open": False} if why == "calendar" else {"covariates": {"holiday": 1}}
        row = {"location": "S1", "date": fourth_of_july, **said}
        answer = await client.put("/v1/calendar", json={"calendar": [row]})
    assert answer.status_code == 200, answer.text
    zeros = dict.fromkeys(a_day(), 0.0)
    assert (await send(client, rows_of(zeros, fourth_of_july)))["held"] == 0
    assert (await send(client, rows_of(zeros, day(6))))["held"] == 10


async def test_only_the_newest_eight_weeks_are_judged(client: httpx.AsyncClient) -> None:
    await open_shop(client, skus=1, days=200)
    assert (await send(client, rows_of({"A-0": 900}, day(-56))))["held"] == 0
    assert (await send(client, rows_of({"A-0": 4_000}, day(-55))))["held"] == 1


async def test_a_dry_run_tells_what_would_be_held_and_holds_nothing(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    rows = rows_of(a_day() | {"A-3": 500}, day(1))
    for query in ({"dry_run": True}, {"dry_run": True, "complete": True}):
        assert (await send(client, rows, **query))["held"] == 1
        assert await entries(client) == []
    assert (await send(client, rows))["held"] == 1
    assert (await send(client, rows, dry_run=True))["held"] == 0  # it is as it stands: nothing would change


async def test_two_posts_of_a_day_at_once_hold_it_once(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    for turn in range(1, 5):
        rows = rows_of({"A-3": 500}, day(turn))
        posted = await asyncio.gather(*(send(client, rows) for _ in range(3)))
        assert sorted(answer["held"] for answer in posted) == [0, 0, 1]
        assert [entry["date"] for entry in await entries(client, **{"from": day(turn), "to": day(turn)})] == [day(turn)]


async def test_a_repeated_post_with_its_key_holds_nothing_more(client: httpx.AsyncClient) -> None:
    await open_shop(client)
    body = {"sales": rows_of({"A-3": 500}, day(1))}
    first, again = [await client.post("/v1/sales", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert first.json()["held"] == 1
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await entries(client)) == 1


@pytest.mark.parametrize(("times", "reason"), [(1, None), (5, "units"), (0, "zeros")])
async def test_a_large_place_is_looked_at_by_a_sample_and_held_whole(
    client: httpx.AsyncClient, times: float, reason: str | None
) -> None:
    skus = SAMPLE + 44
    sold_ST = (
        np.random.default_rng(0).poisson(3, (skus, 61)).clip(1, 6)
    )  # too little for any of them to be looked at alone
    await send(client, [row for at in range(60) for row in rows_of(named(sold_ST[:, at]), day(at - 59))])
    posted = await send(client, rows_of(named(times * sold_ST[:, 60]), day(1)))
    assert posted["held"] == (skus if reason else 0)
    assert {found for _, _, found in await held(client)} == ({reason} if reason else set())


def named(quantity_S: NDArray[np.int64]) -> dict[str, float | None]:
    return {f"A-{sku}": float(quantity) for sku, quantity in enumerate(quantity_S)}


async def test_the_largest_quantities_there_are_do_no_harm(client: httpx.AsyncClient) -> None:
    huge = dict.fromkeys(a_day(), 1.7e308)
    await send(client, [row for at in range(60) for row in rows_of(huge, day(-at))])
    assert (await send(client, rows_of(dict.fromkeys(huge, 1.6e308), day(1))))["held"] == 0
    assert (await send(client, rows_of(dict.fromkeys(huge, 0.0), day(2))))["held"] == 10
    assert [entry["expected"] for entry in await entries(client)] == [None] * 10
    assert (await forecast(client, "A-3"))["held_out"][0]["quantity"] == 0
