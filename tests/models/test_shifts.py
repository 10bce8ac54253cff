"""Level shifts: how large, since when, and how little is believed where nothing shifted."""

import numpy as np
import pytest

from models.online.shifts import KEPT_IN_DOUBT, LARGEST_LOG_FACTOR, SPANS, at_present_level, eased, level_shifts
from models.windows import MEMORY


def sold(series: int, *, mean: float, seed: int = 0) -> np.ndarray:
    """Whole units a day, weekends half as much again."""
    weekday = np.where(np.arange(MEMORY) % 7 >= 5, 1.5, 1.0)
    return np.random.default_rng(seed).poisson(mean * weekday, (series, MEMORY)).astype(np.float32)


@pytest.mark.parametrize("factor", [0.5, 1.8])
@pytest.mark.parametrize("days", [12, 20])
def test_a_shift_is_found_with_its_factor_and_its_day(factor: float, days: int) -> None:
    memory = sold(40, mean=30)
    memory[:, -days:] = np.rint(memory[:, -days:] * factor)
    probability, log_factor = level_shifts(memory)
    assert (probability.sum(axis=1) > 0.85).all()
    believed = np.exp((probability * log_factor).sum(axis=1))
    assert np.abs(believed / factor - 1).mean() < 0.2
    likely_day = np.array(SPANS)[probability.argmax(axis=1)]
    assert np.abs(likely_day - days).mean() <= 4


def test_without_a_shift_next_to_nothing_is_believed() -> None:
    probability, log_factor = level_shifts(sold(200, mean=30))
    assert np.abs((probability * log_factor).sum(axis=1)).mean() < 0.03
    assert (probability.sum(axis=1) > 0.5).mean() < 0.02


def test_each_day_is_brought_by_the_shifts_that_came_after_it() -> None:
    memory = sold(20, mean=30)
    memory[:, -14:] *= 2
    memory[3, 100] = np.nan
    brought, _ = at_present_level(memory)
    probability, log_factor = level_shifts(memory)
    for ago in (1, 4, 5, 12, 28, 29, 300):
        since = np.array(SPANS) < ago
        factor = np.exp((probability * log_factor)[:, since].sum(axis=1))
        np.testing.assert_allclose(brought[:, -ago], memory[:, -ago] * factor, rtol=1e-5)
    assert np.array_equal(brought[:, -4:], memory[:, -4:])
    assert np.isnan(brought[3, 100])


def test_days_without_a_sale_of_a_series_that_always_sells_say_nothing_of_its_level() -> None:
    memory = sold(30, mean=30)
    closed = memory.copy()
    closed[:, -6:] = 0
    probability, log_factor = level_shifts(closed)
    assert np.abs((probability * log_factor).sum(axis=1)).mean() < 0.05


def test_no_factor_is_larger_than_what_a_level_may_do() -> None:
    memory = sold(10, mean=30)
    memory[:, -20:] *= 50
    factor = at_present_level(memory)[0][:, 0] / memory[:, 0]
    sold_then = memory[:, 0] > 0
    assert (factor[sold_then] <= np.exp(LARGEST_LOG_FACTOR) + 1e-6).all()
    assert (factor[sold_then] > np.exp(0.9 * LARGEST_LOG_FACTOR)).all()


def test_a_series_of_which_little_is_known_stays_as_it_is() -> None:
    memory = np.full((3, MEMORY), np.nan, np.float32)
    memory[1, -20:] = 4
    memory[2] = 0
    assert np.array_equal(at_present_level(memory)[0], memory, equal_nan=True)


def test_what_is_in_doubt_is_partly_taken_back_after_a_week() -> None:
    mean, quantiles = np.full((2, 10), 8.0, np.float32), np.full((2, 10, 3), 6.0, np.float32)
    eased_mean, eased_quantiles = eased(mean, quantiles, np.array([0.2, 0.0], np.float32))
    np.testing.assert_array_equal(eased_mean[:, :7], mean[:, :7])
    np.testing.assert_allclose(eased_mean[0, 7:], 8 * np.exp(-0.2), rtol=1e-6)
    np.testing.assert_allclose(eased_quantiles[0, 7:], 6 * np.exp(-0.2), rtol=1e-6)
    np.testing.assert_array_equal(eased_quantiles[1], quantiles[1])


def in_doubt(memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of what is believed of shifts without certainty, and the share of it that is taken back."""
    probability, log_factor = level_shifts(memory)
    doubt = (1 - probability.sum(axis=1)) * (probability * log_factor).sum(axis=1)
    return doubt, at_present_level(memory)[1] / doubt


def test_of_a_series_that_hardly_deviated_the_usual_share_is_taken_back() -> None:
    doubt, share = in_doubt(sold(20, mean=10_000))
    known = np.abs(doubt) > 1e-6
    np.testing.assert_allclose(share[known], 1 - KEPT_IN_DOUBT, atol=0.01)


def test_more_is_taken_back_where_deviations_returned_than_where_they_lasted() -> None:
    returning, lasting = sold(20, mean=100), sold(20, mean=100)
    returning[:, np.arange(MEMORY) % 56 < 28] *= 2
    lasting *= 1.4 ** (np.arange(MEMORY) // 60)
    assert (in_doubt(returning)[1] > 1.5 * (1 - KEPT_IN_DOUBT)).all()
    assert (in_doubt(lasting)[1] < 1 - KEPT_IN_DOUBT).all()


def test_how_deviations_lasted_is_what_their_own_past_says_by_hand() -> None:
    """One series without weekdays and noise, so that all sums can be taken day by day."""
    memory = np.full((1, MEMORY), 50.0, np.float32)
    memory[0, np.arange(MEMORY) % 91 < 40] = 80.0
    memory[0, -9:] = 65.0
    newest_days = memory[0, -182:]
    profile = np.array([newest_days[(MEMORY - day) % -7 % 7 :: 7].mean() for day in range(MEMORY)])
    profile = 0.9 * profile / newest_days.mean() + 0.1
    products = squares = 0.0
    for newest in range(MEMORY - 28, 168 + 28 - 1, -7):
        level = memory[0, newest - 196 : newest - 28].sum() / profile[newest - 196 : newest - 28].sum()

        def ratio(begin: int, end: int, level: float = level) -> float:
            expected = level * profile[begin:end].sum()
            return float(np.clip(np.log((memory[0, begin:end].sum() + 1) / (expected + 1)), -1, 1))

        products += ratio(newest - 28, newest) * ratio(newest + 7, newest + 28)
        squares += ratio(newest - 28, newest) ** 2
    kept = np.clip(KEPT_IN_DOUBT * (products + 1) / (squares + 1), 0, 1)
    np.testing.assert_allclose(in_doubt(memory)[1], 1 - kept, rtol=1e-4)
