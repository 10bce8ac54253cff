"""Many series shift on one day: the update that sees it says so, and what callers go on reading of its champion is kept."""

import numpy as np

from app.accuracy.blocks import answer_bytes, answer_piece
from tests.updates.world import NEWEST, Name, Shop, day_of, sold

MANY: list[Name] = [(f"M-{n}", "S1") for n in range(60)]
UNTIL = NEWEST + 1
SINCE = UNTIL - 11
"""The day from which on they sell three times as much: the newest twelve."""


async def test_a_shift_of_many_is_told_and_the_champion_is_read_as_before(shop: Shop) -> None:
    await shop.post(range(SINCE), MANY)
    await shop.post([], also={(name, day): 3 * sold(name, day) for name in MANY for day in range(SINCE, UNTIL + 1)})
    await shop.post([UNTIL])
    version = await shop.updated(fine_tune=False, promote="never")
    verdict = (await shop.client.get(f"/v1/models/{version}/verdict")).json()
    assert f"Many series shifted at once between {day_of(SINCE)} and {day_of(SINCE + 1)}:" in verdict["sentence"]
    ((ids, champion, candidate),) = await shop.rows(
        "SELECT series_ids, i.champion, candidate FROM issued i JOIN issuances USING (job_id) WHERE version = $1",
        version,
    )
    ids_of = dict(await shop.rows("SELECT sku, id FROM series WHERE sku LIKE 'M-%'"))
    rows = [ids.index(ids_of[sku]) for sku, _ in MANY]
    kept, update = (answer_piece(said[: answer_bytes(len(ids))])[rows, 0] for said in (champion, candidate))
    read = await shop.forecasts(MANY)
    assert {(one["model_version"], one["cutoff"]) for one in read} == {(2, str(day_of(UNTIL)))}
    np.testing.assert_allclose(kept, [one["forecast"][0]["mean"] for one in read], rtol=1e-3)
    assert np.abs(update / kept - 1).mean() > 0.005
