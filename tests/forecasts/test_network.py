"""What is answered once a network is champion: by it where it may, and no older than the newest accepted sale."""

import asyncio
from datetime import timedelta

import httpx
import numpy as np

from app.database.engine import Database
from app.forecasts import store
from models.inference import predict
from models.panel import Panel
from models.training import Trained
from tests.forecasts.conftest import Publish, trained_quantities
from tests.forecasts.data import END, forecast, means, refused, sell


async def test_the_champion_answers_with_what_it_predicts(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    version = await publish_version(lstm)
    history = trained_quantities(1)
    await sell(client, "T-1", history)
    body = await forecast(client, "T-1", quantiles="0.1,0.5,0.9,0.25")
    assert body["model_version"] == version
    assert body["fallback"] is None
    assert len(body["forecast"]) == lstm.forecaster.horizon
    start = np.datetime64(END, "D") - np.timedelta64(len(history) - 1, "D")
    panel = Panel(["T-1"], [""], start, np.array([history], dtype=np.float32))
    expected = predict(lstm.forecaster, panel, len(history) - 1)
    np.testing.assert_allclose(means(body), expected.mean_SH[0], rtol=1e-4)
    middle = list(expected.levels_Q).index(0.5)
    medians = [day["quantiles"]["0.5"] for day in body["forecast"]]
    np.testing.assert_allclose(medians, expected.quantiles_SHQ[0, :, middle], rtol=1e-4)
    assert list(body["forecast"][0]["quantiles"]) == ["0.1", "0.25", "0.5", "0.9"]


async def test_a_read_after_an_accepted_sale_has_seen_it(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1)[:-1], last=END - timedelta(days=1))
    before = await forecast(client, "T-1")
    assert before["cutoff"] == str(END - timedelta(days=1))
    await sell(client, "T-1", [500.0])
    after = await forecast(client, "T-1")
    assert after["cutoff"] == str(END)
    assert after["forecast"][0]["start"] == str(END + timedelta(days=1))
    assert after["generated_at"] > before["generated_at"]
    await sell(client, "T-1", [5.0])  # a correction of a day that is known
    corrected = await forecast(client, "T-1")
    assert corrected["cutoff"] == str(END)
    assert sum(means(corrected)) < sum(means(after))
    await sell(client, "T-1", [5.0])  # nothing new
    assert await forecast(client, "T-1") == corrected


async def test_a_change_of_the_calendar_or_of_the_champion_is_seen_by_the_next_read(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained, cnn: Trained
) -> None:
    first = await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    before = await forecast(client, "T-1")
    row = {"sku": "T-1", "location": "", "date": str(END + timedelta(days=3)), "promo": 0.5}
    assert (await client.put("/v1/calendar", json={"calendar": [row]})).status_code == 200
    changed = await forecast(client, "T-1")
    assert changed["generated_at"] > before["generated_at"]
    second = await publish_version(cnn)
    promoted = await forecast(client, "T-1")
    assert (changed["model_version"], promoted["model_version"]) == (first, second)
    assert len(promoted["forecast"]) == cnn.forecaster.horizon
    old = await forecast(client, "T-1", model_version=first)
    assert old == changed  # kept since: a promotion marks nothing as stale
    assert old["fallback"] is None


async def test_many_readers_of_one_stale_series_share_one_computation(
    client: httpx.AsyncClient, database: Database, publish_version: Publish, lstm: Trained
) -> None:
    await publish_version(lstm)
    for sku in range(3):
        await sell(client, f"T-{sku}", trained_quantities(sku))
    bodies = await asyncio.gather(*(forecast(client, f"T-{n % 3}") for n in range(30)))
    for sku in range(3):
        assert len({body["generated_at"] for body in bodies if body["sku"] == f"T-{sku}"}) == 1
    async with database.reading() as connection:
        assert await connection.fetchval("SELECT count(*) FROM forecasts") == 3


async def test_a_read_does_not_wait_for_a_post_that_is_still_being_written(
    client: httpx.AsyncClient, database: Database, publish_version: Publish, lstm: Trained
) -> None:
    await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    async with database.transaction() as writing:
        # The lock that a post takes on every series it touches, until it commits.
        await writing.exec_driver_sql("SELECT id FROM series ORDER BY id FOR NO KEY UPDATE")
        async with asyncio.timeout(30):
            assert (await forecast(client, "T-1"))["cutoff"] == str(END)


async def test_readers_and_posters_at_once_never_see_an_older_cutoff_than_was_accepted(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1)[:-20], last=END - timedelta(days=20))
    accepted = END - timedelta(days=20)

    async def post() -> None:
        nonlocal accepted
        for ago in range(19, -1, -1):
            day = END - timedelta(days=ago)
            await sell(client, "T-1", [7.0], last=day)
            accepted = day

    async def read() -> None:
        while accepted < END:
            at_least = str(accepted)
            assert (await forecast(client, "T-1"))["cutoff"] >= at_least

    await asyncio.gather(post(), *(read() for _ in range(4)))
    assert (await forecast(client, "T-1"))["cutoff"] == str(END)


async def test_too_little_history_is_named_and_a_simple_method_answers(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    version = await publish_version(lstm)
    await sell(client, "N-1", [3.0] * 13)
    body = await forecast(client, "N-1")
    assert body["model_version"] is None
    assert body["fallback"] == {
        "method": "few_days",
        "reason": "too_little_history",
        "detail": f"13 days with a known quantity; version {version} needs 14.",
    }
    assert len(body["forecast"]) == lstm.forecaster.horizon
    assert len((await forecast(client, "N-1", horizon=365))["forecast"]) == 365
    await sell(client, "N-1", [3.0], last=END - timedelta(days=13))
    body = await forecast(client, "N-1")
    assert (body["model_version"], body["fallback"]) == (version, None)


async def test_a_series_the_network_has_never_seen_is_answered_by_it(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    version = await publish_version(lstm)
    await sell(client, "Z-1", trained_quantities(2), location="elsewhere")
    assert (await forecast(client, "Z-1", location="elsewhere"))["model_version"] == version


async def test_a_horizon_past_the_versions_says_how_far_it_goes(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    for _ in range(2):  # computed, and then stored
        problem = await refused(client, 422, sku="T-1", horizon=22)
        assert "21 days" in problem["detail"]
        assert problem["errors"][0]["field"] == "horizon"
    assert len((await forecast(client, "T-1", horizon=21))["forecast"]) == 21


async def test_a_series_that_ended_long_ago_is_answered_from_its_own_cutoff(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    version = await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    ended = END - timedelta(days=900)
    await sell(client, "T-2", trained_quantities(2), last=ended)
    body = await forecast(client, "T-2")
    assert (body["cutoff"], body["model_version"]) == (str(ended), version)
    assert body["forecast"][0]["start"] == str(ended + timedelta(days=1))


async def test_weeks_of_a_network_are_coherent_with_its_days(
    client: httpx.AsyncClient, publish_version: Publish, lstm: Trained
) -> None:
    await publish_version(lstm)
    await sell(client, "T-1", trained_quantities(1))
    days, weeks = await forecast(client, "T-1"), await forecast(client, "T-1", period="week")
    np.testing.assert_allclose(means(weeks), np.array(means(days)).reshape(3, 7).sum(axis=1), rtol=1e-5)
    for week in weeks["forecast"]:
        low, middle, high = week["quantiles"].values()
        assert 0 <= low < middle < high


async def test_an_older_snapshot_never_replaces_a_newer_one(client: httpx.AsyncClient, database: Database) -> None:
    await sell(client, "A-1", [1.0] * 20)
    await sell(client, "A-1", [2.0])
    await forecast(client, "A-1")

    async def kept() -> store.Found:
        async with database.reading() as connection:
            found = await store.look_up(connection, "A-1", "", version=None, stand_in=None)
        assert found is not None
        assert found.stored is not None
        return found

    newest = await kept()
    assert newest.is_fresh
    assert newest.stored is not None
    shorter = store.Stored(
        series_id=newest.series_id,
        version=store.SIMPLE,
        series_revision=newest.revision,
        calendar_revision=newest.calendar_revision,
        cutoff=END,
        mean_H=np.zeros(5, np.float32),
        quantiles_HQ=np.zeros((5, 17), np.float32),
        fallback={"method": "few_days"},
        generated_at=newest.stored.generated_at + timedelta(days=1),
    )
    older = store.Stored(**{name: getattr(newest.stored, name) for name in store.Stored.__slots__} | {
        "series_revision": newest.revision - 1,
        "generated_at": newest.stored.generated_at + timedelta(days=1),
    })  # fmt: skip
    gone = store.Stored(
        **{name: getattr(newest.stored, name) for name in store.Stored.__slots__} | {"series_id": 10**6}
    )
    for late in (shorter, older, gone):
        async with database.transaction() as connection:
            await store.keep(connection, [late])
        assert (await kept()).stored is not None
        assert (await kept()).stored.generated_at == newest.stored.generated_at  # type: ignore[union-attr]
