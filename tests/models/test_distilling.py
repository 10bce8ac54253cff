"""A student of an ensemble: it learns from what it is taught, and takes the ensemble's place only within both limits."""

import itertools
import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from models import progress
from models.checkpoint import deserialise, serialise
from models.distilling import Distilled, decided, distil, train_compressed
from models.forecaster import Forecaster, Member
from models.heldout import hold_out
from models.inference import predict
from models.networks.network import Network
from models.panel import Floats, Panel
from models.progress import Clock, Progress, TimeLimitReached
from models.teacher import Teacher
from models.training import Course, Trained, train
from models.training_config import ConfigError
from tests.models.panels import START, forecaster_of, small

WIDE = small("ensemble", width=192, epochs=2, known=("promo",), max_seconds=600.0)
"""An ensemble so wide that its student is many times as fast on any machine."""
NARROW = small("ensemble", width=8, epochs=1, known=("promo",), max_seconds=600.0)
"""One so narrow that most of its time is spent on what a student needs as well."""


def promoted_panel(*, later: int | None = None) -> Panel:
    """Days of promotion, known ahead, sell four times as much. From the day index `later` on sales are others."""
    rng = np.random.default_rng(0)
    promo = (rng.random((6, 167)) < 0.3).astype(np.float32)
    quantity = rng.poisson(np.arange(3, 9)[:, None] * (1 + 3 * promo[:, :160])).astype(np.float32)
    if later is not None:
        quantity[:, later:] = np.random.default_rng(9).integers(0, 99, quantity[:, later:].shape)
    return Panel(list("abcdef"), [""] * 6, START, quantity, {"promo": promo})


PANEL = promoted_panel()


@lru_cache(maxsize=1)
def ensemble() -> Trained:
    return train(PANEL, WIDE)


def distilled_from(panel: Panel, *, always: bool = False, **changes: Any) -> Distilled:
    student = WIDE.student().replace(**changes)
    return distil(panel, ensemble(), student, Clock(600.0, student.epochs, lambda told: None), always=always)


@lru_cache(maxsize=1)
def well_distilled() -> Distilled:
    return distilled_from(PANEL, epochs=24, patience=24)


@lru_cache(maxsize=1)
def hastily_distilled() -> Forecaster:
    """One epoch, whatever came of it."""
    student = distilled_from(PANEL, epochs=1, always=True).student
    assert student is not None
    return student


def says(forecaster: Forecaster) -> Floats:
    return predict(forecaster, PANEL, 150, whole_units=False).quantiles_SHQ


def apart(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).mean())


def test_a_student_says_what_its_teacher_says_of_the_same_series_and_days() -> None:
    teacher, student = ensemble().forecaster, well_distilled().student
    assert student is not None and student.twin is not None and teacher.twin is not None
    fresh = forecaster_of(Network(student.config, sizes=student.identities.sizes), PANEL)
    for ours, theirs in ((student, teacher), (student.twin, teacher.twin)):
        near = apart(says(ours), says(theirs))
        assert near < 0.3 * apart(says(fresh), says(theirs))
        assert near < 0.3 * apart(says(ours), np.roll(says(theirs), 3, axis=0))
        assert near < 0.3 * apart(says(ours), np.roll(says(theirs), 1, axis=1))


def test_a_student_that_is_taught_is_nearer_to_its_teacher_than_one_that_learns_from_sales_alone() -> None:
    teacher, config = ensemble().forecaster.twin, WIDE.student()
    assert teacher is not None
    teaching = Teacher(teacher, seed=config.seed, batch_size=config.batch_size)

    def after_steps(taught: bool) -> Floats:
        course = Course(PANEL, [config], end=hold_out(PANEL, horizon=7).split, teacher=teaching if taught else None)
        for _ in range(80):
            course.step(course.fits)
        network = course.fits[0].averaged
        return says(replace(forecaster_of(network, PANEL), members=[Member(config, network)]))

    assert apart(after_steps(taught=True), says(teacher)) < 0.9 * apart(after_steps(taught=False), says(teacher))


def test_a_student_as_good_and_much_faster_takes_the_ensembles_place() -> None:
    found = well_distilled()
    assert found.compressed["kept"] == "student", found.compressed
    assert found.compressed["wql"]["student"] == found.metrics["wql"] <= 1.005 * found.compressed["wql"]["ensemble"]
    assert found.compressed["speed_ratio"] >= 4
    assert found.compressed["sentence"].startswith("The student was kept: the student's WQL of ")
    assert found.student is not None and found.student.architecture == "mlp"
    assert found.student.trained_until == PANEL.end
    assert found.student.parameters() < 0.1 * ensemble().forecaster.parameters()
    assert found.student.dependence.rows_NH.shape[1] == 7
    assert found.student.adjustment.counts == 0


def test_a_student_that_has_hardly_learned_leaves_the_ensemble_its_place() -> None:
    found = distilled_from(PANEL, epochs=1, learning_rate=1e-5)
    assert found.compressed["kept"] == "ensemble"
    assert found.student is None
    assert found.compressed["wql"]["student"] > 1.005 * found.compressed["wql"]["ensemble"]
    assert "at most 0.5% above is allowed" in found.compressed["sentence"]
    assert "times is asked for" not in found.compressed["sentence"]


def test_a_student_that_is_hardly_faster_leaves_the_ensemble_its_place() -> None:
    told: list[Progress] = []
    trained = train_compressed(PANEL, NARROW, report=told.append)
    assert trained.compressed is not None and trained.compressed["kept"] == "ensemble"
    assert 1 < trained.compressed["speed_ratio"] < 4
    assert "at least 4 times is asked for" in trained.compressed["sentence"]
    assert trained.forecaster.architecture == "ensemble"
    assert trained.metrics["model"]["wql"] == trained.compressed["wql"]["ensemble"]
    assert json.loads(json.dumps(trained.compressed)) == trained.compressed
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert [one.stage for one in told].index("distilling") > [one.stage for one in told].index("refitting")
    assert all(one.loss is None for one in told if one.stage == "distilling")
    assert len(trained.history) == 1


@pytest.mark.parametrize(
    ("wql", "ratio", "kept"),
    [(0.2, 4.0, "student"), (0.2, 3.99, "ensemble"), (0.2009, 9.0, "student"), (0.2011, 9.0, "ensemble"),
     (0.1, 1.0, "ensemble"), (float("nan"), 9.0, "ensemble"), (None, 9.0, "ensemble")],
)  # fmt: skip
def test_both_limits_are_held(wql: float | None, ratio: float, kept: str) -> None:
    trained = replace(ensemble(), metrics={"model": {"wql": 0.2, "sql": 0.5}})
    found = decided(trained, {"wql": wql, "sql": 0.5}, ratio)
    assert found["kept"] == kept
    assert found["sentence"].startswith(f"The {kept} was kept: ")


def test_days_after_the_split_change_nothing_in_a_students_twin() -> None:
    """What it is taught of earlier windows is read from earlier days, too."""
    split = hold_out(PANEL, horizon=7).split
    other = distilled_from(promoted_panel(later=split), epochs=1, always=True).student
    twins = [one.twin for one in (hastily_distilled(), other) if one is not None]
    states = [twin.members[0].network.state_dict() for twin in twins if twin is not None]
    assert len(states) == 2
    assert all(states[0][name].equal(states[1][name]) for name in states[0])


def test_the_same_seed_makes_the_same_student() -> None:
    again = distilled_from(PANEL, epochs=1, always=True).student
    assert again is not None
    assert serialise(again) == serialise(hastily_distilled())


def test_a_student_survives_its_file_to_the_bit() -> None:
    before = well_distilled().student
    assert before is not None and before.twin is not None
    weights, description = serialise(before)
    after = deserialise(weights, json.loads(json.dumps(description)))
    assert after.twin is not None
    for ours, theirs in ((before, after), (before.twin, after.twin)):
        np.testing.assert_array_equal(says(ours), says(theirs))
        np.testing.assert_array_equal(ours.dependence.rows_NH, theirs.dependence.rows_NH)
        np.testing.assert_array_equal(ours.dependence.levels_Q, theirs.dependence.levels_Q)
    assert serialise(after) == (weights, description)


def test_a_report_that_raises_ends_the_distilling() -> None:
    class CancelledError(Exception):
        pass

    def cancel(told: Progress) -> None:
        if told.stage == "distilling":
            raise CancelledError

    with pytest.raises(CancelledError):
        train_compressed(PANEL, NARROW, report=cancel)


def test_time_that_is_over_amid_the_distilling_leaves_the_ensemble_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks each time it is read, and leaps when the student begins to learn."""
    ticks = itertools.count()
    leap = [0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks) + leap[0]))

    def report(told: Progress) -> None:
        leap[0] = 10**6 if told.stage == "distilling" else 0

    trained = train_compressed(PANEL, replace(NARROW, max_seconds=10_000.0), report=report)
    assert trained.compressed is not None and trained.compressed["kept"] == "ensemble"
    assert "limit of 10000 s was over" in trained.compressed["sentence"]
    assert trained.compressed["wql"]["student"] is None and trained.compressed["speed_ratio"] is None
    assert trained.forecaster.architecture == "ensemble"


def test_time_that_is_over_amid_the_training_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks each time it is read, in a training whose networks never stop by themselves before the split."""
    ticks = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    with pytest.raises(TimeLimitReached, match="after 15 s, its share of the limit of 20 s"):
        train_compressed(PANEL, replace(NARROW, epochs=500, patience=500, max_seconds=20.0))


def test_only_an_ensemble_of_quantiles_can_be_distilled() -> None:
    with pytest.raises(ConfigError, match="compress needs the model ensemble; a single lstm"):
        train_compressed(PANEL, small("lstm"))
    with pytest.raises(ConfigError, match="compress needs the loss pinball, not mae"):
        train_compressed(PANEL, small("ensemble", loss="mae"))
