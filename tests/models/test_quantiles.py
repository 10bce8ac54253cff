"""Quantiles keep their order at any level, and sums of days have a distribution of their own."""

from statistics import NormalDist

import numpy as np
import pytest

from models.dependence import Dependence, dependence_rows, levels_of_sums, pit, usual_dependence
from models.quantiles import empirical_quantiles, interpolate_levels, ranks
from models.sums import sum_quantiles
from models.training_config import LEVELS

GRID = np.array(LEVELS)
WANTED = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])


def normal(levels: np.ndarray) -> np.ndarray:
    """Quantiles of the standard normal."""
    return np.vectorize(NormalDist().inv_cdf)(levels)


def exponential(levels: np.ndarray) -> np.ndarray:
    return -np.log1p(-levels)


def test_empirical_quantiles_skip_missing_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 40)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[5] = np.nan
    ours = empirical_quantiles(values, LEVELS)
    np.testing.assert_allclose(ours[:5], np.nanquantile(values[:5], LEVELS, axis=1).T, rtol=1e-5, atol=1e-6)
    assert np.isnan(ours[5]).all()


def test_levels_of_the_grid_are_returned_as_they_are_and_others_lie_between() -> None:
    quantiles = np.cumsum(np.random.default_rng(1).random((3, 4, len(GRID))), axis=-1).astype(np.float32)
    np.testing.assert_allclose(interpolate_levels(quantiles, GRID, GRID), quantiles, rtol=1e-6)
    many = interpolate_levels(quantiles, GRID, np.arange(0.01, 1.0, 0.01))
    assert (np.diff(many, axis=-1) >= 0).all() and (many >= 0).all()
    halfway = interpolate_levels(quantiles, GRID, [0.25])
    np.testing.assert_allclose(halfway[..., 0], (quantiles[..., 5] + quantiles[..., 6]) / 2, rtol=1e-6)


def gaussian_rows(correlation: float, days: int, rows: int) -> Dependence:
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(rows, 1))
    draws = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(size=(rows, days))
    return Dependence(ranks(draws, rng))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.999])
def test_sums_have_the_spread_that_the_days_dependence_gives_them(correlation: float) -> None:
    """Normal days with equal correlation: the sum of 14 is normal with a known variance."""
    quantiles = np.tile(100 + 10 * normal(GRID), (14, 1)).astype(np.float32)
    rows = gaussian_rows(correlation, 14, 4000)
    ours = sum_quantiles(quantiles, GRID, rows, [slice(0, 14)], WANTED)[0]
    deviation = 10 * np.sqrt(14 + 14 * 13 * correlation)
    expected = 1400 + deviation * normal(WANTED)
    np.testing.assert_allclose(ours, expected, atol=0.1 * deviation)


def test_a_monte_carlo_of_the_same_paths_agrees() -> None:
    """Skewed days: sample paths drawn by the rows' ranks, summed, give the same quantiles."""
    rng = np.random.default_rng(3)
    scale = rng.uniform(1, 20, 7)
    quantiles = exponential(GRID)[None] * scale[:, None]
    rows = gaussian_rows(0.2, 7, 400)
    ours = sum_quantiles(quantiles.astype(np.float32), GRID, rows, [slice(0, 7)], WANTED)[0]
    paths = exponential(rows.rows_NH.astype(np.float64)) * scale
    expected = np.quantile(paths.sum(axis=1), WANTED, method="hazen")
    np.testing.assert_allclose(ours, expected, rtol=0.03)


def test_sums_are_ordered_not_negative_and_agree_for_one_or_many_series() -> None:
    quantiles = np.cumsum(np.random.default_rng(4).random((300, 28, len(GRID))), axis=-1).astype(np.float32)
    weeks = [slice(0, 3), slice(3, 10), slice(10, 28)]
    many = sum_quantiles(quantiles, GRID, usual_dependence(28), weeks, WANTED)
    assert many.shape == (300, 3, len(WANTED))
    assert (np.diff(many, axis=-1) >= 0).all() and (many >= 0).all()
    one = sum_quantiles(quantiles[7], GRID, usual_dependence(28), weeks, WANTED)
    np.testing.assert_allclose(one, many[7], rtol=1e-6)


def test_a_group_of_one_day_has_that_days_quantiles() -> None:
    quantiles = np.cumsum(np.random.default_rng(5).random((5, len(GRID))), axis=-1).astype(np.float32)
    single = sum_quantiles(quantiles, GRID, usual_dependence(5), [slice(i, i + 1) for i in range(5)], WANTED)
    np.testing.assert_array_equal(single, interpolate_levels(quantiles, GRID, WANTED))


def test_a_sum_of_certain_zeros_is_zero() -> None:
    zeros = np.zeros((7, len(GRID)), np.float32)
    assert (sum_quantiles(zeros, GRID, usual_dependence(7), [slice(0, 7)], WANTED) == 0).all()


def test_dependence_must_reach_as_far_as_the_days() -> None:
    with pytest.raises(ValueError, match="covers 5 days"):
        sum_quantiles(np.zeros((7, len(GRID)), np.float32), GRID, usual_dependence(5), [slice(0, 7)], WANTED)


def test_pit_is_uniform_for_true_forecasts_of_counts() -> None:
    rng = np.random.default_rng(6)
    sales = rng.poisson(1.5, size=(4000, 2)).astype(np.float32)
    true = np.quantile(rng.poisson(1.5, size=200_000), GRID, method="inverted_cdf")
    quantiles = np.broadcast_to(true, (4000, 2, len(GRID))).astype(np.float32)
    levels = pit(sales, quantiles, GRID, rng)
    shares = [(levels < edge).mean() for edge in (0.1, 0.3, 0.5, 0.7, 0.9)]
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.03)


def test_rows_of_dependence_have_uniform_columns_and_keep_who_rises_with_whom() -> None:
    rng = np.random.default_rng(7)
    level = rng.normal(size=(500, 1))
    sales = (50 + 10 * (0.8 * level + 0.6 * rng.normal(size=(500, 7)))).astype(np.float32)
    quantiles = np.broadcast_to(50 + 10 * normal(GRID), (500, 7, len(GRID))).astype(np.float32)
    rows = dependence_rows(sales, quantiles, GRID, rng).rows_NH.astype(np.float64)
    assert rows.shape == (400, 7) and ((rows > 0) & (rows < 1)).all()
    np.testing.assert_allclose(np.sort(rows, axis=0)[:, 0], (np.arange(400) + 0.5) / 400, atol=1e-3)
    assert np.corrcoef(rows.T)[0, 1] == pytest.approx(0.62, abs=0.08)


def test_too_few_windows_give_the_usual_rows() -> None:
    sales = np.full((10, 7), np.nan, np.float32)
    rows = dependence_rows(sales, np.zeros((10, 7, len(GRID)), np.float32), GRID, np.random.default_rng(0))
    np.testing.assert_array_equal(rows.rows_NH, usual_dependence(7).rows_NH)


def test_levels_of_sums_are_read_where_past_weeks_came_in() -> None:
    """Weeks that spread twice as far as their paths' sums say: 0.9 is to be read at the normal's 2 x 1.2816, 0.9948, as far as
    4,000 weeks are believed beside 1,000."""
    levels = np.array(LEVELS)
    rng = np.random.default_rng(8)
    sums = np.broadcast_to(100 + 10 * normal(levels), (4000, 1, len(levels))).astype(np.float32)
    sold = (100 + 20 * rng.normal(size=(4000, 1))).astype(np.float32)
    found = levels_of_sums(sold, sums, rng)
    at = LEVELS.index(0.9)
    assert found[at] == pytest.approx(0.9 + 0.8 * 0.0948, abs=0.015)
    assert found[LEVELS.index(0.5)] == pytest.approx(0.5, abs=0.02) and (np.diff(found) >= 0).all()
    seen = sold.copy()
    seen[2000:] = np.nan
    assert found[at] > levels_of_sums(seen, sums, rng)[at] > 0.9
    np.testing.assert_array_equal(levels_of_sums(np.full_like(sold, np.nan), sums, rng), levels)


def test_sums_are_read_at_their_own_levels_and_single_days_as_they_are() -> None:
    rows = gaussian_rows(0.3, 7, 400).rows_NH
    quantiles = np.tile(100 + 10 * normal(GRID), (7, 1)).astype(np.float32)
    groups = [slice(0, 6), slice(6, 7)]
    plain = sum_quantiles(quantiles, GRID, Dependence(rows), groups, (0.5, 0.9))
    moved = Dependence(rows, np.interp(np.array(LEVELS), (0.01, 0.5, 0.99), (0.01, 0.9, 0.99)))
    wider = sum_quantiles(quantiles, GRID, moved, groups, (0.5, 0.9))
    assert wider[0, 0] == plain[0, 1] and (wider[1] == plain[1]).all()
