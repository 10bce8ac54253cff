"""Expert weights and shifts of quantiles: each step against hand-computed numbers, corrections, and what they are for."""

import numpy as np
import pytest

from models.online.tracking import (
    HALF_LIFE,
    LARGEST_SHIFT,
    RATE_G,
    WEIGHT_HALF_LIFE,
    WEIGHT_RATE,
    Matured,
    Tracking,
    corrected,
    learned,
    seasonal_error,
    together,
    untracked,
)
from models.training_config import LEVELS

START = np.datetime64("2026-01-01", "D")
LEVELS_Q = np.array(LEVELS, np.float32)


def came(
    day: int, y: list[float], trained: float, lineage: float | None = None, *, ahead: int = 28, scale: float = 2.0
) -> Matured:
    """A day of which the experts had always said the same number on all levels."""
    shape = (len(y), ahead, len(LEVELS))
    return Matured(
        START + day,
        np.array(y, np.float32),
        np.full(len(y), scale, np.float32),
        np.full(shape, trained, np.float32),
        None if lineage is None else np.full(shape, lineage, np.float32),
    )


def fresh(series: int) -> Tracking:
    return untracked([(f"A-{i}", "") for i in range(series)], START)


def test_a_day_above_all_levels_lifts_each_by_its_level_and_one_below_lowers_it() -> None:
    state = learned(fresh(2), came(1, [9.0, 1.0], trained=5.0))
    for stretch in range(3):
        np.testing.assert_allclose(state.shift_SGQ[0, stretch], RATE_G[stretch] * LEVELS_Q, rtol=1e-5)
        np.testing.assert_allclose(state.shift_SGQ[1, stretch], -RATE_G[stretch] * (1 - LEVELS_Q), rtol=1e-5)


def test_only_stretches_of_which_something_was_said_learn() -> None:
    state = learned(fresh(1), came(1, [9.0], trained=5.0, ahead=7))
    assert (state.shift_SGQ[0, 0] > 0).all()
    assert not state.shift_SGQ[0, 1:].any()


def test_an_unknown_day_only_lets_the_state_fade() -> None:
    before = learned(fresh(1), came(1, [9.0], trained=5.0))
    after = learned(before, came(4, [float("nan")], trained=5.0))
    np.testing.assert_allclose(after.shift_SGQ, before.shift_SGQ * 0.5 ** (3 / HALF_LIFE), rtol=1e-6)


def test_only_days_ahead_of_which_something_was_said_count() -> None:
    day = came(1, [7.0], trained=5.0)
    # Of the first seven days ahead the day lies above three and below two; of two nothing was said.
    day.trained_SJQ[0, 3:5], day.trained_SJQ[0, 5:7] = 9.0, np.nan
    state = learned(fresh(1), day)
    np.testing.assert_allclose(state.shift_SGQ[0, 0], RATE_G[0] * (3 / 5 - (1 - LEVELS_Q)), rtol=1e-5, atol=1e-8)


def test_the_indicator_is_read_at_the_shifted_quantile() -> None:
    state = fresh(1)
    state.shift_SGQ[:] = 0.5  # 5 + 0.5 * 2 = 6: a day of 5.5 lies below it, though above the 5 that was said
    after = learned(state, came(1, [5.5], trained=5.0))
    faded = 0.5 * 0.5 ** (1 / HALF_LIFE)
    np.testing.assert_allclose(after.shift_SGQ[0, 0], faded - RATE_G[0] * (1 - LEVELS_Q), rtol=1e-5)


def test_shifts_are_bounded() -> None:
    state = fresh(1)
    for day in range(1, 400):
        state = learned(state, came(day, [100.0], trained=0.0))
    assert np.abs(state.shift_SGQ).max() <= LARGEST_SHIFT


def test_weights_lean_to_the_expert_with_the_lower_loss_by_the_exponentiated_gradient() -> None:
    # Both say one number on all levels: 4 and 6, together 5; sold are 9. The gradient of the pinball loss by the lineage's weight
    # less that by the other's is 2 * mean(-level) * (6 - 4) / scale 2 = -1, since all levels lie below.
    state = learned(fresh(1), came(1, [9.0], trained=4.0, lineage=6.0))
    np.testing.assert_allclose(state.lean_SG[0], WEIGHT_RATE * 2 * LEVELS_Q.mean(), rtol=1e-5)
    after = learned(state, came(2, [float("nan")], trained=4.0, lineage=6.0))
    np.testing.assert_allclose(after.lean_SG, state.lean_SG * 0.5 ** (1 / WEIGHT_HALF_LIFE), rtol=1e-6)


def test_one_absurd_day_moves_a_weight_no_further_than_any_other() -> None:
    state = learned(fresh(1), came(1, [9.0], trained=0.0, lineage=1e6, scale=1.0))
    assert abs(float(state.lean_SG[0, 0])) <= WEIGHT_RATE + 1e-6


def test_switched_off_speeds_learn_nothing() -> None:
    state = learned(fresh(1), came(1, [9.0], trained=4.0, lineage=6.0), weights=False, quantiles=False)
    assert not state.lean_SG.any()
    assert not state.shift_SGQ.any()


def test_a_day_is_learned_once() -> None:
    state = learned(fresh(1), came(1, [9.0], trained=5.0))
    with pytest.raises(ValueError, match="2026-01-02 is not after 2026-01-02"):
        learned(state, came(1, [9.0], trained=5.0))


def test_a_corrected_day_gives_the_state_that_its_true_value_would_have_given() -> None:
    wrong, true = came(1, [9.0, 9.0], trained=5.0), came(1, [1.0, 9.0], trained=5.0)
    mended = corrected(learned(fresh(2), wrong), true)
    expected = learned(fresh(2), true)
    np.testing.assert_allclose(mended.shift_SGQ, expected.shift_SGQ, atol=1e-7)
    np.testing.assert_array_equal(mended.learned_SD, expected.learned_SD)


def test_a_corrected_day_gives_the_weights_that_its_true_value_would_have_given() -> None:
    """As far as each speed is on."""
    wrong, true = came(1, [9.0, 9.0], trained=4.0, lineage=6.0), came(1, [1.0, 9.0], trained=4.0, lineage=6.0)
    expected = learned(fresh(2), true)
    mended = corrected(learned(fresh(2), wrong), true)
    np.testing.assert_allclose(mended.lean_SG, expected.lean_SG, atol=1e-6)
    assert (mended.lean_SG[0] < 0).all() and (mended.lean_SG[1] > 0).all()
    np.testing.assert_allclose(mended.shift_SGQ, expected.shift_SGQ, atol=1e-7)
    before = learned(fresh(2), wrong)
    alone = corrected(before, true, quantiles=False)
    np.testing.assert_array_equal(alone.lean_SG, mended.lean_SG)
    np.testing.assert_array_equal(alone.shift_SGQ, before.shift_SGQ)
    np.testing.assert_array_equal(corrected(before, true, weights=False).lean_SG, before.lean_SG)
    assert corrected(before, true, weights=False, quantiles=False) is before


def test_a_day_that_came_late_teaches_weights_what_it_would_have_taught() -> None:
    """Its row was missing when the day was learned; two days have passed since."""
    late = learned(fresh(1), came(1, [float("nan")], trained=4.0, lineage=6.0))
    late = learned(late, came(3, [float("nan")], trained=4.0, lineage=6.0))
    state = corrected(late, came(1, [9.0], trained=4.0, lineage=6.0))
    faded = 0.5 ** (2 / WEIGHT_HALF_LIFE)
    np.testing.assert_allclose(state.lean_SG[0], faded * WEIGHT_RATE * 2 * LEVELS_Q.mean(), rtol=1e-5)


def test_a_day_is_corrected_once_and_not_when_it_is_long_ago() -> None:
    state = corrected(learned(fresh(1), came(1, [9.0], trained=5.0)), came(1, [1.0], trained=5.0))
    again = corrected(state, came(1, [7.0], trained=5.0))
    np.testing.assert_array_equal(again.shift_SGQ, state.shift_SGQ)
    late = learned(state, came(40, [5.0], trained=5.0))
    assert corrected(late, came(1, [7.0], trained=5.0)) is late


def test_a_value_that_was_taken_back_leaves_room_for_the_true_one_and_no_more() -> None:
    """A deletion, or a correction that is held, is unlearned; what comes in its place is learned, what comes after is not."""
    wrong, gone, true = (came(1, [value], trained=4.0, lineage=6.0) for value in (9.0, float("nan"), 1.0))
    without = corrected(learned(fresh(1), wrong), gone)
    expected = learned(fresh(1), gone)
    np.testing.assert_allclose(without.lean_SG, expected.lean_SG, atol=1e-6)
    np.testing.assert_allclose(without.shift_SGQ, expected.shift_SGQ, atol=1e-7)
    assert corrected(without, gone) is without
    mended = corrected(without, true)
    expected = learned(fresh(1), true)
    np.testing.assert_allclose(mended.lean_SG, expected.lean_SG, atol=1e-6)
    np.testing.assert_allclose(mended.shift_SGQ, expected.shift_SGQ, atol=1e-7)
    assert corrected(mended, wrong) is mended
    assert corrected(mended, gone) is mended


def test_series_are_found_by_their_names_and_new_ones_begin_with_nothing() -> None:
    state = learned(fresh(2), came(1, [9.0, 1.0], trained=5.0))
    other = state.of([("new", ""), ("A-1", "")])
    assert not other.shift_SGQ[0].any()
    np.testing.assert_array_equal(other.shift_SGQ[1], state.shift_SGQ[1])
    np.testing.assert_array_equal(other.learned_SD[1], state.learned_SD[1])


def test_together_answers_by_weight_shifted_and_in_order() -> None:
    state = fresh(1)
    state.lean_SG[:] = np.log(3.0)  # the lineage counts three quarters
    state.shift_SGQ[:, :, 0] = 0.9
    scale = np.array([10.0], np.float32)
    low, high = (np.full((1, 2, len(LEVELS)), value, np.float32) for value in (10.0, 20.0))
    mean, quantiles = together(
        state, (np.full((1, 2), 4.0, np.float32), low), (np.full((1, 2), 8.0, np.float32), high), scale
    )
    assert (np.diff(quantiles, axis=2) >= 0).all()
    np.testing.assert_allclose(quantiles[0, 0, 0], 17.5, rtol=1e-6)
    np.testing.assert_allclose(quantiles[0, 0, -1], 17.5 + 9.0, rtol=1e-6)
    area = (LEVELS[0] + LEVELS[1]) / 2
    np.testing.assert_allclose(mean, 7.0 + 9.0 * area, rtol=1e-5)


def test_tracked_quantiles_cover_what_the_experts_missed() -> None:
    rng = np.random.default_rng(0)
    state, inside = fresh(50), []
    said = np.quantile(rng.normal(10, 2, 10_000), LEVELS).astype(np.float32)
    for day in range(1, 400):
        y = rng.normal(12, 2, 50).astype(np.float32)  # a whole standard deviation above what is said
        said_SJQ = np.broadcast_to(said, (50, 28, len(LEVELS)))
        if day > 300:
            read = said + state.shift_SGQ[:, 0] * 2.0
            inside.append(y[:, None] <= read)
        state = learned(state, Matured(START + day, y, np.full(50, 2.0, np.float32), said_SJQ, None))
    reached = np.mean(inside, axis=(0, 1))
    before = np.mean(rng.normal(12, 2, 10_000)[:, None] <= said, axis=0)
    assert np.abs(reached - LEVELS_Q).max() < 0.15  # forgetting holds shifts back by a part
    assert np.abs(before - LEVELS_Q).max() > 0.3


def test_the_seasonal_error_is_the_mean_difference_to_the_week_before() -> None:
    past = np.array([[1, 2, 3, 4, 5, 6, 7, 3, 2, np.nan, 4], [np.nan] * 11], np.float32)
    np.testing.assert_allclose(seasonal_error(past), [2 / 3, 0.0], rtol=1e-6)
