"""How members become one forecast: each step checked against numbers worked out by hand or made to be known."""

import numpy as np
import pytest

from models.adjustment import Adjustment, Mixture, combine, equal_members, finish, learn, loss, sells_whole_units
from models.climatology import capped, own_year
from models.panel import Floats
from models.training import train
from models.training_config import ENSEMBLE, LEVELS, TrainingConfig
from models.windows import MEMORY
from tests.models.panels import make_panel, small

HORIZON = 7
MEDIAN = LEVELS.index(0.5)


def flat(*values: float, windows: int = 1, memory: float = 4.0) -> Mixture:
    """Members that each say one number for every day and level, for windows that always sold `memory`."""
    mean = np.stack([np.full((windows, HORIZON), value, np.float32) for value in values])
    quantiles = np.repeat(mean[..., None], len(LEVELS), axis=3)
    return Mixture(mean, np.ones_like(mean), quantiles, np.full((windows, MEMORY), memory, np.float32))


def normal(mean: float, spread: float, windows: int) -> Floats:
    """Quantiles of a normal distribution, by drawing."""
    draws = np.random.default_rng(5).normal(mean, spread, 200_000)
    return np.broadcast_to(np.quantile(draws, LEVELS), (windows, HORIZON, len(LEVELS))).astype(np.float32)


def test_members_are_averaged_by_weight_and_drawn_towards_climatology() -> None:
    mixture = flat(1.0, 3.0)
    mean, quantiles = combine(mixture, Adjustment(np.array([0.25, 0.75])))
    np.testing.assert_allclose(mean, 2.5)
    np.testing.assert_allclose(quantiles, 2.5)
    mean, quantiles = combine(mixture, Adjustment(np.array([0.25, 0.75]), climatology=0.2))
    np.testing.assert_allclose(mean, 0.8 * 2.5 + 0.2 * 4, rtol=1e-6)
    np.testing.assert_allclose(quantiles, 0.8 * 2.5 + 0.2 * 4, rtol=1e-6)


def test_a_window_without_a_day_is_left_to_the_members() -> None:
    mixture = flat(2.0, memory=np.nan)
    mean, quantiles = combine(mixture, Adjustment(np.ones(1), climatology=0.5))
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
    assert learn(flat(9.0, windows=40, memory=4.0), y, weight).climatology == 1.0
    assert learn(flat(4.0, windows=40, memory=400.0), y, weight).climatology == 0.0


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


def test_levels_that_are_too_narrow_are_spread() -> None:
    """Quantiles at half the true spread: what is called 0.9 must be read further out, and the loss falls."""
    windows = 3000
    y = np.random.default_rng(1).normal(100, 10, (windows, HORIZON)).astype(np.float32) + 0.25
    narrow = normal(100.25, 5, windows)
    memory = np.full((windows, MEMORY), 100.5, np.float32)
    mean = np.full((1, windows, HORIZON), 100, np.float32)
    mixture = Mixture(mean, np.ones_like(mean), narrow[None], memory)
    found = learn(mixture, y, np.ones(windows, np.float32))
    assert found.levels_NGQ is not None
    finished = finish(combine(mixture, found)[1], memory, found)
    assert abs(float((y <= finished[..., LEVELS.index(0.8)]).mean()) - 0.8) < 0.04
    assert loss(finished, y, np.ones(windows, np.float32)) < loss(narrow, y, np.ones(windows, np.float32))
    assert (np.diff(finished, axis=2) >= 0).all()


def test_the_loss_is_the_mean_pinball_loss_of_observed_days() -> None:
    y = np.array([[3.0, np.nan]], np.float32)
    quantiles = np.ones((1, 2, len(LEVELS)), np.float32)
    assert loss(quantiles, y, np.ones(1, np.float32)) == pytest.approx(2 * np.mean(LEVELS))


def test_an_adjustment_survives_json() -> None:
    for one in (equal_members(3), Adjustment(np.ones(1), 0.5, 0.3, np.zeros((3, 3, len(LEVELS))), whole_units=True)):
        again = Adjustment.from_dict(one.as_dict())
        assert again.as_dict() == one.as_dict()


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
