"""What happens while an update works: sales and corrections come in, somebody promotes another version, a series goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from tests.jobs.workers import post_job, work_once
from tests.support import until
from tests.updates.world import NAMES, NEWEST, Shop, day_of, sold


@asynccontextmanager
async def working_update(shop: Shop, **request: object) -> AsyncIterator[None]:
    """An update is past its reading inside the block, and is published at its end."""
    await post_job(shop.client, {"kind": "update"} | request)
    working = asyncio.create_task(work_once(shop.settings, shop.database_url))
    async with shop.locked("issued") as waits:
        await until(waits, seconds=120)
        yield
    await working


async def learned(shop: Shop, version: int, back: int = 0) -> list[float]:
    """What each series sold on a day, so many before the newest, as a version learned it."""
    column: list[float] = (await shop.state(version)).learned_SD[:, -1 - back].tolist()
    return column


async def test_what_comes_in_while_an_update_works_is_learned_by_the_next_one_and_once(shop: Shop) -> None:
    usual = [sold(name, NEWEST + 1) for name in NAMES]
    await shop.post([NEWEST + 1], NAMES[:2])
    async with working_update(shop):
        await shop.post([NEWEST + 2])
        await shop.post([NEWEST + 1], NAMES[:1], quantity=usual[0] + 7)
        await shop.post([NEWEST + 1], NAMES[2:])
    assert (await shop.model(3))["trained_on"]["cutoff"] == str(day_of(NEWEST + 1))
    np.testing.assert_array_equal(await learned(shop, 3), [*usual[:2], np.nan])

    assert await shop.updated() == 4
    assert (await shop.model(4))["trained_on"]["cutoff"] == str(day_of(NEWEST + 2))
    assert await learned(shop, 4) == [sold(name, NEWEST + 2) for name in NAMES]
    assert await learned(shop, 4, back=1) == [usual[0] + 7, usual[1], usual[2]]
    assert (await shop.state(4)).again_SD[:, -2:].tolist() == [[True, False], [False, False], [True, False]]
    assert await shop.rows("SELECT day FROM scored_days ORDER BY day") == [day_of(NEWEST + 1), day_of(NEWEST + 2)]
    await a_second_correction_is_not_learned(shop)
    await a_day_is_learned_when_the_quarantine_gives_it_free(shop)


async def a_second_correction_is_not_learned(shop: Shop) -> None:
    await shop.post([NEWEST + 1], NAMES[:1], quantity=1.0)
    ended = await shop.update()
    assert (ended["status"], ended["model_version"]) == ("succeeded", None)
    assert ended["outcome"].startswith(f"No sales after {day_of(NEWEST + 2)}, the last day that version 4 ")


async def a_day_is_learned_when_the_quarantine_gives_it_free(shop: Shop) -> None:
    """Held while the day is learned, and confirmed afterwards."""
    post = await shop.post([NEWEST + 3], NAMES[1:2], quantity=5000.0)
    await shop.post([NEWEST + 3], [NAMES[0], NAMES[2]])
    assert await shop.updated() == 5
    assert np.isnan(await learned(shop, 5)).tolist() == [False, True, False]
    confirmed = await shop.client.post("/v1/quarantine/confirm", json={"post_id": post})
    assert confirmed.status_code == 200, confirmed.text
    assert await shop.updated() == 6
    assert (await learned(shop, 6))[1] == 5000.0


async def test_a_version_promoted_by_hand_meanwhile_stays_champion_and_the_next_update_comes_of_it(
    shop: Shop,
) -> None:
    """Whatever was asked for: what it was judged against has left."""
    await shop.post([NEWEST + 1])
    gone = NAMES[1]
    async with working_update(shop, promote="always"):
        assert (await shop.client.post("/v1/models/1/promote")).status_code == 200
        left = await shop.client.delete("/v1/series", params={"sku": gone[0], "location": gone[1]})
        assert left.status_code == 204
        before = await shop.forecasts(NAMES[:1])
    model = await shop.model(3)
    assert (model["parent"], model["aliases"]) == (2, ["challenger"])
    told = "champion_unchanged: It was judged against version 2; version 1 is the champion now."
    assert told in model["decision"]
    verdict = (await shop.client.get("/v1/models/3/verdict")).json()
    assert [check["name"] for check in verdict["checks"] if check["passed"] is False][-1] == "champion_unchanged"
    assert await shop.forecasts(NAMES[:1]) == before
    # Callers read version 1 from then on: what was said beside version 2 is no forecast of theirs.
    assert await shop.rows("SELECT version FROM issuances") == [2]

    await shop.post([NEWEST + 2], [NAMES[0], NAMES[2]])
    assert (await shop.model(await shop.updated()))["parent"] == 1
    assert await shop.rows("SELECT version, champion FROM issuances ORDER BY cutoff") == [(2, 2), *await last(shop)]


async def last(shop: Shop) -> list[tuple[int, int]]:
    """Version 4, and who was champion once it was published."""
    champion = await shop.rows("SELECT version FROM aliases WHERE alias = 'champion'")
    return [(4, champion[0])]
