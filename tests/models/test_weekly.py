"""The sums of weeks that the accuracy command scores: against figures worked out by hand, and by drawing."""

import numpy as np
import pytest

from benchmarks.weekly import independent_days, sold_in_weeks, weekly_scores
from models.dependence import Dependence, usual_dependence
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.panel import Panel

CUTOFF = 19
NAN = np.nan
LEVELS = np.array(SCORED_LEVELS)
TOGETHER = Dependence(np.repeat(((np.arange(400) + 0.5) / 400)[:, None], 14, axis=1).astype(np.float16))
"""All days at the same rank: the quantiles of a sum are the sums of the days' quantiles."""


def a_panel(weeks: list[list[float]], *, past: int = CUTOFF + 1) -> Panel:
    """One series a row, seven equal days a week ahead; `past` observed days up to the cutoff."""
    quantity_ST = np.full((len(weeks), CUTOFF + 1 + 7 * len(weeks[0])), NAN, np.float32)
    quantity_ST[:, CUTOFF + 1 - past : CUTOFF + 1] = 1
    quantity_ST[:, CUTOFF + 1 :] = np.repeat(np.array(weeks) / 7, 7, axis=1)
    return Panel([f"sku-{i}" for i in range(len(weeks))], [""] * len(weeks), np.datetime64("2026-01-05"), quantity_ST)


def tenths(series: int, days: int = 14) -> Forecast:
    """Every day 1 at the level 0.1, 2 at 0.2, … 9 at 0.9: a week of days that go together is 7, 14, … 63."""
    quantiles_SHQ = np.tile(np.arange(1, 10, dtype=np.float32), (series, days, 1))
    return Forecast(quantiles_SHQ.mean(axis=2), quantiles_SHQ, LEVELS)


def test_weeks_by_hand() -> None:
    # series 0 sells 35 and 14, both within 7 … 63; series 1 sells 70, and in its second week a day is missing
    panel = a_panel([[35, 14], [70, 14]])
    panel.quantity_ST[1, -1] = NAN
    scores = weekly_scores([tenths(2)], panel, [CUTOFF], TOGETHER, horizon=14)
    assert scores is not None
    week_Q = np.arange(7, 70, 7)
    loss = sum((2 * np.maximum(LEVELS * (y - week_Q), (LEVELS - 1) * (y - week_Q))).mean() for y in (35, 14, 70))
    assert scores["wql"] == pytest.approx(loss / (35 + 14 + 70), rel=2e-3)
    assert scores["covered"] == scores["inside"] == pytest.approx(2 / 3)


def test_the_ends_of_the_interval_are_covered_and_not_inside() -> None:
    nothing = Forecast(np.zeros((1, 14), np.float32), np.zeros((1, 14, 9), np.float32), LEVELS)
    scores = weekly_scores([nothing], a_panel([[0, 7]]), [CUTOFF], TOGETHER, horizon=14)
    assert scores is not None
    assert (scores["covered"], scores["inside"], scores["wql"]) == (0.5, 0, pytest.approx(1.0))  # 7 * mean(2 level) / 7


def test_independent_days_make_a_narrower_week() -> None:
    # a uniform day between 0 and 10 has the variance 100 / 12; a week of independent ones is 35 ± 7.6, so 49 is outside it
    quantiles_SHQ = np.tile(np.arange(0, 10.5, 0.5, dtype=np.float32), (1, 7, 1))
    quantiles_SHQ[:, :, 0], quantiles_SHQ[:, :, -1] = 0.1, 9.9
    levels_Q = np.concatenate([[0.01], np.arange(1, 20) / 20, [0.99]])
    forecast = Forecast(quantiles_SHQ.mean(axis=2), quantiles_SHQ, levels_Q)
    for sold, apart, together in ((38.0, 1, 1), (49.0, 0, 1), (66.0, 0, 0)):
        scores = weekly_scores([forecast], a_panel([[sold]]), [CUTOFF], TOGETHER, horizon=7)
        assert scores is not None
        assert (scores["independent"]["covered"], scores["covered"]) == (apart, together)


def test_scores_are_averaged_over_the_windows_that_have_a_week() -> None:
    panel = a_panel([[35, 63, NAN]])
    windows = [CUTOFF, CUTOFF + 7, CUTOFF + 14]
    whole = [tenths(1, 7)] * 3
    scores = weekly_scores(whole, panel, windows, TOGETHER, horizon=7)
    single = [weekly_scores(whole[:1], panel, [cutoff], TOGETHER, horizon=7) for cutoff in windows]
    assert scores is not None and single[0] is not None and single[1] is not None and single[2] is not None
    assert scores["wql"] == pytest.approx((single[0]["wql"] + single[1]["wql"]) / 2)
    assert single[2] == {"wql": None, "covered": None, "inside": None, "independent": single[2]["independent"]}
    assert weekly_scores(whole, panel, windows, TOGETHER, horizon=6) is None


def test_a_series_too_short_for_a_network_takes_the_usual_dependence() -> None:
    panel = a_panel([[35, 7]], past=13)
    usual = weekly_scores([tenths(1)], panel, [CUTOFF], usual_dependence(14), horizon=14)
    assert weekly_scores([tenths(1)], panel, [CUTOFF], TOGETHER, horizon=14) == usual
    longer = a_panel([[35, 7]], past=14)
    assert weekly_scores([tenths(1)], longer, [CUTOFF], TOGETHER, horizon=14) != usual


def test_a_series_without_a_past_is_left_out_and_days_past_the_data_are_not_observed() -> None:
    panel = a_panel([[35.0], [7.0]])
    panel.quantity_ST[0, : CUTOFF + 1] = NAN
    sold_SG, rows = sold_in_weeks(panel, CUTOFF, [slice(0, 7), slice(7, 14)])
    assert rows.tolist() == [1]
    np.testing.assert_allclose(sold_SG, [[7, NAN]], rtol=1e-6)


def test_independent_rows_are_uniform_and_go_their_own_ways() -> None:
    rows_NH = independent_days(400, 28).rows_NH.astype(np.float64)
    np.testing.assert_allclose(np.sort(rows_NH, axis=0)[:, 3], (np.arange(400) + 0.5) / 400, atol=5e-4)
    apart = np.corrcoef(rows_NH.T)[np.triu_indices(28, 1)]
    assert abs(apart.mean()) < 0.02 and np.abs(apart).max() < 0.25
