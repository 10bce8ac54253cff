"""Every metric against numbers computed by hand, and all of them against an independent scorer."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models import metrics
from models.baselines import climatology
from models.evaluation import SCORED_LEVELS, evaluate, window_cutoffs
from models.panel import panel_from_frame
from models.quantiles import interpolate_levels

NAN = np.nan
Y = np.array([[2.0, 4.0], [0.0, NAN]])
MEDIAN = np.array([[3.0, 4.0], [1.0, 5.0]])
LEVELS = np.array([0.1, 0.5])
QUANTILES = np.stack([MEDIAN - 1, MEDIAN], axis=2)
SCALE = np.array([0.5, 2.0])


def test_errors_by_hand() -> None:
    assert metrics.mse(Y, MEDIAN) == pytest.approx((1 + 0 + 1) / 3)
    assert metrics.mae(Y, MEDIAN) == pytest.approx(2 / 3)
    assert metrics.wape(Y, MEDIAN) == pytest.approx(2 / 6)
    assert metrics.bias(Y, MEDIAN) == pytest.approx((8 - 6) / 6)
    assert metrics.mase(Y, MEDIAN, SCALE) == pytest.approx((1 / 0.5 + 0 + 1 / 2) / 3)


def test_quantile_losses_by_hand() -> None:
    # level 0.1, forecasts 2, 3, 0: errors 0, 1, 0 -> 0, 0.2, 0; level 0.5, forecasts 3, 4, 1: errors -1, 0, -1 -> 1, 0, 1
    assert metrics.wql(Y, QUANTILES, LEVELS) == pytest.approx((0.2 / 6 + 2 / 6) / 2)
    scaled = [0 / 0.5, 1 / 0.5, 0.2 / 0.5, 0 / 0.5, 0 / 2, 1 / 2]
    assert metrics.sql(Y, QUANTILES, LEVELS, SCALE) == pytest.approx(np.mean(scaled))


def test_rmsse_by_hand() -> None:
    # series 0: mean square (1 + 0) / 2 over 0.5 -> 1; series 1: 1 / 4 -> 0.5
    assert metrics.rmsse(Y, MEDIAN, np.array([0.5, 4.0])) == pytest.approx((1 + 0.5) / 2)


def test_coverage_by_hand() -> None:
    below, at_or_below = metrics.coverage(Y, QUANTILES)
    np.testing.assert_allclose(below, [0, 2 / 3])
    np.testing.assert_allclose(at_or_below, [2 / 3, 1])


def test_scales_by_hand() -> None:
    past = np.array([[0.0, 0, 1, 5, NAN, 2], [NAN] * 6])
    # season 2: |1-0|, |5-0|, -, |2-5|; from the first sale on: (5-1)^2 only, the rest touches the missing day
    np.testing.assert_allclose(metrics.seasonal_error(past, 2), [3.0, NAN])
    np.testing.assert_allclose(metrics.squared_step(past), [16.0, NAN])


def test_a_series_of_scale_zero_is_left_out() -> None:
    assert metrics.mase(Y, MEDIAN, np.array([0.0, 2.0])) == pytest.approx(0.5)
    assert metrics.sql(Y, QUANTILES, LEVELS, np.array([0.5, NAN])) == pytest.approx(np.mean([0, 2, 0.4, 0]))


def test_nothing_to_measure_is_nan() -> None:
    nothing = np.full((1, 2), NAN)
    assert np.isnan(metrics.mase(nothing, MEDIAN[:1], SCALE[:1]))
    assert np.isnan(metrics.wql(np.zeros((1, 2)), QUANTILES[:1], LEVELS))
    assert np.isnan(metrics.coverage(nothing, QUANTILES[:1])[0]).all()


def test_agrees_with_the_independent_scorer_to_six_digits(shared_data: Path, scorer: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(shared_data / "m5_280.parquet", columns=["sku", "location", "date", "quantity"])
    frame = frame[frame["location"] == "CA_1"]
    data, forecasts = tmp_path / "data.parquet", tmp_path / "forecasts.parquet"
    frame.to_parquet(data)
    panel = panel_from_frame(frame)
    cutoffs = window_cutoffs(panel.days, horizon=14, windows=3, step=21)
    parts = []
    for cutoff in cutoffs:
        forecast = climatology(panel, cutoff, 14)
        day = panel.start + np.timedelta64(cutoff, "D")
        part = {
            "sku": np.repeat(panel.skus, 14),
            "location": np.repeat(panel.locations, 14),
            "cutoff": day,
            "date": np.tile(day + np.arange(1, 15), panel.series),
            "mean": forecast.mean_SH.reshape(-1),
        }
        values = interpolate_levels(forecast.quantiles_SHQ, forecast.levels_Q, SCORED_LEVELS)
        parts.append(pd.DataFrame(part | {str(v): values[:, :, i].ravel() for i, v in enumerate(SCORED_LEVELS)}))
    pd.concat(parts).to_parquet(forecasts)
    command = [sys.executable, str(scorer), str(data), str(forecasts)]
    done = subprocess.run(
        [*command, "--horizon", "14", "--windows", "3", "--step", "21"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours = evaluate(lambda p, c: climatology(p, c, 14), panel, cutoffs, horizon=14)
    theirs = scored(done.stdout)
    for name in ("mase", "sql", "wape", "wql", "rmsse", "bias"):
        assert ours[name] == pytest.approx(theirs[name], abs=6e-7), name
    for level in SCORED_LEVELS:
        assert ours["coverage"][str(level)] == pytest.approx(theirs[f"to {level}"], abs=6e-7)
        assert ours["below"][str(level)] == pytest.approx(theirs[f"below {level}"], abs=6e-7)


def scored(output: str) -> dict[str, float]:
    """The scorer's last line as numbers: `MASE 0.7 … below 0.1 0.08 to 0.1 0.2 …`."""
    words = output.strip().splitlines()[-1].split()
    found: dict[str, float] = {}
    while words:
        name = words.pop(0).lower()
        if name in ("below", "to"):
            name += " " + words.pop(0)
        found[name] = float(words.pop(0))
    return found
