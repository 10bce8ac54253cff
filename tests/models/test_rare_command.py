"""The command that measures replaced, interrupted and rare series: what is hidden, what is thinned, and who is scored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.pooled import Pooled, Truth, truth_of
from benchmarks.rare import main, own_months, thinned, without
from benchmarks.successors import joined, shown, sold_before, successor
from models.forecast import Forecast
from models.panel import Panel
from models.training_config import LEVELS

START = np.datetime64("2024-01-01")
QUICK = ["--folds", "2", "--windows", "2", "--set", "epochs=1", "width=8", "batch_size=32", "layers=1"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-01", periods=460)
    rows = [
        {"sku": f"s{sku}", "location": place, "date": day.date(), "quantity": float(rng.poisson(2 + sku)),
         "kind": "ab"[sku // 3], "rain": float(day.day)}
        for sku in range(6) for place in ("x", "y") for day in dates
    ]  # fmt: skip
    path = tmp_path / "data.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def panel_of(quantity_ST: list[list[float]]) -> Panel:
    values = np.array(quantity_ST, np.float32)
    rows = range(len(values))
    return Panel(
        [f"s{row}" for row in rows],
        [""] * len(values),
        START,
        values,
        {"promo": np.ones_like(values)},
        {"rain": np.ones_like(values)},
        {"kind": ["a" for _ in rows]},
    )


def test_everyone_is_scored_and_a_rare_series_sells_about_a_unit_a_month(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--data", str(data), "--covariates", "past:rain,static:kind", "--end", "2025-04-04", *QUICK]
    assert main(asked) == 0
    result = json.loads(capsys.readouterr().out)
    kinds = [f"{kind}, {days} days" for kind in ("relaunch", "look-alike") for days in (0, 7, 28)]
    names = {f"{kind}: {who}" for kind in kinds for who in ("the service", "the replaced past alone", "siblings")}
    names |= {f"{kind}: fallback on own days" for kind in kinds if " 0 " not in kind}
    names |= {f"{kind}: network on own days" for kind in kinds if " 28 " in kind}
    names |= {"relaunch: under its old name", "relaunch: climatology of its past"}
    replaced = result["replaces"]
    assert set(replaced) == names | {"look-alike: category's weekday quantiles"}
    for kind in ("relaunch", "look-alike"):  # without an own day nothing speaks against what is replaced
        assert replaced[f"{kind}, 0 days: the service"] == replaced[f"{kind}, 0 days: the replaced past alone"]
    assert {"network, no gap", "climatology, 14 days since", "network trained with gaps, 56 days since"} < set(
        result["gap"]
    )
    scores = [one for part in ("replaces", "gap") for one in result[part].values()]
    assert all(0 < one["wql"] < 2 and one["sql"] > 0 for one in scores)
    rare = result["monthly"]
    assert rare["zeros"]["wql"] == 1.0  # half the pinball of level q is q, and their mean is a half
    assert rare["zeros"]["to 0.9"] == pytest.approx(1 - 1 / 30, abs=0.02)
    assert set(rare["sums"]) == {"network", "climatology", "own four weeks of a year", "zeros"}
    assert main([*asked, "--what", "gap", "--windows", "1"]) == 0
    assert set(json.loads(capsys.readouterr().out)) & {"replaces", "gap", "monthly"} == {"gap"}


def test_an_item_without_attributes_has_no_look_alike(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(data), "--what", "replaces", "--end", "2025-04-04", *QUICK]) == 0
    assert all(name.startswith("relaunch") for name in json.loads(capsys.readouterr().out)["replaces"])


def test_of_a_newcomer_only_its_last_days_are_shown_and_of_a_gap_nothing() -> None:
    panel = panel_of([[1, 2, 3, 4, 5, 6]])
    np.testing.assert_array_equal(shown(panel, 4, 2).quantity_ST, [[np.nan, np.nan, np.nan, 4, 5, np.nan]])
    np.testing.assert_array_equal(shown(panel, 4, 2).past["rain"], [[np.nan, np.nan, np.nan, 1, 1, np.nan]])
    assert np.isnan(shown(panel, 4, 0).quantity_ST).all()
    gapped = without(panel, np.array([[False, True, True, False, False, False]]))
    np.testing.assert_array_equal(gapped.quantity_ST, [[1, np.nan, np.nan, 4, 5, 6]])
    np.testing.assert_array_equal(gapped.past["rain"], [[1, np.nan, np.nan, 1, 1, 1]])
    assert gapped.known["promo"].all()  # a plan is known whether or not sales were posted


def test_a_successor_has_the_others_past_its_own_days_and_nothing_after_the_cutoff() -> None:
    old, own = panel_of([[1, 2, 3, 4, 5, 6]]), replace(panel_of([[9, 9, 9, 9, 9, 9]]), skus=["new"])
    found = successor(old, shown(own, 4, 2), 4)
    np.testing.assert_array_equal(found.quantity_ST, [[1, 2, 3, 9, 9]])
    both = joined([found, found])
    assert (both.skus, both.static["kind"]) == (["new", "new"], ["a", "a"])
    assert both.quantity_ST.shape == both.past["rain"].shape == (2, 5)


def test_thinning_keeps_whole_units_missing_days_and_one_unit_in_thirty_days() -> None:
    rng = np.random.default_rng(1)
    busy = rng.poisson(5.0, 2000).astype(np.float32)
    busy[10] = np.nan
    panel = panel_of([busy.tolist(), [float(day % 40 == 0) for day in range(2000)]])
    thin = thinned(panel, 1500, rng)
    assert np.nanmean(thin.quantity_ST[0]) == pytest.approx(1 / 30, rel=0.3)
    assert (np.nan_to_num(thin.quantity_ST) <= np.nan_to_num(panel.quantity_ST)).all()
    assert np.isnan(thin.quantity_ST[0, 10])
    np.testing.assert_array_equal(thin.quantity_ST[1], panel.quantity_ST[1])  # it sells less than that as it is
    assert thin.skus == ["s0, thinned", "s1, thinned"]


def test_only_series_that_were_there_and_sold_are_asked_about() -> None:
    young = [np.nan] * 360 + [1.0] * 40
    panel = panel_of([[1.0] * 400, young, [0.0] * 400])
    assert sold_before(panel, 399) == [0]


def test_scores_are_pooled_over_series_and_windows() -> None:
    panel = panel_of([[float(day % 7) for day in range(400)]])
    truth = truth_of(panel, 360, 28)
    np.testing.assert_array_equal(truth.y_SH, [[float(day % 7) for day in range(361, 389)]])
    assert truth.error_S.tolist() == [0.0]  # the same every week: no scale, no SQL
    flat = Forecast(np.full((1, 28), 3.0, np.float32), np.full((1, 28, len(LEVELS)), 3.0, np.float32), np.array(LEVELS))
    pooled = Pooled()
    pooled.add("flat", truth, flat)
    pooled.add("flat", Truth(np.full((1, 28), 6.0, np.float32), np.ones(1)), flat)
    found = pooled.scores(rare=True)["flat"]
    assert found["wql"] == pytest.approx((48 + 28 * 3) / (84 + 28 * 6), abs=1e-4)  # of a median: |error| over sales
    assert found["sql"] == pytest.approx(3.0)
    assert found["bias"] == pytest.approx(56 * 3 / (84 + 28 * 6) - 1, abs=1e-4)
    assert found["mse"] == pytest.approx((28 * 4 + 28 * 9) / 56)
    assert (found["below 0.95"], found["to 0.95"]) == (
        pytest.approx(12 / 56, abs=1e-4),
        pytest.approx(16 / 56, abs=1e-4),
    )


def test_what_four_weeks_sold_is_taken_from_the_year_before() -> None:
    quantiles_S1Q = own_months(panel_of([[0.0] * 36 + [2.0] * 364]), 399)
    assert quantiles_S1Q.shape == (1, 1, 9)
    assert set(quantiles_S1Q.ravel().tolist()) == {56.0}
