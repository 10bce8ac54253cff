"""How members become one forecast: each step checked against numbers worked out by hand or made to be known."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.adjusting import CALIBRATION_PRIOR, EVIDENCE_DECAY, SHARES_CK, learn, loss, relearned
from models.adjustment import AREA_Q, Adjustment, Mixture, answer, combine, equal_members, finish
from models.climatology import capped, own_mixture, own_year
from models.panel import Floats
from models.training import train
from models.training_config import ENSEMBLE, LEVELS, TrainingConfig
from models.windows import MEMORY, sells_whole_units
from tests.models.panels import make_panel, small

HORIZON = 7
MEDIAN = LEVELS.index(0.5)


def flat(*values: float, windows: int = 1, memory: float = 4.0) -> Mixture:
    """Members that each say one number for every day and level, for windows that always sold `memory`."""
    mean = np.stack([np.full((windows, HORIZON), value, np.float32) for value in values])
    quantiles = np.repeat(mean[..., None], len(LEVELS), axis=3)
    return Mixture(mean, np.ones_like(mean), quantiles, np.full((windows, MEMORY), memory, np.float32))


def by_weekday(share: float) -> NDArray[np.float64]:
    """This share for climatology by weekday, none for its other kinds."""
    return np.array([share, 0.0, 0.0])


def normal(mean: float, spread: float, windows: int) -> Floats:
    """Quantiles of a normal distribution, by drawing."""
    draws = np.random.default_rng(5).normal(mean, spread, 200_000)
    return np.broadcast_to(np.quantile(draws, LEVELS), (windows, HORIZON, len(LEVELS))).astype(np.float32)


def test_members_are_averaged_by_weight_and_drawn_towards_climatology() -> None:
    mixture = flat(1.0, 3.0)
    mean, quantiles = combine(mixture, Adjustment(np.array([0.25, 0.75])))
    np.testing.assert_allclose(mean, 2.5)
    np.testing.assert_allclose(quantiles, 2.5)
    mean, quantiles = combine(mixture, Adjustment(np.array([0.25, 0.75]), climatology_K=by_weekday(0.2)))
    np.testing.assert_allclose(mean, 0.8 * 2.5 + 0.2 * 4, rtol=1e-6)
    np.testing.assert_allclose(quantiles, 0.8 * 2.5 + 0.2 * 4, rtol=1e-6)


def test_a_window_without_a_day_is_left_to_the_members() -> None:
    mixture = flat(2.0, memory=np.nan)
    mean, quantiles = combine(mixture, Adjustment(np.ones(1), climatology_K=by_weekday(0.5)))
    assert (mean == 2).all() and (quantiles == 2).all()


def test_one_absurd_day_does_not_reach_climatology() -> None:
    window = np.full((1, MEMORY), 4.0, np.float32)
    window[0, -3] = 1e9
    assert own_year(capped(window), HORIZON)[0].max() <= (51 * 4 + 20) / 52
    missing = window.copy()
    missing[0, 10] = np.nan
    assert np.isnan(capped(missing)[0, 10]) and not np.isnan(capped(missing)[0, 11])


def test_whole_units_are_for_series_that_sell_so() -> None:
    memory = np.full((2, MEMORY), 3.0, np.float32)
    memory[1, 5] = 2.5
    assert sells_whole_units(memory).tolist() == [True, False]
    quantiles = np.full((2, HORIZON, len(LEVELS)), 1.4, np.float32)
    asked = Adjustment(np.ones(1), whole_units=True)
    finished = finish(quantiles, memory, asked)
    assert (finished[0] == 1).all() and np.allclose(finished[1], 1.4)
    assert np.allclose(finish(quantiles, memory, asked, whole_units=False), 1.4)


def test_the_better_member_gets_more_weight_but_not_all() -> None:
    y = np.full((40, HORIZON), 4.0, np.float32)
    found = learn(flat(4.0, 40.0, windows=40), y, np.ones(40, np.float32))
    assert 0.6 < found.weights_M[0] < 0.85
    assert found.weights_M.sum() == pytest.approx(1)


def test_climatology_takes_over_where_it_is_right_and_stays_out_where_it_is_wrong() -> None:
    y = np.full((40, HORIZON), 4.0, np.float32)
    weight = np.ones(40, np.float32)
    own = np.arange(1, 41, dtype=np.float32)[:, None]
    usual = replace(flat(9.0, windows=40), memory_BL=np.broadcast_to(own, (40, MEMORY)).copy())
    assert learn(usual, np.broadcast_to(own, y.shape), weight).climatology_K.sum() == 1.0
    assert learn(flat(4.0, windows=40, memory=400.0), y, weight).climatology_K.sum() == 0.0


def weeks(*values: float) -> Floats:
    """A past of weeks, each week with these seven values."""
    return np.tile(np.array(values, np.float32), (1, MEMORY // 7))


def test_the_kinds_of_climatology_are_mixed_by_their_parts() -> None:
    """39 weeks of one day with 14 and six with 0, then a quarter with 7 every day."""
    window = weeks(14, 0, 0, 0, 0, 0, 0)
    window[:, -91:] = 7
    mean, quantiles = own_mixture(window, np.array([0.5, 0.25, 0.25]))
    first, other, year = (39 * 14 + 13 * 7) / 52, 13 * 7 / 52, (39 * 14 + 91 * 7) / 364
    np.testing.assert_allclose(
        mean[0], [0.5 * day + 0.25 * year + 0.25 * 7 for day in (first, *[other] * 6)], rtol=1e-5
    )
    np.testing.assert_allclose(
        quantiles[0, :, MEDIAN], [0.5 * day + 0.25 * 0 + 0.25 * 7 for day in (14, *[0] * 6)], rtol=1e-5
    )


def test_a_series_without_a_day_in_the_quarter_takes_the_years_and_one_without_any_stays_unknown() -> None:
    window = np.vstack([weeks(*[3.0] * 7), weeks(*[np.nan] * 7)])
    window[0, -91:] = np.nan
    mean, quantiles = own_mixture(window, np.array([0.0, 0.0, 1.0]))
    assert (mean[0] == 3).all() and (quantiles[0] == 3).all()
    assert np.isnan(mean[1]).all() and np.isnan(quantiles[1]).all()


def test_a_week_that_has_lost_its_pattern_is_drawn_towards_all_days() -> None:
    """The past sold 14 on one weekday; the days held out sell as much on any. Weekdays get no share, all days get one."""
    windows = 60
    memory = np.repeat(weeks(14, 0, 0, 14, 0, 0, 0), windows, axis=0)
    y = np.random.default_rng(6).permuted(memory[:, :HORIZON], axis=1)
    quantiles = np.repeat(np.repeat(memory[:, :HORIZON, None], len(LEVELS), axis=2)[None], 1, axis=0)
    mixture = Mixture(memory[None, :, :HORIZON], np.ones((1, windows, HORIZON), np.float32), quantiles, memory)
    found = learn(mixture, y, np.ones(windows, np.float32)).climatology_K
    assert found[0] == 0 and found[1:].sum() >= 0.8


def test_days_that_come_in_move_the_shares_and_old_evidence_fades() -> None:
    """What was right at the training is wrong since: within a few months climatology takes over; no day changes nothing."""
    right, weight = np.full((40, HORIZON), 4.0, np.float32), np.ones(40, np.float32)
    first = learn(flat(4.0, windows=40, memory=9.0), right, weight)
    assert first.climatology_K.sum() == 0 and first.evidence_C is not None
    changed, adjustment, shares = np.full((40, HORIZON), 9.0, np.float32), first, []
    for _ in range(4):
        adjustment = relearned(adjustment, flat(4.0, windows=40, memory=9.0), changed, weight, days=28, passed=28)
        shares.append(float(adjustment.climatology_K.sum()))
    assert shares == sorted(shares) and shares[-1] == 1.0
    nothing = np.full((40, HORIZON), np.nan, np.float32)
    assert relearned(first, flat(4.0, windows=40), nothing, weight, days=28, passed=28) is first
    old = Adjustment(np.ones(1))
    assert relearned(old, flat(4.0, windows=40), changed, weight, days=28, passed=28) is old
    fewer = replace(first, evidence_C=first.evidence_C[:5])
    assert relearned(fewer, flat(4.0, windows=40), changed, weight, days=28, passed=28) is fewer
    once = relearned(first, flat(4.0, windows=40, memory=9.0), changed, weight, days=14, passed=21)
    assert once.evidence_C is not None
    np.testing.assert_allclose(
        once.evidence_C[0], EVIDENCE_DECAY**0.75 * first.evidence_C[0] + 0.5 * 5 * np.mean(LEVELS), rtol=1e-6
    )
    assert (SHARES_CK.sum(axis=1) <= 1 + 1e-9).all() and len(once.evidence_C) == len(SHARES_CK)


def test_the_head_is_the_one_that_is_right_about_the_days_seen() -> None:
    """Counts drawn from a negative binomial: its own head wins against quantiles that are off, not against ones that are not."""
    windows = 2000
    generator = np.random.default_rng(2)
    y = generator.poisson(generator.gamma(2.0, 1.5, (windows, HORIZON))).astype(np.float32)
    mean = np.full((1, windows, HORIZON), 3.0, np.float32)
    memory = np.full((windows, MEMORY), 3.0, np.float32)
    right = np.broadcast_to(np.quantile(y, LEVELS), (1, windows, HORIZON, len(LEVELS))).astype(np.float32)
    for quantiles, counts in ((right + 2, 1.0), (right, 0.0)):
        mixture = Mixture(mean, np.full_like(mean, 0.5), quantiles, memory)
        assert learn(mixture, y, np.ones(windows, np.float32)).counts == counts
    kilos = Mixture(mean, np.full_like(mean, 0.5), right, memory + 0.5)
    assert np.array_equal(combine(kilos, Adjustment(np.ones(1), counts=1.0))[1], right[0])


def test_the_point_head_is_taken_where_quantiles_are_off_and_its_mean_is_right() -> None:
    """Sales a fifth of the level about the mean, whatever the level: what is left over is known to all series."""
    windows = 3000
    level = np.exp(np.random.default_rng(3).normal(3, 1, (windows, 1))).astype(np.float32) + 0.25
    memory = np.broadcast_to(level, (windows, MEMORY)).copy()
    y = level * np.random.default_rng(4).normal(1, 0.2, (windows, HORIZON)).astype(np.float32)
    mean = np.broadcast_to(level[None], (1, windows, HORIZON)).astype(np.float32)
    right = level[:, :, None] * normal(1, 0.2, windows)
    weight = np.ones(windows, np.float32)
    found = learn(Mixture(mean, np.ones_like(mean), 1.5 * right[None], memory), y, weight)
    assert (found.point, found.counts) == (1.0, 0.0) and found.left_over_GQ is not None
    np.testing.assert_allclose(found.left_over_GQ[0], normal(0, 0.2, 1)[0, 0], atol=0.01)
    assert (found.left_over_GQ[1:] == 0).all()  # days beyond the horizon
    _, quantiles = combine(
        Mixture(mean, np.ones_like(mean), 1.5 * right[None], memory), replace(found, climatology_K=by_weekday(0))
    )
    np.testing.assert_allclose(quantiles, right, rtol=0.03, atol=0.01)
    again = Adjustment.from_dict(found.as_dict())
    assert again.point == 1.0 and np.array_equal(again.left_over_GQ, found.left_over_GQ)
    kept = learn(Mixture(mean, np.ones_like(mean), right[None], memory), y, weight)
    assert kept.point == 0.0 and kept.left_over_GQ is None


def test_levels_that_are_too_narrow_are_spread() -> None:
    """Quantiles at half the true spread: what is called 0.8 must be read at the normal's 2 x 0.8416, 0.954, and is by half, for
    21,000 days are as many as those that say it is right; and the loss falls."""
    windows = 3000
    y = np.random.default_rng(1).normal(100, 10, (windows, HORIZON)).astype(np.float32) + 0.25
    narrow = normal(100.25, 5, windows)
    memory = np.full((windows, MEMORY), 100.5, np.float32)
    mean = np.full((1, windows, HORIZON), 100, np.float32)
    mixture = Mixture(mean, np.ones_like(mean), narrow[None], memory)
    found = learn(mixture, y, np.ones(windows, np.float32), point_shares=(0.0,))
    assert found.levels_NGQ is not None
    finished = finish(combine(mixture, found)[1], memory, found)
    believed = windows * HORIZON / (windows * HORIZON + CALIBRATION_PRIOR)
    np.testing.assert_allclose(found.levels_NGQ[0, 0, LEVELS.index(0.8)], 0.8 + believed * (0.954 - 0.8), atol=0.01)
    assert abs(float((y <= finished[..., LEVELS.index(0.8)]).mean()) - 0.8) < 0.1
    assert loss(finished, y, np.ones(windows, np.float32)) < loss(narrow, y, np.ones(windows, np.float32))
    assert (np.diff(finished, axis=2) >= 0).all()


def read_at(levels: Floats | tuple[float, ...]) -> Adjustment:
    """One member, and the same levels read in every segment and stretch of days."""
    return Adjustment(np.ones(1), levels_NGQ=np.broadcast_to(np.array(levels), (3, 3, len(LEVELS))))


def spread(mean: float, quantiles: Floats) -> Mixture:
    """One member that says a mean and the same quantiles for every day of one window."""
    mean_MBH = np.full((1, 1, HORIZON), mean, np.float32)
    quantiles_MBHQ = np.broadcast_to(quantiles, (1, 1, HORIZON, len(LEVELS))).astype(np.float32)
    return Mixture(mean_MBH, np.ones_like(mean_MBH), quantiles_MBHQ, np.full((1, MEMORY), 4.5, np.float32))


def test_the_mean_goes_where_the_levels_go() -> None:
    """Evenly spread between 0 and 100: read halfway to the top, the median is 75 and so is the mean."""
    levels = np.array(LEVELS)
    mean, quantiles = answer(spread(50.0, 100 * levels), read_at(0.5 + levels / 2))
    assert quantiles[0, 0, MEDIAN] == pytest.approx(75, abs=0.01)
    np.testing.assert_allclose(mean, 75, atol=0.3)
    none, higher = 100 * (levels - levels[0]), np.where(levels == levels[0], levels, 0.5 + levels / 2)
    low, quantiles = answer(spread(25.0, none), read_at(higher))  # days without a sale stay possible
    np.testing.assert_allclose(low, 25 * (quantiles[0, 0] @ AREA_Q) / (none @ AREA_Q), rtol=1e-4)


def test_levels_read_as_they_are_leave_the_mean_to_the_bit() -> None:
    generator = np.random.default_rng(3)
    quantiles = np.sort(generator.gamma(0.7, 3.0, (1, 50, HORIZON, len(LEVELS))), axis=3).astype(np.float32)
    mean = generator.gamma(0.7, 3.0, (1, 50, HORIZON)).astype(np.float32)
    mixture = Mixture(mean, np.ones_like(mean), quantiles, generator.poisson(0.5, (50, MEMORY)).astype(np.float32))
    np.testing.assert_array_equal(answer(mixture, read_at(LEVELS))[0], mean[0])


def test_a_mean_beyond_the_highest_level_keeps_what_stands_there_and_none_falls_below_zero() -> None:
    """A series that sells once in 200 days: every level says 0, or all but the highest."""
    never, rarely = np.zeros(len(LEVELS)), np.where(np.array(LEVELS) < 0.99, 0.0, 2.0)
    lowest, highest = np.full(len(LEVELS), LEVELS[0]), np.where(np.arange(len(LEVELS)) == 0, LEVELS[0], LEVELS[-1])
    for levels in (lowest, highest):
        np.testing.assert_array_equal(answer(spread(0.03, never), read_at(levels))[0], np.float32(0.03))
    area = 2.0 * (1 - 0.9825)
    np.testing.assert_allclose(answer(spread(0.2, rarely), read_at(lowest))[0], 0.2 - area, rtol=1e-4)
    most = 2.0 * (1 - 0.0175)
    np.testing.assert_allclose(answer(spread(0.2, rarely), read_at(highest))[0], 0.2 - area + most, rtol=1e-4)
    np.testing.assert_allclose(answer(spread(area / 2, rarely), read_at(lowest))[0], 0.0, atol=1e-7)


def test_a_mean_follows_what_held_out_days_taught() -> None:
    """Forecasts of 100 where 110 were sold: the answer's mean comes along with its quantiles, as far as the days are believed."""
    windows = 3000
    y = np.random.default_rng(4).normal(110, 10, (windows, HORIZON)).astype(np.float32) + 0.25
    mean = np.full((1, windows, HORIZON), 100.25, np.float32)
    memory = np.full((windows, MEMORY), 100.5, np.float32)
    mixture = Mixture(mean, np.ones_like(mean), normal(100.25, 10, windows)[None], memory)
    found = learn(mixture, y, np.ones(windows, np.float32))
    answered, quantiles = answer(mixture, found)
    assert 104 < quantiles[..., MEDIAN].mean() < 111
    assert abs(float(answered.mean() - quantiles[..., MEDIAN].mean())) < 1.5


def test_the_loss_is_the_mean_pinball_loss_of_observed_days() -> None:
    y = np.array([[3.0, np.nan]], np.float32)
    quantiles = np.ones((1, 2, len(LEVELS)), np.float32)
    assert loss(quantiles, y, np.ones(1, np.float32)) == pytest.approx(2 * np.mean(LEVELS))


def test_an_adjustment_survives_json() -> None:
    levels_NGQ = np.zeros((3, 3, len(LEVELS)))
    full = Adjustment(
        np.ones(1),
        0.5,
        by_weekday(0.3),
        levels_NGQ,
        whole_units=True,
        evidence_C=np.ones(len(SHARES_CK)),
        evidence_until=np.datetime64("2025-06-09"),
    )
    for one in (equal_members(3), full):
        again = Adjustment.from_dict(one.as_dict())
        assert again.as_dict() == one.as_dict()
        assert again.evidence_until == one.evidence_until


def test_an_older_adjustment_knows_weekdays_alone_and_no_evidence() -> None:
    plain = {"weights": [1.0], "counts": 0.0, "climatology": 0.3, "levels": None, "whole_units": True}
    older = Adjustment.from_dict(plain)
    assert older.climatology_K.tolist() == [0.3, 0, 0] and older.evidence_C is None


def test_an_ensemble_trains_every_member_and_answers_as_one() -> None:
    trained = train(make_panel(), small("ensemble", epochs=1))
    forecaster = trained.forecaster
    assert [(m.config.architecture, m.config.seed) for m in forecaster.members] == list(ENSEMBLE)
    assert forecaster.architecture == "ensemble" and forecaster.twin is not None
    assert [epoch["epoch"] for epoch in trained.history] == [1]
    assert len(forecaster.adjustment.weights_M) == len(ENSEMBLE)
    assert {m["architecture"] for m in forecaster.describe()["members"]} == {"mlp", "cnn", "lstm", "transformer"}  # type: ignore[attr-defined]


def test_members_keep_their_own_defaults_and_share_the_seed_asked_for() -> None:
    members = TrainingConfig("ensemble", seed=7).members()
    assert [member.seed for member in members] == [7 + further for _, further in ENSEMBLE]
    assert len({member.horizon for member in members}) == 1
