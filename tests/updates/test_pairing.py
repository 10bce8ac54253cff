"""The live record after the line has broken: a lineage is compared with what was said beside it, not with what came before it."""

import numpy as np

from app.jobs.update_days import PAIRED
from models.online.scoring import SUMS
from tests.updates.world import NAMES, NEWEST, Shop, day_of


async def scores(shop: Shop, day: int) -> dict[str, dict[str, float]]:
    """The sums of a day, days ahead and segments together, by source."""
    rows = await shop.rows("SELECT source, sums FROM scores WHERE day = $1", day_of(day))
    sources = {source for source, _ in rows}
    sums = {name: np.sum([found for source, found in rows if source == name], axis=0) for name in sources}
    return {name: dict(zip(SUMS, found.tolist(), strict=True)) for name, found in sums.items()}


async def test_after_a_roll_back_only_what_was_said_since_is_compared(shop: Shop) -> None:
    for day in (1, 2):
        await shop.post([NEWEST + day])
        await shop.updated(promote="always")
    unbroken = await scores(shop, NEWEST + 2)
    assert unbroken["lineage"]["days"] == unbroken["frozen"]["days"] == 2 * len(NAMES)
    assert unbroken["lineage_frozen"] == unbroken["frozen"]
    assert unbroken["lineage_live"] == unbroken["live"]

    assert (await shop.client.post("/v1/models/1/promote")).status_code == 200
    for day in (3, 4):
        await shop.post([NEWEST + day])
        await shop.updated(promote="never")
    broken = await scores(shop, NEWEST + 4)
    assert broken["frozen"]["days"] == broken["live"]["days"] == 4 * len(NAMES)
    for source in PAIRED:
        assert (broken[source]["days"], broken[source]["sales"]) == (len(NAMES), broken["frozen"]["sales"] / 4)
    # Callers read the networks as trained from then on, to which nothing was added.
    assert broken["lineage_live"] == broken["lineage_frozen"] != broken["lineage"]
