"""Detectors of drift, many at once: number for number river's Page-Hinkley, and what they find in streams made by hand."""

from dataclasses import astuple, fields, replace

import numpy as np
import pytest
from river import drift

from models.online.drift import (
    SEGMENTS,
    SERIES,
    Detector,
    Drift,
    PageHinkley,
    counted,
    drifting,
    losses,
    primed,
    unseen,
    untouched,
    watched,
)
from models.online.scoring import SUMS

USUAL = 60
"""Days before something happens."""


@pytest.mark.parametrize(("delta", "threshold", "alpha"), [(0.5, 12.0, 0.999), (0.005, 50.0, 0.9999), (0.1, 5.0, 1.0)])
def test_it_is_number_for_number_the_test_of_river(delta: float, threshold: float, alpha: float) -> None:
    detector = Detector(delta=delta, threshold=threshold, alpha=alpha)
    rng = np.random.default_rng(0)
    days, streams, alarms = 400, 8, 0
    x_TD = rng.standard_t(3, (days, streams)) + (np.arange(days)[:, None] > 200) * rng.uniform(0, 2, streams)
    x_TD[rng.random(x_TD.shape) < 0.2] = np.nan
    theirs = [
        drift.PageHinkley(min_instances=1, delta=delta, threshold=threshold, alpha=alpha, mode="up")
        for _ in range(streams)
    ]
    test, fresh = unseen(streams), unseen(streams)
    for x_D in x_TD:
        test = counted(test, x_D, detector)
        found_D = drifting(test, detector)
        for stream in np.flatnonzero(np.isfinite(x_D)).tolist():
            other = theirs[stream]
            other.update(float(x_D[stream]))
            assert found_D[stream] == other.drift_detected
            own = [float(values[stream]) for values in astuple(test)]
            assert own == [other._x_mean.n, other._x_mean.get(), other._sum_increase, other._min_increase]
        alarms += int(found_D.sum())
        anew = zip(astuple(fresh), astuple(test), strict=True)
        test = PageHinkley(*(np.where(found_D, new, old) for new, old in anew))
    assert alarms > 0


def test_what_is_watched_is_the_test_of_river_on_days_in_spreads() -> None:
    """A detector that never forgets: river's, told of 28 usual days, finds the same days."""
    detector = replace(SEGMENTS, memory=10**9, capped=10**9)
    rng = np.random.default_rng(1)
    ratio_T = rng.normal(0, 0.3, 200) + np.where(np.arange(200) >= 120, 0.6, 0.0)
    theirs = drift.PageHinkley(
        min_instances=1, delta=detector.delta, threshold=detector.threshold, alpha=1.0, mode="up"
    )
    for _ in range(detector.primed):
        theirs.update(0.0)
    state, found, expected = untouched(1, detector), [], []
    for day, ratio in enumerate(ratio_T.tolist()):
        before = state
        loss = np.array([1.2 * np.exp(ratio) - 0.2])
        state, now = watched(state, day, loss, np.ones(1), detector)
        found += [day] * len(now.rows)
        if day >= detector.learning:
            theirs.update((ratio - float(before.level_D[0])) / float(before.spread_D[0]))
            expected += [day] * theirs.drift_detected
            if theirs.drift_detected:
                theirs._reset()
                for _ in range(detector.primed):
                    theirs.update(0.0)
    assert found == expected and len(found) > 0


def steady(days: int, streams: int = 1, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses of streams that nothing happens to, (T, D), of ours and of the seasonal naive."""
    rng = np.random.default_rng(seed)
    hard_TD = rng.gamma(4, 0.25, (days, streams))  # a day that is hard for everybody
    return 0.8 * hard_TD * rng.uniform(0.8, 1.2, hard_TD.shape), hard_TD


def found_in(loss_TD: np.ndarray, naive_TD: np.ndarray, detector: Detector = SERIES) -> tuple[list[tuple], Drift]:
    """Everything that was found: day, stream, since, size, percent; and the last state."""
    state, found = untouched(loss_TD.shape[1], detector), []
    for day in range(len(loss_TD)):
        state, now = watched(state, day, loss_TD[day], naive_TD[day], detector)
        found += [(day, *one) for one in zip(now.rows, now.since, now.size, now.percent, strict=True)]
    return found, state


def test_days_that_are_hard_for_everybody_are_no_drift_and_neither_is_what_becomes_better() -> None:
    loss_TD, naive_TD = steady(300, 20)
    hard_T = np.where(np.arange(300) >= 100, 3.0, 1.0)[:, None]
    assert found_in(hard_T * loss_TD, hard_T * naive_TD)[0] == []
    assert found_in(np.where(np.arange(300)[:, None] >= 100, 0.4, 1.0) * loss_TD, naive_TD)[0] == []


def test_what_becomes_worse_is_found_with_its_first_day_and_its_size() -> None:
    loss_TD, naive_TD = steady(USUAL + 30, 3)
    before = float(loss_TD[:USUAL, 1].mean())
    loss_TD[USUAL:, 1] *= 2
    found, _ = found_in(loss_TD, naive_TD)
    assert {stream for _, stream, *_ in found} == {1}
    day, _, since, size, percent = found[0]
    assert USUAL + 2 < day < USUAL + 12
    assert abs(since - USUAL) <= 2
    usual = before - float(naive_TD[:USUAL, 1].mean())
    expected = float((loss_TD - naive_TD)[since : day + 1, 1].mean()) - usual
    assert size == pytest.approx(expected, rel=0.1)
    assert percent == pytest.approx(100 * expected / before, rel=0.1)


def test_a_percentage_of_next_to_nothing_is_not_told() -> None:
    loss_TD, naive_TD = np.full((USUAL + 30, 1), 0.01), np.ones((USUAL + 30, 1))
    loss_TD[USUAL:] = 1.0
    ((_, _, since, size, percent), *_) = found_in(loss_TD, naive_TD)[0]
    assert (since, size) == (USUAL, pytest.approx(0.99))
    assert np.isnan(percent)


def test_one_day_alarms_nobody_however_bad_it_was() -> None:
    loss_TD, naive_TD = steady(300, 5)
    loss_TD[USUAL] *= 1000
    assert found_in(loss_TD, naive_TD)[0] == []


def test_nothing_is_found_before_the_usual_is_known() -> None:
    loss_TD, naive_TD = steady(SERIES.learning, 5)
    loss_TD[SERIES.learning // 2 :] *= 10
    assert found_in(loss_TD, naive_TD)[0] == []


def test_after_an_alarm_a_series_begins_anew_and_a_segment_is_found_again_as_long_as_it_is_worse() -> None:
    loss_TD, naive_TD = steady(USUAL + 40)
    loss_TD[USUAL:] *= 2
    once, _ = found_in(loss_TD, naive_TD, SERIES)
    again, _ = found_in(loss_TD, naive_TD, SEGMENTS)
    assert len(once) == 1
    assert len(again) > 1 and again[1][0] - again[0][0] < 28
    cured_TD = loss_TD.copy()
    cured_TD[again[0][0] + 1 :] /= 2
    assert len(found_in(cured_TD, naive_TD, SEGMENTS)[0]) == 1


def test_days_without_a_score_leave_a_stream_as_it_is() -> None:
    loss_TD, naive_TD = steady(USUAL, 2)
    loss_TD[USUAL // 2 :] *= 3
    missing_TD = np.insert(loss_TD, [10, 35, 50], np.nan, axis=0)
    other_TD = np.insert(naive_TD, [10, 35, 50], 1.0, axis=0)
    found, state = found_in(loss_TD, naive_TD)
    later, same = found_in(missing_TD, other_TD)
    assert [row[1] for row in found] == [row[1] for row in later] != []
    for field in fields(Drift):
        if field.name != "since_D":
            assert np.array_equal(getattr(state, field.name), getattr(same, field.name)), field.name
    one, nothing = watched(state, 99, np.full(2, np.nan), np.ones(2), SERIES)
    assert np.array_equal(one.as_array(), state.as_array()) and len(nothing.rows) == 0


def test_streams_know_nothing_of_each_other_and_nothing_of_later_days() -> None:
    loss_TD, naive_TD = steady(120, 4)
    loss_TD[USUAL:, [0, 2]] *= 2
    found, state = found_in(loss_TD, naive_TD)
    alone, own = found_in(loss_TD[:, [2]], naive_TD[:, [2]])
    assert [row[0] for row in alone] == [row[0] for row in found if row[1] == 2] != []
    assert np.array_equal(own.as_array(), state.rows(np.array([2])).as_array())
    changed_TD = loss_TD.copy()
    changed_TD[80:] *= 5
    assert [row for row in found_in(changed_TD, naive_TD)[0] if row[0] < 80] == [row for row in found if row[0] < 80]


def test_a_state_goes_through_its_array() -> None:
    _, state = found_in(*steady(40, 3))
    same = Drift.of(state.as_array())
    assert all(np.array_equal(a, b) for a, b in zip(astuple(state), astuple(same), strict=True))
    assert primed(3, SERIES).count_D.tolist() == [SERIES.primed] * 3


def test_losses_are_in_seasonal_errors_and_unknown_where_nothing_was_scored() -> None:
    sums = np.zeros((2, len(SUMS)))
    sums[0, [SUMS.index("scaled_days"), SUMS.index("scaled_pinball")]] = (4, 3)
    found = losses(sums)
    assert found[0] == 0.75 and np.isnan(found[1])
