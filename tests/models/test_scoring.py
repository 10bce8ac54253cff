"""Sums of a day's forecasts, against sums made by hand and against models/metrics.py on the same numbers."""

import math

import numpy as np
import pytest

from models import metrics
from models.evaluation import SCORED_LEVELS
from models.online.scoring import SUMS, figures, missed, naive_of_day, sums_of_day

LEVELS_Q = np.array(SCORED_LEVELS)
LEVELS = len(SCORED_LEVELS)


def total(sums_X: np.ndarray) -> dict[str, float]:
    return dict(zip(SUMS, sums_X.tolist(), strict=True))


def test_one_forecast_by_hand() -> None:
    quantiles = np.array([[[1, 2, 3, 4, 5, 6, 7, 8, 9]]], np.float32)
    sums = sums_of_day(np.array([7.0]), np.array([[5.5]], np.float32), quantiles, np.array([2.0]))
    assert sums.shape == (1, 1, len(SUMS))
    one = total(sums[0, 0])
    assert (one["days"], one["sales"], one["mean"], one["absolute"]) == (1, 7, 5.5, 2)
    under = sum(t * (7 - q) for t, q in zip(SCORED_LEVELS[:6], range(1, 7), strict=True))
    over = (1 - 0.8) * 1 + (1 - 0.9) * 2
    assert one["pinball"] == pytest.approx(2 * (under + over) / 9, rel=1e-6)
    assert (one["scaled_days"], one["scaled_absolute"]) == (1, 1)
    assert one["scaled_pinball"] == pytest.approx(one["pinball"] / 2, rel=1e-6)
    assert [one[f"below {level}"] for level in SCORED_LEVELS] == [0] * 7 + [1, 1]
    assert [one[f"to {level}"] for level in SCORED_LEVELS] == [0] * 6 + [1, 1, 1]  # 7 is the quantile at 0.7 itself


def test_what_is_not_known_or_was_not_forecast_adds_nothing() -> None:
    quantiles = np.ones((3, 2, LEVELS), np.float32)
    mean = np.array([[1, np.nan], [1, 1], [1, 1]], np.float32)
    quantiles[0, 1] = np.nan
    sums = sums_of_day(np.array([1.0, np.nan, 1.0]), mean, quantiles, np.array([1.0, 1.0, 0.0]))
    assert np.isfinite(sums).all()
    assert sums[:, 0, SUMS.index("days")].tolist() == [1, 0, 2]
    assert not sums[1].any()
    assert sums[:, 0, SUMS.index("scaled_days")].tolist() == [1, 0, 0]  # the third has no scale: no MASE, but the rest


def test_days_ahead_fall_into_their_stretches() -> None:
    ahead = 40
    sums = sums_of_day(np.ones(1), np.ones((1, ahead), np.float32), np.ones((1, ahead, LEVELS), np.float32), np.ones(1))
    assert sums[0, :, SUMS.index("days")].tolist() == [7, 7, 14, 12]


def test_figures_of_added_sums_are_the_metrics_of_all_forecasts_together() -> None:
    rng = np.random.default_rng(3)
    series, days, ahead = 20, 9, 28
    y_SD = rng.poisson(3, (series, days)).astype(np.float32)
    y_SD[rng.random(y_SD.shape) < 0.1] = np.nan
    scale_S = rng.uniform(0.5, 3, series)
    scale_S[:3] = 0
    said_SDJQ = np.sort(rng.gamma(3, 1, (series, days, ahead, LEVELS)), axis=3).astype(np.float32)
    said_SDJQ[rng.random((series, days, ahead)) < 0.3] = np.rint(3)  # often exactly what came
    mean_SDJ = said_SDJQ.mean(axis=3)
    sums = [sums_of_day(y_SD[:, d], mean_SDJ[:, d], said_SDJQ[:, d], scale_S) for d in range(days)]
    found = figures(np.sum(sums, axis=(0, 1, 2), dtype=np.float64))
    y_SH = np.repeat(y_SD, ahead, axis=1)
    q_SHQ, mean_SH = said_SDJQ.reshape(series, -1, LEVELS), mean_SDJ.reshape(series, -1)
    median_SH = q_SHQ[..., SCORED_LEVELS.index(0.5)]
    below_Q, to_Q = metrics.coverage(y_SH, q_SHQ)
    expected = {
        "n": np.isfinite(y_SH).sum(),
        "wape": metrics.wape(y_SH, median_SH),
        "wql": metrics.wql(y_SH, q_SHQ, LEVELS_Q),
        "mase": metrics.mase(y_SH, median_SH, scale_S),
        "sql": metrics.sql(y_SH, q_SHQ, LEVELS_Q, scale_S),
        "bias": metrics.bias(y_SH, mean_SH),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert list(found["coverage"].values()) == pytest.approx(to_Q.tolist(), rel=1e-6)
    sums_X = np.sum(sums, axis=(0, 1, 2), dtype=np.float64)
    for number, level in enumerate(SCORED_LEVELS):
        outside = max(below_Q[number] - level, level - to_Q[number], 0.0)
        assert missed(sums_X, level) == pytest.approx(outside, abs=1e-6)


def test_a_level_between_strictly_below_and_at_most_is_not_missed() -> None:
    sums_X = np.zeros(len(SUMS))
    sums_X[[SUMS.index("days"), SUMS.index("below 0.1"), SUMS.index("to 0.1")]] = 100, 4, 30
    assert missed(sums_X, 0.1) == 0
    sums_X[SUMS.index("to 0.1")] = 7
    assert missed(sums_X, 0.1) == pytest.approx(0.03)
    sums_X[[SUMS.index("below 0.1"), SUMS.index("to 0.1")]] = 15, 20
    assert missed(sums_X, 0.1) == pytest.approx(0.05)


def test_nothing_measured_is_none() -> None:
    found = figures(np.zeros(len(SUMS)))
    assert found.pop("n") == 0
    assert set(found.pop("coverage").values()) == set(found.values()) == {None}
    assert math.isnan(missed(np.zeros(len(SUMS)), 0.5))


def test_the_seasonal_naive_says_of_a_day_what_each_cutoff_had_seen_of_its_weekday() -> None:
    days, ahead = 392, 28
    rng = np.random.default_rng(5)
    memory_SM = rng.poisson(4, (3, days)).astype(np.float32)
    memory_SM[1, 200:260] = np.nan
    mean_SJ, quantiles_SJQ = naive_of_day(memory_SM, ahead)
    for series in range(3):
        for j in range(ahead):
            back = 7 * (j // 7 + 1)
            assert mean_SJ[series, j] == memory_SM[series, days - back]
            seen = memory_SM[series, : days - ahead]
            off = np.array([seen[k] - seen[k - back] for k in range(len(seen) - 91, len(seen))])
            around = np.quantile(off[np.isfinite(off)], SCORED_LEVELS)
            assert quantiles_SJQ[series, j] == pytest.approx(np.maximum(mean_SJ[series, j] + around, 0), abs=1e-5)


@pytest.mark.parametrize("ahead", [28, 147, 148, 196, 365])
def test_the_seasonal_naive_looks_back_as_far_as_the_memory_reaches(ahead: int) -> None:
    days = 392
    memory_M = np.random.default_rng(7).poisson(4, days).astype(np.float32)
    mean_SJ, quantiles_SJQ = naive_of_day(memory_M[None], ahead)
    seen = range(days - ahead)
    for j in range(ahead):
        back = 7 * (j // 7 + 1)
        assert mean_SJ[0, j] == memory_M[days - back]
        off = [memory_M[k] - memory_M[k - back] for k in seen[-91:] if k >= back]
        around = np.quantile(off, SCORED_LEVELS) if off else 0.0
        assert quantiles_SJQ[0, j] == pytest.approx(np.maximum(mean_SJ[0, j] + around, 0), abs=1e-5)


def test_the_seasonal_naive_of_a_day_reads_nothing_that_its_cutoffs_had_not_seen() -> None:
    """Each cutoff's word of the day stays when days after that cutoff are changed."""
    rng = np.random.default_rng(6)
    memory_SM = rng.poisson(4, (2, 392)).astype(np.float32)
    mean_SJ, quantiles_SJQ = naive_of_day(memory_SM, 28)
    for j in range(28):
        changed_SM = memory_SM.copy()
        changed_SM[:, 392 - j :] += 100  # cutoff j + 1 days before the day is index 391 - j
        changed = naive_of_day(changed_SM, 28)
        assert np.array_equal(changed[0][:, j], mean_SJ[:, j])
        assert np.array_equal(changed[1][:, j], quantiles_SJQ[:, j])
