"""Days that are missing, come late, are taken back, or bring new series; artifacts that are lost or cannot be written."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.database.engine import begun
from app.quarantine.store import end_freed
from models.online.tracking import untracked
from tests.jobs.workers import TINY
from tests.registry.support import flip_byte
from tests.updates.world import HORIZON, NAMES, NEWEST, Name, Shop, day_of, sold

NEWCOMERS = [("C", "S1"), ("B", "S2")]


async def test_after_a_week_without_sales_updates_go_on_and_new_series_begin_with_nothing(shop: Shop) -> None:
    before = await shop.forecasts()
    quiet = await shop.update()
    assert (quiet["status"], quiet["model_version"]) == ("succeeded", None)
    assert quiet["outcome"] == f"No sales after {day_of(NEWEST)}, the last day that version 2 has learned from."
    assert await shop.forecasts() == before

    back = NEWEST + 8
    await shop.post([back])
    assert await shop.updated(promote="always") == 3
    assert (await shop.model(3))["trained_on"]["cutoff"] == str(day_of(back))
    state, said = await shop.state(3), await shop.forecasts()
    assert np.isfinite(state.learned_SD[:, -8:]).sum() == len(NAMES)
    answer = (await shop.client.get("/v1/accuracy")).json()
    assert [(part["days"], part["n"]) for part in answer["horizons"]] == [("8-14", len(NAMES)), ("all", len(NAMES))]

    assert (await shop.client.post("/v1/models/rollback")).status_code == 200
    await shop.post([back], NEWCOMERS)
    assert await shop.updated(promote="always") == 4
    assert (await shop.model(4))["parent"] == 2
    beside = await shop.state(4, NAMES + NEWCOMERS)
    for own, alone in zip(beside.arrays(), state.arrays(), strict=True):
        np.testing.assert_array_equal(own[: len(NAMES)], alone)
    neutral = untracked(NEWCOMERS, beside.until)
    for own, fresh in zip(beside.arrays()[:2], neutral.arrays()[:2], strict=True):
        np.testing.assert_array_equal(own[len(NAMES) :], fresh)
    assert beside.learned_SD[len(NAMES) :, -1].tolist() == [sold(name, back) for name in NEWCOMERS]
    assert [one["forecast"] for one in await shop.forecasts()] == [one["forecast"] for one in said]
    for one in await shop.forecasts(NEWCOMERS):
        assert len(one["forecast"]) > 0 and all(day["mean"] >= 0 for day in one["forecast"])


async def test_days_before_all_that_is_left_of_the_sales_are_not_looked_for(shop: Shop) -> None:
    """They were learned, and deleted since; or nobody has sold anything on them."""
    before = await shop.state(2)
    answer = await shop.client.delete("/v1/sales", params={"to": str(day_of(NEWEST - 20))})
    assert answer.status_code == 200 and answer.json()["deleted"] == (NEWEST - 19) * len(NAMES), answer.text
    await shop.post([NEWEST + 1])
    assert await shop.updated(promote="always") == 3
    state = await shop.state(3)
    assert not state.again_SD.any()
    np.testing.assert_array_equal(state.learned_SD[:, :-1], before.learned_SD[:, 1:])
    assert state.learned_SD[:, -1].tolist() == [sold(name, NEWEST + 1) for name in NAMES]

    assert (await shop.client.delete("/v1/sales", params={"to": str(day_of(NEWEST + 1))})).status_code == 200
    await shop.post(range(NEWEST + 30, NEWEST + 50))
    assert await shop.updated(promote="always") == 4
    state = await shop.state(4)
    assert np.isfinite(state.learned_SD[:, -20:]).all() and not np.isfinite(state.learned_SD[:, :-20]).any()


async def test_a_newcomer_is_scored_from_the_first_forecast_that_a_network_made_of_it(shop: Shop) -> None:
    """Until its 14th day callers read another method's, which nobody keeps; none of that is held against the networks."""
    newcomer = NEWCOMERS[0]
    await shop.post(range(NEWEST - 3, NEWEST + 1), [newcomer])
    await shop.post([NEWEST + 1], [*NAMES, newcomer])
    assert await shop.updated(promote="always") == 3
    (said,) = await shop.forecasts([newcomer])
    assert said["fallback"]["reason"] == "too_little_history"
    checks = (await shop.client.get("/v1/models/3/verdict")).json()["checks"]
    assert {check["name"]: check["passed"] for check in checks}["finite"] is True

    await shop.post(range(NEWEST + 2, NEWEST + 11), [*NAMES, newcomer])
    assert await shop.updated(promote="always") == 4
    assert await scored(shop, newcomer) == {"horizons": 0, "baseline": 0, "frozen": 0}
    assert await scored(shop, NAMES[0]) == {"horizons": 19, "baseline": 19, "frozen": 19}
    (said,) = await shop.forecasts([newcomer])
    assert (said["fallback"], said["model_version"]) == (None, 4)

    await shop.post([NEWEST + 11], [*NAMES, newcomer])
    assert await shop.updated(promote="always") == 5
    assert await scored(shop, newcomer) == {"horizons": 1, "baseline": 1, "frozen": 1}


async def scored(shop: Shop, name: Name) -> dict[str, int]:
    """How many forecasts of a series were compared, by whose they are."""
    answer = (await shop.client.get("/v1/accuracy", params={"sku": name[0], "location": name[1]})).json()
    return {whose: answer[whose][-1]["n"] for whose in ("horizons", "baseline", "frozen")}


async def test_a_newest_day_that_was_taken_back_is_learned_again_when_it_comes(shop: Shop) -> None:
    wrong = await shop.post([NEWEST + 1], quantity=3.0)
    assert await shop.updated() == 3
    assert (await shop.client.post(f"/v1/posts/{wrong}/undo")).status_code == 200
    await shop.post([NEWEST - 1], NAMES[:1], quantity=4.0)
    assert await shop.updated(fine_tune=True) == 4
    assert (await shop.model(4))["trained_on"]["cutoff"] == str(day_of(NEWEST + 1))
    await shop.post([NEWEST + 1, NEWEST + 2])
    assert await shop.updated() == 5
    state = await shop.state(5)
    days = [NEWEST + 1, NEWEST + 2]
    assert state.learned_SD[:, -2:].tolist() == [[sold(name, day) for day in days] for name in NAMES]
    assert state.again_SD[:, -2:].tolist() == [[True, False]] * len(NAMES)
    await a_correction_of_a_day_long_ago_is_found_beside_the_newest_day(shop)


async def a_correction_of_a_day_long_ago_is_found_beside_the_newest_day(shop: Shop) -> None:
    """One post of both: the days between them are not touched, and leave room for it."""
    await shop.post(range(NEWEST + 3, NEWEST + 11))
    assert await shop.updated() == 6
    await shop.post([NEWEST + 11], also={(NAMES[1], NEWEST + 2): 5.0})
    assert await shop.updated() == 7
    state = await shop.state(7)
    assert (state.learned_SD[1, -10], state.again_SD[1, -10]) == (5.0, True)
    assert state.again_SD[:, -9:].sum() == 0


async def test_what_changes_no_quantity_leaves_room_for_a_correction(shop: Shop) -> None:
    """Eight days get prices, wrong sales that are taken back, a delete that is undone; what was held is dismissed."""
    first, touched = NEWEST + 1, range(NEWEST + 2, NEWEST + 10)
    await shop.post([first, *touched], NAMES[:1])
    held = await shop.post([], also={(NAMES[1], day): 5000.0 + day for day in touched})
    await shop.post([first], NAMES[1:])
    await shop.post(touched, NAMES[2:])
    assert await shop.rows("SELECT count(*) FROM quarantine WHERE status = 'held'") == [len(touched)]
    version = await shop.updated(until=str(day_of(touched[-1])), promote="always")

    prices = [
        {"sku": "B", "location": "S1", "date": str(day_of(day)), "quantity": sold(NAMES[2], day), "price": 2.5}
        for day in touched
    ]
    assert (await shop.client.post("/v1/sales", json={"sales": prices})).json()["updated"] == len(touched)
    wrong = await shop.post(touched, NAMES[2:], quantity=3.0)
    assert (await shop.client.post(f"/v1/posts/{wrong}/undo")).status_code == 200
    gone = await shop.client.delete("/v1/sales", params={"sku": "B", "from": str(day_of(touched[0]))})
    assert (await shop.client.post(f"/v1/posts/{gone.json()['post_id']}/undo")).status_code == 200
    assert (await shop.client.post("/v1/quarantine/dismiss", json={"post_id": held})).status_code == 200
    await shop.post([first], NAMES[:1], quantity=4.0)

    assert await shop.updated(promote="always") == version + 1
    state = await shop.state(version + 1)
    assert state.learned_SD[:, -1 - len(touched)].tolist() == [4.0, *(sold(name, first) for name in NAMES[1:])]
    assert state.again_SD.sum() == 1
    await a_day_that_was_deleted_and_came_back_is_learned_again(shop, version + 1, touched[-1])


async def test_a_day_is_scored_anew_when_the_rest_of_it_comes_or_it_is_corrected(shop: Shop) -> None:
    """With or without a new day beside it, and without its being seen twice by the detectors of drift."""
    usual = {"to": str(day_of(NEWEST + 1))}
    await shop.post([NEWEST + 1], NAMES[:2])
    assert await shop.updated(promote="always") == 3
    first = (await shop.client.get("/v1/accuracy", params=usual)).json()
    (state,) = await shop.rows("SELECT state FROM drift_states WHERE block = -1")
    await shop.post([NEWEST + 1], NAMES[2:])
    assert await shop.updated(promote="always") == 4
    whole = (await shop.client.get("/v1/accuracy", params=usual)).json()
    assert [part["horizons"][-1]["n"] for part in (first, whole)] == [2, 3]
    late = await shop.client.get("/v1/accuracy", params={"sku": "B", **usual})
    assert late.json()["horizons"][-1]["n"] == 1
    kept = "SELECT state FROM drift_states JOIN scored_days USING (job_id) WHERE block = -1"
    assert await shop.rows(kept) == [state]

    wrong = await shop.post([NEWEST + 1], quantity=90.0)
    await shop.post([NEWEST + 2])
    assert await shop.updated(promote="always") == 5
    assert (await shop.client.get("/v1/accuracy", params=usual)).json()["horizons"] != whole["horizons"]
    assert (await shop.client.post(f"/v1/posts/{wrong}/undo")).status_code == 200
    await shop.post([NEWEST + 3])
    assert await shop.updated(promote="always") == 6
    assert (await shop.client.get("/v1/accuracy", params=usual)).json() == whole
    assert await shop.rows("SELECT count(*) FROM scored_days") == [3]


async def a_day_that_was_deleted_and_came_back_is_learned_again(shop: Shop, version: int, day: int) -> None:
    """The delete is learned by one update, what its undo brings back by the next."""
    wanted = {"sku": "B", "from": str(day_of(day - 1)), "to": str(day_of(day - 1))}
    gone = await shop.client.delete("/v1/sales", params=wanted)
    assert await shop.updated(promote="always") == version + 1
    state = await shop.state(version + 1)
    assert (np.isnan(state.learned_SD[2, -2]), state.again_SD[2, -2]) == (True, False)
    assert (await shop.client.post(f"/v1/posts/{gone.json()['post_id']}/undo")).status_code == 200
    assert await shop.updated(promote="always") == version + 2
    state = await shop.state(version + 2)
    assert (state.learned_SD[2, -2], state.again_SD[2, -2]) == (sold(NAMES[2], day - 1), True)


async def test_what_a_post_gave_free_and_a_decision_that_was_taken_back_are_learned(shop: Shop) -> None:
    """Neither changes a quantity that is stored."""
    day = NEWEST + 1
    await shop.post([day], NAMES[:2], also={(NAMES[2], day): 5000.0})
    (entry,) = await shop.rows("SELECT id FROM quarantine WHERE status = 'held'")
    assert (await shop.client.post(f"/v1/quarantine/{entry}/confirm")).status_code == 200
    (other,) = await shop.rows(
        "INSERT INTO quarantine (series_id, day, post_id, quantity, reason, detail)"
        " SELECT series_id, day, post_id, quantity, 'units', 'Cases.' FROM sales JOIN series ON id = series_id"
        " WHERE sku = 'A' AND location = 'S1' AND day = $1 RETURNING id",
        day_of(day),
    )
    version = await shop.updated(promote="always")
    learned = (await shop.state(version)).learned_SD[:, -1]
    np.testing.assert_array_equal(learned, [np.nan, sold(NAMES[1], day), 5000.0])

    assert (await shop.client.post(f"/v1/quarantine/{entry}/dismiss")).status_code == 200
    freeing = await shop.post([day + 1])
    async with shop.database.transaction() as connection:
        await end_freed(await begun(connection), [other], freeing)
    version = await shop.updated(promote="always")
    learned = (await shop.state(version)).learned_SD[:, -2]
    np.testing.assert_array_equal(learned, [sold(NAMES[0], day), sold(NAMES[1], day), np.nan])


async def test_a_training_takes_nothing_over_that_knows_days_which_were_deleted(shop: Shop) -> None:
    answer = await shop.client.delete("/v1/sales", params={"from": str(day_of(NEWEST - 40))})
    assert answer.status_code == 200
    trained = await shop.job(TINY | {"horizon": HORIZON, "promote": "always"})
    model = await shop.model(trained["model_version"])
    assert "learned_until" not in model["config"]
    assert model["trained_on"]["cutoff"] == str(day_of(NEWEST - 41))
    await shop.post([NEWEST - 40])
    assert (await shop.model(await shop.updated()))["trained_on"]["cutoff"] == str(day_of(NEWEST - 40))


async def test_a_day_is_learned_once_it_is_over_or_when_it_is_asked_for(shop: Shop) -> None:
    """Of tomorrow there can be sales already. One of three series is few, but not where somebody says that it is all."""
    tomorrow = (datetime.now(UTC).date() - day_of(0)).days + 1
    await shop.post([NEWEST + 1, NEWEST + 2, tomorrow], NAMES[:1])
    await shop.post([NEWEST + 2, tomorrow], NAMES[1:])
    trained = await shop.job(TINY | {"promote": "never"})
    assert (await shop.model(trained["model_version"]))["trained_on"]["cutoff"] == str(day_of(NEWEST + 2))

    version = await shop.updated(until=str(day_of(NEWEST + 1)), promote="always")
    assert (await shop.model(version))["trained_on"]["cutoff"] == str(day_of(NEWEST + 1))
    learned = (await shop.state(version)).learned_SD[:, -1]
    np.testing.assert_array_equal(learned, [sold(NAMES[0], NEWEST + 1), np.nan, np.nan])
    assert await shop.rows("SELECT max(day) FROM scored_days") == [day_of(NEWEST + 1)]
    assert await shop.rows("SELECT max(cutoff) FROM issuances") == [day_of(NEWEST + 1)]

    assert (await shop.model(await shop.updated()))["trained_on"]["cutoff"] == str(day_of(NEWEST + 2))
    quiet = await shop.update()
    assert quiet["outcome"].endswith(
        f" Rows up to {day_of(tomorrow)} wait: the day is not over, or few series have come in."
    )
    known = await shop.update(until=str(day_of(NEWEST + 1)))
    assert (known["status"], known["model_version"]) == ("succeeded", None)
    version = await shop.updated(until=str(day_of(tomorrow)))
    assert (await shop.model(version))["trained_on"]["cutoff"] == str(day_of(tomorrow))


async def test_lost_and_unwritten_artifacts_stop_no_forecast_and_updates_go_on_from_what_is_left(shop: Shop) -> None:
    await shop.post([NEWEST + 1])
    before, artifacts = await shop.forecasts(), Path(shop.settings.artifacts_location)
    with full_disk():
        failed = await shop.update(promote="never")
    assert (failed["status"], failed["error"]["code"]) == ("failed", "disk_full"), failed
    assert "could not be written" in failed["error"]["detail"]
    assert await shop.forecasts() == before

    assert await shop.updated(promote="never") == 3
    await shop.post([NEWEST + 2])
    lost = artifacts / f"{await shop.artifact(3)}.safetensors"
    flip_byte(lost, lost.stat().st_size // 2)
    report = artifacts / f"{await shop.artifact(2)}.parquet"
    flip_byte(report, report.stat().st_size // 2)
    assert await shop.updated(promote="never") == 4
    assert await champion_kept_beside(shop) == {2: False, 3: True, 4: True}
    model = await shop.model(4)
    assert (model["parent"], model["trained_on"]["cutoff"]) == (2, str(day_of(NEWEST + 2)))
    verdict = (await shop.client.get("/v1/models/4/verdict")).json()
    assert f"It began at version 2, since version 3 is lost: The artifact's file {lost.name}" in verdict["sentence"]

    lost = artifacts / f"{await shop.artifact(2)}.safetensors"
    flip_byte(lost, lost.stat().st_size // 2)
    await shop.post([NEWEST + 3])
    failed = await shop.update()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "artifact_damaged"), failed
    assert lost.name in failed["error"]["detail"]
    assert [one["model_version"] for one in await shop.forecasts()] == [2] * len(NAMES)  # it is still in memory
    assert (await shop.client.post("/v1/models/rollback")).json()["version"] == 1
    assert (await shop.model(await shop.updated()))["parent"] == 1


async def champion_kept_beside(shop: Shop) -> dict[int, bool]:
    """Of each version that issued, whether what the champion said is kept as well."""
    async with shop.database.reading() as driver:
        rows = await driver.fetch("SELECT version, champion IS NOT NULL FROM versions JOIN issued USING (job_id)")
    return {row[0]: row[1] for row in rows}


@contextmanager
def full_disk() -> Iterator[None]:
    """The kernel refuses what this process writes beyond a few bytes of a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
