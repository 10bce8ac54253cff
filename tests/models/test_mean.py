"""The mean under the quantiles, against areas worked out by hand, and how far an answer is drawn to it."""

from dataclasses import replace

import numpy as np
import pytest

from models.adjusting import learn
from models.adjustment import Adjustment, Mixture, answer
from models.mean import area_mean, area_share, kept_near
from models.panel import Floats
from models.training_config import LEVELS
from models.windows import MEMORY

HORIZON = 7
LEVELS_Q = np.array(LEVELS)
WHOLE, KILOS = np.array([True]), np.array([False])


def of_one_day(quantiles_Q: Floats | np.ndarray) -> Floats:  # type: ignore[type-arg]
    return np.asarray(quantiles_Q, np.float32)[None, None]


def counts_quantiles(mean: float, windows: int = 1) -> Floats:
    """What a network learns of Poisson counts: quantiles with up to half a unit added or taken at random, cut at zero."""
    generator = np.random.default_rng(6)
    draws = generator.poisson(mean, 200_000) + generator.uniform(-0.5, 0.5, 200_000)
    quantiles_Q = np.maximum(np.quantile(draws, LEVELS), 0.0)
    return np.broadcast_to(quantiles_Q, (windows, HORIZON, len(LEVELS))).astype(np.float32)


def test_the_area_is_straight_between_levels_flat_below_and_exponential_above() -> None:
    """Evenly spread between 0 and 100: 49 between the outermost levels, 0.01 · 1 below, 0.01 · (99 + 1.5 / ln 2.5) above."""
    assert area_mean(of_one_day(100 * LEVELS_Q), KILOS)[0, 0] == pytest.approx(
        49 + 0.01 + 0.99 + 0.015 / np.log(2.5), rel=1e-5
    )


def test_what_stands_beyond_the_highest_level_is_right_for_an_exponential() -> None:
    """Its tail is its own: only the straight lines between levels say a little too much."""
    quantiles = of_one_day(-10 * np.log1p(-LEVELS_Q))
    beyond = 0.01 * (10 * np.log(100) + 10)
    below = 10 - beyond
    assert area_mean(quantiles, KILOS)[0, 0] == pytest.approx(below + beyond, rel=0.02)
    steeper = quantiles.copy()
    steeper[..., -1] += 10 * np.log(2.5)  # a step as long again: the tail's slope doubles, and the last stretch rises
    more = 10 * np.log(2.5) * (0.015 / 2 + 0.01) + 0.01 * 10
    assert (area_mean(steeper, KILOS) - area_mean(quantiles, KILOS))[0, 0] == pytest.approx(more, rel=1e-3)


def test_of_whole_units_less_than_half_a_one_is_none() -> None:
    """None up to 0.8 and one from 0.85 on: between them the upper half of the rise counts, at 0.75 on average."""
    quantiles = of_one_day(np.where(LEVELS_Q > 0.8, 1.0, 0.0))
    assert area_mean(quantiles, WHOLE)[0, 0] == pytest.approx(0.05 * 0.5 * 0.75 + 0.15, rel=1e-5)
    assert area_mean(quantiles, KILOS)[0, 0] == pytest.approx(0.05 * 0.5 + 0.15, rel=1e-5)
    many = of_one_day(100 + 10 * LEVELS_Q)
    assert area_mean(many, WHOLE)[0, 0] == pytest.approx(area_mean(many, KILOS)[0, 0], rel=1e-6)


@pytest.mark.parametrize("mean", [0.05, 0.2, 0.5, 1.0, 3.0, 20.0])
def test_the_mean_of_sparse_counts_is_found_under_their_quantiles(mean: float) -> None:
    assert area_mean(counts_quantiles(mean), WHOLE)[0, 0] == pytest.approx(mean, rel=0.08)


def test_levels_that_say_that_nothing_is_sold_say_nothing_of_the_mean() -> None:
    assert np.isnan(area_mean(of_one_day(np.zeros(len(LEVELS))), KILOS)).all()
    assert np.isnan(area_mean(of_one_day(np.full(len(LEVELS), 0.4)), WHOLE)).all()
    rare = spread(0.004, np.zeros((1, HORIZON, len(LEVELS)), np.float32), memory=varied(1, 0.004))
    np.testing.assert_array_equal(answer(rare, Adjustment(np.ones(1), area=1.0))[0], np.float32(0.004))


def test_the_area_of_the_largest_quantities_is_finite_and_so_is_what_is_chosen_by_it() -> None:
    largest = float(np.finfo(np.float32).max)
    for share in (0.5, 0.9, 1.0):
        flat = of_one_day(np.full(len(LEVELS), share * largest))
        assert area_mean(flat, KILOS)[0, 0] == pytest.approx(share * largest, rel=1e-6)
    y = np.full((4, HORIZON), 5.0, np.float32)
    assert area_share(y, np.full_like(y, largest), y, varied(4, 5)) == 0.0
    assert area_share(np.full_like(y, largest), y, y, varied(4, 5)) == 1.0


def test_a_mean_far_from_a_sure_area_is_kept_near_it_and_others_are_left() -> None:
    """Evenly spread between 100 and 200 the area says 150 (49 + 51 beyond 100, and a tail); between 0.1 and 0.9 lie 80."""
    quantiles = np.repeat(of_one_day(100 + 100 * LEVELS_Q), 4, axis=0)
    area = float(area_mean(quantiles, np.repeat(WHOLE, 4))[0, 0])
    assert area == pytest.approx(150, rel=0.01)
    mean = np.array([[120.0], [146.5], [153.5], [400.0]], np.float32)
    for whole in (WHOLE, KILOS):
        kept = kept_near(mean, quantiles, np.repeat(whole, 4))[:, 0]
        np.testing.assert_allclose(kept, [area - 4, 146.5, 153.5, area + 4], rtol=1e-5)
    unsure = np.maximum(quantiles - 101, 0)
    np.testing.assert_array_equal(kept_near(mean, unsure, np.repeat(KILOS, 4)), mean)
    half = np.repeat(of_one_day(0.4 + 100 * (LEVELS_Q - 0.01)), 4, axis=0)
    np.testing.assert_array_equal(kept_near(mean, half, np.repeat(WHOLE, 4)), mean)
    assert (kept_near(mean, half, np.repeat(KILOS, 4)) != mean).any()
    assert mean[0, 0] == 120


def test_no_answered_mean_of_a_fast_series_stands_beside_its_quantiles() -> None:
    mixture = spread(
        40.0, np.full((3, HORIZON, 1), 100, np.float32) + 10 * LEVELS_Q.astype(np.float32), memory=varied(3, 100)
    )
    mean, quantiles = answer(mixture, Adjustment(np.ones(1)))
    assert ((mean > quantiles[..., LEVELS.index(0.4)]) & (mean < quantiles[..., LEVELS.index(0.6)])).all()


def test_the_share_is_the_one_that_held_out_days_speak_for() -> None:
    windows = 500
    y = np.random.default_rng(7).poisson(20, (windows, HORIZON)).astype(np.float32)
    y[3] = np.nan
    right, wrong, memory = np.full_like(y, 20), np.full_like(y, 30), varied(windows, 20)
    nothing = np.full_like(y, np.nan)
    assert area_share(wrong, right, y, memory) == 1.0
    assert area_share(right, wrong, y, memory) == 0.0
    assert area_share(right - 5, right + 5, y, memory) == 0.5
    assert area_share(right, nothing, y, memory) == 0.0
    assert area_share(wrong, right, y, np.full_like(memory, 20)) == 0.0
    assert area_share(wrong, right, nothing, memory) == 0.0


def varied(windows: int, mean: float) -> Floats:
    return np.random.default_rng(8).poisson(mean, (windows, MEMORY)).astype(np.float32)


def spread(mean: float, quantiles_BHQ: Floats, *, memory: Floats) -> Mixture:
    """One member that says one mean for every day, beside these quantiles."""
    mean_MBH = np.full((1, *quantiles_BHQ.shape[:2]), mean, np.float32)
    return Mixture(mean_MBH, np.full_like(mean_MBH, 0.1), quantiles_BHQ[None], memory)


@pytest.mark.parametrize("mean", [0.6, 2.0])
def test_a_mean_that_is_off_is_drawn_to_the_quantiles_and_these_stay_as_they_are(mean: float) -> None:
    """Counts of a known mean, 14 % and more of them zeros; the head says half as much again."""
    windows = 2000
    y = np.random.default_rng(9).poisson(mean, (windows, HORIZON)).astype(np.float32)
    off = spread(1.5 * mean, counts_quantiles(mean, windows), memory=varied(windows, mean))
    found = learn(off, y, np.ones(windows, np.float32), counts_shares=(0.0,))
    assert found.area == 1.0
    answered, quantiles = answer(off, found)
    np.testing.assert_allclose(answered.mean(), y.mean(), rtol=0.05)
    before, same = answer(off, replace(found, area=0.0))
    assert before.mean() > 1.3 * y.mean()
    np.testing.assert_array_equal(quantiles, same)


def test_a_mean_that_is_right_stays_where_the_quantiles_are_not() -> None:
    """Sparse counts after a busier past, and quantiles that know nothing: the networks' own mean is the answer."""
    windows = 2000
    y = np.random.default_rng(10).poisson(0.3, (windows, HORIZON)).astype(np.float32)
    knows_nothing = np.full((windows, HORIZON, len(LEVELS)), 1.0, np.float32)
    knows_nothing[..., 0] = 0.0
    mixture = spread(0.3, knows_nothing, memory=varied(windows, 30))
    found = learn(mixture, y, np.ones(windows, np.float32), counts_shares=(0.0,), point_shares=(0.0,))
    assert found.area == 0.0 and not found.climatology_K.any()
    np.testing.assert_allclose(answer(mixture, found)[0], 0.3, rtol=0.02)


def test_no_mean_is_negative_or_beyond_what_the_quantiles_and_the_networks_say() -> None:
    generator = np.random.default_rng(11)
    quantiles = np.sort(generator.gamma(0.3, 5.0, (60, HORIZON, len(LEVELS))), axis=2).astype(np.float32)
    mixture = spread(4.0, quantiles, memory=generator.poisson(0.5, (60, MEMORY)).astype(np.float32))
    for share in (0.25, 1.0):
        mean, answered = answer(mixture, Adjustment(np.ones(1), area=share))
        assert (mean >= 0).all() and np.isfinite(mean).all()
        assert (mean <= np.maximum(4.0, 1.02 * answered[..., -1])).all()


def test_an_adjustment_from_before_the_area_answers_as_it_did() -> None:
    old = {"weights": [1.0], "counts": 0.25, "climatology": 0.1, "levels": None, "whole_units": True}
    loaded = Adjustment.from_dict(old)
    assert loaded.area == 0.0
    assert loaded.as_dict() == old | {
        "climatology": [0.1, 0.0, 0.0],
        "evidence": None,
        "evidence_until": None,
        "area": 0.0,
        "point": 0.0,
        "left_over": None,
    }
    new = replace(loaded, area=0.75)
    assert Adjustment.from_dict(new.as_dict()).area == 0.75
