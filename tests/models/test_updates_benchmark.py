"""The replay of updates: its sums against the engine's metrics, its bootstrap against a known case, a short run whole."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import poison
from benchmarks.poison import HORIZON, lived, poisoned
from benchmarks.updates import table
from benchmarks.updates.__main__ import described, main
from benchmarks.updates.losses import COSTS, SUMS, Losses, against, by_target_day, pooled
from models import metrics
from models.baselines import BASELINES
from models.evaluation import SCORED_LEVELS
from models.quantiles import interpolate_levels
from models.training import train
from models.training_config import TrainingConfig
from tests.models.panels import make_panel


def test_scores_of_one_cutoff_are_those_of_the_metrics() -> None:
    panel = make_panel(days=200)
    forecast = BASELINES["seasonal_naive"](panel, 150, 28)
    losses = Losses.empty(1, 28)
    losses.add(forecast, panel, 150, 0)
    y = panel.quantity_ST[:, 151:179].astype(np.float64)
    levels = np.array(SCORED_LEVELS)
    quantiles = interpolate_levels(forecast.quantiles_SHQ, forecast.levels_Q, levels).astype(np.float64)
    scale = metrics.seasonal_error(panel.quantity_ST[:, :151])
    found = losses.figures()
    assert found["wql"] == pytest.approx(metrics.wql(y, quantiles, levels))
    assert found["sql"] == pytest.approx(metrics.sql(y, quantiles, levels, scale))
    assert found["mase"] == pytest.approx(metrics.mase(y, quantiles[..., 4], scale))
    assert found["bias"] == pytest.approx(metrics.bias(y, forecast.mean_SH))
    below, to = metrics.coverage(y, quantiles)
    assert found["coverage_90"] == pytest.approx((below[-1] + to[-1]) / 2)
    second_week = losses.by_stretch()[1]
    assert second_week["wql"] == pytest.approx(metrics.wql(y[:, 7:14], quantiles[:, 7:14], levels))


def test_churn_is_how_far_the_mean_of_a_day_moves_by_one_day() -> None:
    panel = make_panel(days=200)
    losses = Losses.empty(2, 28)
    before = BASELINES["moving_average"](panel, 150, 28)
    now = replace(before, mean_SH=np.concatenate([before.mean_SH[:, 1:] * 1.1, before.mean_SH[:, :1]], axis=1))
    losses.moves(before, now, 1)
    assert losses.churn() == pytest.approx(0.1, rel=1e-5)


def test_equal_losses_differ_by_nothing_and_ten_percent_by_ten() -> None:
    rng = np.random.default_rng(0)
    costs = {name: rng.uniform(1, 2, 100) for name in COSTS}
    one = Losses({name: rng.uniform(1, 2, (100, 28)) for name in SUMS}, costs)
    worse_by = {"pinball": 1.1, "scaled": 1.1}
    other = Losses({name: values * worse_by.get(name, 1.0) for name, values in one.sums.items()}, costs)
    same, worse = against(one, one, block=28)["wql"], against(other, one, block=28)["sql"]
    assert same == {"percent": 0.0, "low": 0.0, "high": 0.0}
    assert all(worse[name] == pytest.approx(10.0) for name in ("percent", "low", "high"))
    both = pooled([one, other])
    np.testing.assert_allclose(both.sums["pinball"], 1.05 * one.sums["pinball"])


def test_sums_by_target_day_are_along_the_diagonals() -> None:
    """Day 0 is ahead 1 of the first cutoff; day 1 is ahead 2 of the first and ahead 1 of the second."""
    np.testing.assert_array_equal(
        by_target_day(np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])), [1, 12, 120, 200]
    )


def test_policies_are_compared_with_weekly_retraining_on_its_cutoffs() -> None:
    """The policy loses twice as much as weekly retraining on the last four cutoffs, and takes a quarter of its time there: what
    weekly retraining began with is not counted, nor is what the policy did on that day."""
    args = argparse.Namespace(
        data=Path("x.parquet"), model="mlp", end=None, days=40, seeds=1, covariates="", country=None
    )
    args.set, args.threads = [], 1
    ones = {name: np.ones((12, 28)) for name in SUMS}
    costs = {name: np.ones(12) for name in COSTS}
    costs["training_seconds"][-4] = 50.0
    one = Losses(ones, costs)
    weekly = Losses({name: np.full((4, 28), 0.5 if name == "pinball" else 1.0) for name in SUMS}, {**one.last(4).costs})
    weekly.costs["update_seconds"], weekly.costs["training_seconds"] = np.zeros(4), np.array([0.0, 8.0, 8.0, 8.0])
    found = described(args, {"frozen": one, "L3": one, "retraining 7": weekly})
    assert set(found["policies"]) == {"frozen", "L3"}
    assert found["last"]["cutoffs"] == 4
    assert found["last"]["policies"]["L3"]["against_weekly"]["wql"]["percent"] == 100.0
    rows = table.table(found).splitlines()
    assert [row.rsplit("|", 2)[1].strip() for row in rows if row.startswith("| L3")][1] == "25.0 %"


def test_a_short_run_goes_on_where_it_was_and_becomes_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panel = make_panel(series=4, days=260)
    day = np.tile(panel.start + np.arange(panel.days), panel.series)
    frame = pd.DataFrame({"sku": np.repeat(panel.skus, panel.days), "date": day, "quantity": panel.quantity_ST.ravel()})
    frame.to_parquet(tmp_path / "sales.parquet")
    words = ["--data", str(tmp_path / "sales.parquet"), "--preset", "short", "--work", str(tmp_path / "work")]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(first["policies"]) == {"frozen", "L1", "L2", "L3", "old days", "naive"}
    assert first["policies"]["frozen"]["against_frozen"]["wql"]["percent"] == 0
    assert first["policies"]["naive"]["figures"]["wql"] > first["policies"]["L3"]["figures"]["wql"] > 0
    assert main(words) == 0  # every policy from the work folder
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["policies"] == first["policies"]
    lines = table.table(first).splitlines()
    assert lines[2].startswith("| policy | WQL | SQL |")
    assert len(lines) == 4 + 6


def test_poison_scores_the_series_that_were_posted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong days of one series change its own sales and no others'; how good the others are stays a WQL of theirs. Here a week
    stands for each stretch of weeks."""
    for stretch in ("WRONG_FROM", "WRONG_DAYS", "SCORED_DAYS"):
        monkeypatch.setattr(poison, stretch, 7)
    panel = make_panel(series=4, days=300)
    first = panel.days - 1 - 3 * 7 - HORIZON
    seen = panel.until(panel.start + np.timedelta64(first, "D"))
    champion = replace(train(seen, TrainingConfig(model="mlp", horizon=HORIZON, epochs=1)).forecaster, twin=None)
    wrong = np.array([0])
    posted = poisoned(panel, wrong, first, "units", np.random.default_rng(0))
    np.testing.assert_array_equal(posted.quantity_ST[1:], panel.quantity_ST[1:])
    days = slice(first + 7, first + 14)
    assert np.nansum(posted.quantity_ST[0, days]) == 12 * np.nansum(panel.quantity_ST[0, days]) > 0
    clean = lived(champion, panel, panel, wrong, first, seed=0)
    assert 0.01 < clean < 2
    assert lived(champion, posted, panel, wrong, first, seed=0) == pytest.approx(clean, rel=0.05)
