"""Backtests: the same numbers as every other evaluation, by weights that have seen no day they are judged on."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import backtest
from models.backtest import NoWindow, Plan, Rolling, Scored, Window, fresh, of_version, run, summary
from models.baselines import BASELINES
from models.errors_by_part import TABLE, scores_of, sums_of, truth_at
from models.evaluation import SCORED_LEVELS, evaluate
from models.forecast import Forecast
from models.heldout import days_needed
from models.inference import predict
from models.panel import Panel
from models.segments import SEGMENTS, buckets, segments
from models.training import Trained, train
from tests.models.panels import START, make_panel, small

SOURCES = ("model", *BASELINES)


@pytest.fixture(scope="module")
def two_weeks() -> Trained:
    """A small LSTM that reaches into the second bucket, trained up to day 159."""
    return train(make_panel(), small(horizon=14, epochs=1))


def scored(panel: Panel, plan: Plan, horizon: int) -> tuple[list[Scored], dict[str, Any]]:
    windows = list(run(panel, plan, horizon))
    return windows, summary(windows)


def at(trained: Trained, *cutoffs: int) -> Plan:
    return Plan([Window(cutoff, trained.forecaster, "trained") for cutoff in cutoffs], [], "")


def plain(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores without nesting, for an approximate comparison."""
    flat = {name: value for name, value in scores.items() if not isinstance(value, dict)}
    return flat | {f"{kind} {level}": v for kind in ("coverage", "below") for level, v in scores[kind].items()}


def evaluated(trained: Trained, source: str, panel: Panel, cutoffs: list[int], horizon: int) -> dict[str, Any]:
    def forecast(panel: Panel, cutoff: int) -> Forecast:
        if source == "model":
            return predict(trained.forecaster, panel, cutoff)
        return BASELINES[source](panel, cutoff, 14)

    return plain(evaluate(forecast, panel, cutoffs, horizon=horizon))


@pytest.mark.parametrize("source", SOURCES)
def test_scores_are_those_of_the_evaluation_for_every_part(
    two_weeks: Trained, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest, "SERIES_AT_ONCE", 3)  # five series in two parts
    panel, cutoffs = make_panel(), [117, 131, 145]
    panel.quantity_ST[4, :125] = np.nan  # a series that begins between two cutoffs
    _, result = scored(panel, at(two_weeks, *cutoffs), 14)
    same = partial(pytest.approx, rel=1e-6)  # other batches, other roundings of single precision
    expected = partial(evaluated, two_weeks, source)
    assert plain(result["overall"]["scores"][source]) == same(expected(panel, cutoffs, 14))
    for one, cutoff in zip(result["windows"], cutoffs, strict=True):
        assert plain(one["scores"][source]) == same(expected(panel, [cutoff], 14))
    first_week = result["horizons"][0]
    assert [part["days"] for part in result["horizons"]] == ["1-7", "8-14"]
    assert plain(first_week["scores"][source]) == same(expected(panel, cutoffs, 7))
    for part in result["segments"]:
        number = SEGMENTS.index(part["segment"])
        rows = [np.flatnonzero(segments(panel, cutoff) == number) for cutoff in cutoffs]
        each = [expected(panel.rows(some), [cutoff], 14) for some, cutoff in zip(rows, cutoffs, strict=True)]
        mean = {name: np.mean([one[name] for one in each if one[name] is not None]) for name in each[0]}
        assert plain(part["scores"][source]) == same(mean)
    observed = [np.isfinite(panel.quantity_ST[: 4 + (c > 125), c + 1 : c + 15]).sum() for c in cutoffs]
    assert [one["observed"] for one in result["windows"]] == observed
    assert result["overall"]["forecasts"] == 14


def test_sums_and_scores_by_hand() -> None:
    quantity = np.array([[1, 3] * 5 + [2, np.nan, 4], [0] * 13], np.float32)
    panel = Panel(["a", "b"], ["", ""], START, quantity)
    truth = truth_at(panel, 9, 3)
    np.testing.assert_array_equal(truth.scale_S, [2, 0])  # |x(t) - x(t - 7)| of 1, 3, 1, … is 2
    quantiles = np.broadcast_to(np.linspace(1, 5, 9), (2, 3, 9)).astype(np.float32)
    forecast = Forecast(np.full((2, 3), 3.5, np.float32), quantiles, np.array(SCORED_LEVELS))
    sums = sums_of(forecast, truth)
    assert (sums.days_SK.tolist(), sums.sales_SK.tolist()) == ([[2], [3]], [[6], [0]])
    assert sums.absolute_SK.tolist() == [[1 + 1], [9]]
    assert sums.mean_SK.tolist() == [[7], [10.5]]
    assert sums.squared_SK.tolist() == [[1.5**2 + 0.5**2], [3 * 3.5**2]]
    # Level 0.1 says 1: twice 0.1 x 1 and 0.1 x 3; for three zeros twice 0.9 x 1.
    np.testing.assert_allclose(sums.pinball_SKQ[:, 0, 0], [0.8, 5.4], rtol=1e-6)
    assert sums.below_SKQ[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2]  # 2 and 4 below 1, 1.5 … 5
    assert sums.to_SKQ[0, 0].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2]
    scores = scores_of(sums, truth.scale_S, truth.step_S, np.ones((2, 1), bool))
    assert scores["mase"] == pytest.approx(2 / 2 / 2)  # the second series has no scale
    assert scores["wape"] == pytest.approx(11 / 6)
    assert scores["bias"] == pytest.approx((17.5 - 6) / 6)
    only_zero = scores_of(sums, truth.scale_S, truth.step_S, np.array([[False], [True]]))
    assert np.isnan([only_zero[name] for name in ("mase", "sql", "wape", "wql", "bias")]).all()
    assert only_zero["mae"] == pytest.approx(3)


def test_any_aggregate_comes_out_of_the_table(two_weeks: Trained) -> None:
    panel, cutoffs = make_panel(), [131, 145]
    windows, result = scored(panel, at(two_weeks, *cutoffs), 14)
    table = pd.concat([window.table.to_pandas() for window in windows])
    assert {window.table.schema for window in windows} == {TABLE}
    assert len(table) == len(SOURCES) * 2 * 5 * 2
    pinball = table[[f"pinball_{level}" for level in SCORED_LEVELS]].sum(axis=1)
    sums = table.assign(wql=pinball / 9).groupby(["source", "cutoff"])[["wql", "sales", "absolute_error"]].sum()
    by_window = sums.div(sums["sales"], axis=0)
    for source in SOURCES:
        scores = result["overall"]["scores"][source]
        assert by_window.loc[source, "wql"].mean() == pytest.approx(scores["wql"], rel=1e-6)
        assert by_window.loc[source, "absolute_error"].mean() == pytest.approx(scores["wape"])
    one = table[(table["sku"] == "sku-4") & (table["days"] == "8-14") & (table["source"] == "seasonal_naive")]
    truth = panel.quantity_ST[4, 145 + 8 : 145 + 15]
    assert one["sales"].iloc[1] == np.nansum(truth)
    assert one["observed"].iloc[1] == np.isfinite(truth).sum()


def test_segments_by_hand_and_from_history_alone() -> None:
    quantity = np.zeros((5, 800), np.float32)
    quantity[0, :600] = 5  # every day, 5 units
    quantity[1, :600] = 4.9
    quantity[2, :600:2] = 9  # every other day: half of the days, 4.5 on average
    quantity[3, :600:3] = 90  # every third day, however much
    quantity[4, :] = np.nan
    panel = Panel(list("abcde"), [""] * 5, START, quantity)
    assert [SEGMENTS[i] for i in segments(panel, 599)] == ["fast", "slow", "slow", "intermittent", "intermittent"]
    before = segments(panel, 599)
    panel.quantity_ST[:, 600:] = 1000
    np.testing.assert_array_equal(segments(panel, 599), before)
    # A year later only the newest 364 days count.
    assert [SEGMENTS[i] for i in segments(panel, 799)][3] == "fast"
    panel.quantity_ST[0, 436:] = 0
    assert SEGMENTS[segments(panel, 799)[0]] == "intermittent"


def test_buckets_cover_every_day_once() -> None:
    for horizon in (1, 7, 8, 14, 20, 28, 29, 365):
        days = [day for part in buckets(horizon) for day in range(horizon)[part]]
        assert days == list(range(horizon))


@pytest.mark.parametrize("window", [0, 1, 2])
def test_days_after_a_cutoff_change_no_forecast_of_it(window: int) -> None:
    """Neither through the training, nor through scales and segments, nor through series that begin later."""
    panel, rolling = make_panel(), Rolling(horizon=7, windows=3, step=14)
    panel.past["weather"] = np.random.default_rng(3).random(panel.quantity_ST.shape, np.float32)
    cutoff = rolling.cutoffs(panel)[window]
    changed = replace(
        panel,
        skus=[*panel.skus, "new"],
        locations=[*panel.locations, "north"],
        quantity_ST=np.vstack([panel.quantity_ST, np.full((1, 160), np.nan, np.float32)]),
        past={"weather": np.vstack([panel.past["weather"], np.full((1, 160), np.nan, np.float32)])},
    )
    rng = np.random.default_rng(4)
    later = changed.quantity_ST[:-1, cutoff + 1 :]
    later[np.isfinite(later)] = rng.integers(0, 500, np.isfinite(later).sum())
    changed.quantity_ST[-1, cutoff + 1 :] = 7
    changed.past["weather"][:, cutoff + 1 :] = 99
    columns = ["sku", "segment", "cutoff", "days", "source", "mean", "scale", "squared_step", "observed"]
    tables = []
    for one in (panel, changed):
        plan = fresh(one, small(epochs=1, past=("weather",)), rolling)
        assert [w.cutoff for w in plan.windows] == rolling.cutoffs(panel)
        tables.append(list(run(one, plan, 7))[window].table.select(columns).to_pandas())
    pd.testing.assert_frame_equal(*tables)


def test_a_fresh_network_is_the_one_of_its_seed_on_the_days_before_the_first_cutoff() -> None:
    panel, rolling = make_panel(), Rolling(horizon=7, windows=3, step=7)
    plan = fresh(panel, small(epochs=1), rolling)
    first = plan.windows[0].cutoff
    assert [w.cutoff for w in plan.windows] == [138, 145, 152]
    alone = train(panel.until(START + np.timedelta64(first, "D")), small(epochs=1)).forecaster
    again, expected = plan.windows[0].forecaster.members[0].network.state_dict(), alone.members[0].network.state_dict()
    assert all(again[name].equal(expected[name]) for name in expected)
    assert plan.windows[0].forecaster.trained_until == START + np.timedelta64(first, "D")
    assert (plan.left_out, plan.why) == ([], "")


def test_cutoffs_with_too_little_history_are_left_out_and_named() -> None:
    needed = days_needed(7)
    panel = make_panel(days=needed + 7 + 10, missing=0.0)
    plan = fresh(panel, small(epochs=1), Rolling(horizon=7, windows=4, step=7))
    assert [w.cutoff for w in plan.windows] == [panel.days - 15, panel.days - 8]
    assert plan.left_out == [START + np.timedelta64(panel.days - day, "D") for day in (29, 22)]
    assert f"{needed} days" in plan.why
    short = make_panel(days=needed + 6, missing=0.0)
    with pytest.raises(NoWindow, match=f"needs {needed + 7} days of sales, and there are {needed + 6}: 1 more"):
        fresh(short, small(epochs=1), Rolling(horizon=7, windows=4, step=7))


def test_a_version_is_judged_only_by_windows_it_has_not_learned_from(trained: Trained) -> None:
    """Trained on 160 days, its twin on 128: then 20 more days come in."""
    panel, twin = make_panel(days=180), trained.forecaster.twin
    assert twin is not None
    plan = of_version(trained.forecaster, panel, Rolling(horizon=7, windows=8, step=9))
    assert [(w.cutoff, w.weights) for w in plan.windows] == [
        *((cutoff, "twin") for cutoff in (127, 136, 145, 154)),
        *((cutoff, "version") for cutoff in (163, 172)),
    ]
    assert [w.forecaster is twin for w in plan.windows] == [True] * 4 + [False] * 2
    assert plan.left_out == [START + np.timedelta64(day, "D") for day in (109, 118)]
    assert f"until {START + 159}, its twin until {START + 127}" in plan.why


def test_a_version_that_has_learned_from_every_window_cannot_be_judged(trained: Trained) -> None:
    panel = make_panel(days=134)
    with pytest.raises(NoWindow, match="the sales of 1 more day, ask for a horizon of at most 6") as raised:
        of_version(trained.forecaster, panel, Rolling(horizon=7, windows=5, step=7))
    assert '"model": "lstm"' in str(raised.value)
    with pytest.raises(NoWindow, match="the sales of 8 more days, or give"):
        of_version(trained.forecaster, make_panel(days=127), Rolling(horizon=7, windows=5, step=7))
    assert of_version(trained.forecaster, make_panel(days=135), Rolling(7, 1, 1)).windows[0].weights == "twin"


def test_horizons_past_the_versions_are_refused(trained: Trained) -> None:
    with pytest.raises(ValueError, match="past the 7 days"):
        of_version(trained.forecaster, make_panel(), Rolling(horizon=8, windows=1, step=1))
