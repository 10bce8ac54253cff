"""Weeks and months out of days."""

import itertools
from datetime import date, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.forecasts.periods import figures, rounded, spans
from models.dependence import Dependence
from models.training_config import LEVELS
from tests.forecasts.data import END, forecast, means, sell


def test_weeks_run_from_monday_to_sunday_and_are_clipped_to_the_horizon() -> None:
    thursday = date(2026, 11, 26)
    found = [(str(s.start), str(s.end), s.complete) for s in spans(thursday, 14, "week")]
    assert found == [
        ("2026-11-27", "2026-11-29", False),
        ("2026-11-30", "2026-12-06", True),
        ("2026-12-07", "2026-12-10", False),
    ]


def test_months_end_where_the_calendar_says_leap_day_included() -> None:
    found = [(str(s.start), str(s.end), s.complete) for s in spans(date(2028, 1, 31), 45, "month")]
    assert found == [("2028-02-01", "2028-02-29", True), ("2028-03-01", "2028-03-16", False)]
    across = [(str(s.start), str(s.end), s.complete) for s in spans(date(2026, 12, 30), 33, "month")]
    assert across == [
        ("2026-12-31", "2026-12-31", False),
        ("2027-01-01", "2027-01-31", True),
        ("2027-02-01", "2027-02-01", False),
    ]


@given(
    st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    st.integers(1, 365),
    st.sampled_from(["day", "week", "month", "total"]),
    st.integers(0, 364),
)
def test_periods_cover_the_days_asked_for_without_gap_or_overlap(
    cutoff: date, horizon: int, period: str, lead_days: int
) -> None:
    lead_days %= horizon
    groups = spans(cutoff, horizon, period, lead_days)  # type: ignore[arg-type]
    assert groups[0].days.start == lead_days
    assert groups[0].start == cutoff + timedelta(days=lead_days + 1)
    assert groups[-1].days.stop == horizon
    for before, after in itertools.pairwise(groups):
        assert before.days.stop == after.days.start
        assert before.end + timedelta(days=1) == after.start
    for group in groups:
        assert (group.end - group.start).days + 1 == group.days.stop - group.days.start
    assert all(group.complete for group in groups[1:-1])


@given(st.lists(st.floats(-1, 1e300), min_size=2, max_size=30))
def test_rounding_keeps_order_and_six_digits(values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    kept = rounded(ordered)
    assert (np.diff(kept) >= 0).all()
    assert (kept >= 0).all()
    np.testing.assert_allclose(kept, np.maximum(ordered, 0), rtol=5.1e-6, atol=5.1e-7)


def test_rounded_figures_are_written_as_they_are_read() -> None:
    given = np.array([11.2000003, 0.1 + 0.2, 1234567.8, 0.0000004, 99.99995])
    assert rounded(given).tolist() == [11.2, 0.3, 1234570.0, 0.0, 100.0]


def test_days_that_rise_and_fall_together_add_up_to_the_sum_of_their_quantiles() -> None:
    levels = np.array(LEVELS)
    quantiles_SHQ = (levels * np.arange(1, 15)[:, None])[None].astype(np.float32)
    together_NH = np.repeat(((np.arange(400) + 0.5) / 400)[:, None], 14, axis=1).astype(np.float16)
    groups = spans(END, 14, "week")
    mean_SP, quantiles_SPW = figures(
        quantiles_SHQ[..., 8],
        quantiles_SHQ,
        LEVELS,
        (0.1, 0.5, 0.9),
        groups=groups,
        dependence=Dependence(together_NH),
    )
    assert mean_SP.tolist() == [[14.0, 38.5]]
    expected = np.array([[0.1, 0.5, 0.9]]) * np.array([[28.0], [77.0]])
    np.testing.assert_allclose(quantiles_SPW[0], expected, rtol=0.01)


async def test_a_weeks_mean_is_the_sum_of_its_days_and_its_quantiles_are_those_of_the_sum(
    client: httpx.AsyncClient,
) -> None:
    noise = np.random.default_rng(0).poisson(20, 200).astype(float).tolist()
    await sell(client, "A-1", noise)
    days = await forecast(client, "A-1")
    weeks = await forecast(client, "A-1", period="week")
    assert [len(weeks["forecast"]), weeks["period"]] == [4, "week"]
    daily = np.array(means(days)).reshape(4, 7)
    np.testing.assert_allclose(means(weeks), daily.sum(axis=1), rtol=1e-5)
    for week, of_days in zip(weeks["forecast"], np.split(np.arange(28), 4), strict=True):
        low, middle, high = week["quantiles"].values()
        sums = {level: sum(days["forecast"][d]["quantiles"][level] for d in of_days) for level in ("0.1", "0.5", "0.9")}
        # Days are not all low or all high at once: the sum's quantiles lie closer together than the quantiles' sums.
        assert sums["0.1"] < low < middle < high < sums["0.9"]
        assert middle == pytest.approx(week["mean"], rel=0.1)


async def test_all_days_of_the_horizon_are_one_period_whatever_their_number(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [float(day % 5) for day in range(70)])
    for horizon in (1, 10, 45):
        days = await forecast(client, "A-1", horizon=horizon, quantiles="0.1,0.5,0.9")
        (total,) = (await forecast(client, "A-1", period="total", horizon=horizon, quantiles="0.1,0.5,0.9"))["forecast"]
        assert (total["start"], total["end"]) == (days["forecast"][0]["start"], days["forecast"][-1]["end"])
        assert total["complete"] is True
        assert total["mean"] == pytest.approx(sum(day["mean"] for day in days["forecast"]), rel=1e-5)
        low, high = (sum(day["quantiles"][level] for day in days["forecast"]) for level in ("0.1", "0.9"))
        if horizon > 1:
            assert low < total["quantiles"]["0.1"] < total["quantiles"]["0.5"] < total["quantiles"]["0.9"] < high
        else:
            assert total["quantiles"] == days["forecast"][0]["quantiles"]


async def test_a_stretch_may_begin_later_than_tomorrow(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [float(day % 5) for day in range(70)])
    asked: dict[str, Any] = {"horizon": 12, "quantiles": "0.1,0.5,0.9"}
    days = (await forecast(client, "A-1", **asked))["forecast"]
    assert (await forecast(client, "A-1", **asked, lead_days=5))["forecast"] == days[5:]
    (stretch,) = (await forecast(client, "A-1", **asked, lead_days=5, period="total"))["forecast"]
    assert (stretch["start"], stretch["end"], stretch["complete"]) == (days[5]["start"], days[11]["end"], True)
    assert stretch["mean"] == pytest.approx(sum(day["mean"] for day in days[5:]), rel=1e-5)
    low, high = (sum(day["quantiles"][level] for day in days[5:]) for level in ("0.1", "0.9"))
    assert low < stretch["quantiles"]["0.1"] < stretch["quantiles"]["0.5"] < stretch["quantiles"]["0.9"] < high
    weeks = (await forecast(client, "A-1", **asked, lead_days=5, period="week"))["forecast"]
    assert [(week["start"], week["complete"]) for week in weeks] == [("2026-11-28", False), ("2026-11-30", False)]
    (last,) = (await forecast(client, "A-1", **asked, lead_days=11, period="total"))["forecast"]
    assert last == days[11]
    question = {
        "series": [{"sku": "A-1"}],
        "horizon": 12,
        "lead_days": 5,
        "period": "total",
        "quantiles": [0.1, 0.5, 0.9],
    }
    answer = await client.post("/v1/forecasts/query", json=question)
    assert answer.json()["forecasts"][0]["forecast"] == [stretch]


async def test_a_stretch_of_no_days_is_refused(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [1.0] * 70)
    asked = [
        await client.get("/v1/forecasts", params={"sku": "A-1", "horizon": 5, "lead_days": 5}),
        await client.post("/v1/forecasts/query", json={"all": True, "horizon": 5, "lead_days": 5}),
        await client.get("/v1/forecasts", params={"sku": "A-1", "lead_days": 28}),
    ]
    for answer in asked:
        assert answer.status_code == 422
        assert answer.json()["errors"][0] | {"detail": ""} == {
            "row": None, "field": "lead_days", "code": "no_days_left", "detail": "",
        }  # fmt: skip


async def test_a_month_clipped_by_the_horizon_says_so(client: httpx.AsyncClient) -> None:
    await sell(client, "A-1", [2.0] * 70)
    body = await forecast(client, "A-1", period="month", horizon=45)
    found = [(p["start"], p["end"], p["complete"], p["mean"]) for p in body["forecast"]]
    assert found == [
        ("2026-11-23", "2026-11-30", False, 16.0),
        ("2026-12-01", "2026-12-31", True, 62.0),
        ("2027-01-01", "2027-01-06", False, 12.0),
    ]
