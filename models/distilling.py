"""Distilling: one small student learns what an ensemble says, and answers in its place where it is as good and much faster.

The student (Hinton et al. 2015, arXiv 1503.02531) is a small network of the cheapest kind. It learns from the sales and from the
ensemble's own mixture of quantiles, on windows drawn as for a training. Twin and refit as everywhere: a twin learns from the
ensemble's twin on days before the split and is judged on the days held out; if it passes, a student of the same seed is refitted
on all days against the ensemble that has seen them all.

It passes by two limits, both held here: MOST_WORSE and LEAST_SPEED_RATIO.

Shapes: B windows.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from models.adjustment import answer
from models.days import Index
from models.evaluation import Scores, evaluate
from models.forecaster import Forecaster, Member
from models.heldout import hold_out
from models.inference import AT_ONCE, members_of, predict
from models.panel import Panel
from models.placement import CPU, Placement, own_randomness
from models.progress import Clock, Progress, Report, TimeLimitReached
from models.teacher import Teacher
from models.training import Course, Trained, cleaned_for, fit_twins, refit, train, unadjusted
from models.training_config import ResolvedConfig, TrainingConfig
from models.validation import learn_from_validation, validation_pairs

MOST_WORSE = 0.005
"""A student may be worse than the ensemble by this share of the ensemble's WQL on the held-out windows."""
LEAST_SPEED_RATIO = 4.0
"""And must predict at least so many times as fast."""

TRAINING_SHARE = 0.75
"""Of `max_seconds` and of the progress: the ensemble's training; the rest is the student's."""
LEAST_SECONDS = 1.0
TIMED_WINDOWS = 2 * AT_ONCE
TIMED_ROUNDS = 9


@dataclass(frozen=True)
class Distilled:
    """`student` is None where it was not refitted; `metrics` are its twin's scores; `compressed` is what was decided, as JSON."""

    student: Forecaster | None
    metrics: Scores
    compressed: dict[str, Any]
    steps: int
    seconds: float


def train_compressed(
    panel: Panel,
    config: TrainingConfig,
    *,
    report: Report = lambda progress: None,
    placement: Placement = CPU,
) -> Trained:
    """Train an ensemble, then a student of it; what is kept of the two is the forecaster, and `compressed` says why.

    `max_seconds` holds for both. Where it ends the distilling, the ensemble is kept. Raises what a training raises, and
    ConfigError for a model that is no ensemble or a loss without quantiles.
    """
    student = config.student()
    started = time.monotonic()
    limit = config.max_seconds
    own = replace(config, max_seconds=max(TRAINING_SHARE * limit, LEAST_SECONDS))
    try:
        trained = train(panel, own, report=_scaled(report, 0.0, TRAINING_SHARE), placement=placement)
    except TimeLimitReached as error:
        raise TimeLimitReached(
            f"The training was stopped after {own.max_seconds:.0f} s, its share of the limit of {limit:.0f} s: the rest is for "
            "distilling. Give it more max_seconds."
        ) from error
    spent = time.monotonic() - started
    clock = Clock(limit - spent, student.epochs, _scaled(report, TRAINING_SHARE, 1.0, losses=False))
    try:
        distilled = distil(panel, trained, student, clock, placement=placement)
    except TimeLimitReached:
        sentence = f"The ensemble was kept: the limit of {limit:.0f} s was over before the student had been distilled."
        return replace(trained, compressed=told(trained, "ensemble", sentence))
    clock.tell("done", 1.0)
    seconds = trained.seconds + clock.seconds()
    if distilled.student is None:
        return replace(trained, seconds=seconds, compressed=distilled.compressed)
    metrics = trained.metrics | {"model": distilled.metrics}
    return replace(
        trained, forecaster=distilled.student, metrics=metrics, seconds=seconds, compressed=distilled.compressed
    )


def distil(
    panel: Panel,
    trained: Trained,
    student: ResolvedConfig,
    clock: Clock,
    *,
    always: bool = False,
    placement: Placement = CPU,
) -> Distilled:
    """A student of a trained ensemble, judged by both limits; refitted where it passes, or `always`.

    Raises TimeLimitReached when the clock's time is over, and what `clock.report` raises.
    """
    ensemble = trained.forecaster
    assert ensemble.twin is not None
    held_out = hold_out(panel, horizon=student.horizon)
    pairs = validation_pairs(panel, held_out, student.horizon, np.random.default_rng(student.seed + 1))
    cleaned = cleaned_for(student, panel)

    def course_of(teacher: Forecaster, end: int) -> Course:
        asked = Teacher(teacher, seed=student.seed, batch_size=student.batch_size)
        return Course(panel, [student], end=end, cleaned=cleaned, placement=placement, teacher=asked)

    with own_randomness(placement.device):
        course = course_of(ensemble.twin, held_out.split)
        (fitted,) = fit_twins(course, pairs, clock.part("distilling", 0.6))
        twin = unadjusted(panel, [fitted.member()], course.identities, until=held_out.split - 1)
        learn_from_validation(twin, panel, *pairs, counts_shares=(0.0,))
        clock.check("distilling", 0.6)
        metrics = evaluate(partial(predict, twin), panel, held_out.cutoffs, horizon=student.horizon)
        ratio = speed_ratio(ensemble.twin, twin, panel, pairs)
        clock.check("distilling", 0.65)
        compressed = decided(trained, metrics, ratio)
        if compressed["kept"] == "ensemble" and not always:
            return Distilled(None, metrics, compressed, fitted.steps, clock.seconds())
        whole = course_of(ensemble, panel.days)
        (network,) = refit(whole, [fitted.steps], clock.part("distilling", 0.35, begin=0.65))
    alone = unadjusted(panel, [Member(student, network)], whole.identities, until=panel.days - 1)
    return Distilled(alone.adjusted_as(twin), metrics, compressed, fitted.steps, clock.seconds())


def decided(trained: Trained, student: Scores, ratio: float) -> dict[str, Any]:
    """Which of the two is kept, with the figures that decide: plain JSON values and a sentence."""
    ratio = round(ratio, 2)
    own, theirs = student["wql"], trained.metrics["model"]["wql"]
    if own is None or not theirs:
        return told(
            trained, "ensemble", "The ensemble was kept: nothing was sold on the days held out.", student, ratio
        )
    worse = own / theirs - 1
    slow, bad = ratio < LEAST_SPEED_RATIO, not worse <= MOST_WORSE
    kept = "ensemble" if slow or bad else "student"
    change = f"{abs(worse):.2%} {'above' if worse > 0 else 'below'} the ensemble's {theirs:.4f} on the held-out windows"
    change += f" (at most {MOST_WORSE:.1%} above is allowed)" * bad
    faster = f"{ratio:.2f} times as fast" + f" (at least {LEAST_SPEED_RATIO:g} times is asked for)" * slow
    sentence = f"The {kept} was kept: the student's WQL of {own:.4f} is {change}, and it predicts {faster}."
    return told(trained, kept, sentence, student, ratio)


def told(
    trained: Trained, kept: str, sentence: str, student: Scores | None = None, ratio: float | None = None
) -> dict[str, Any]:
    """What a job, a version and a benchmark say of a distilling; figures that were not measured are None."""
    scores = {"ensemble": trained.metrics["model"], "student": student or {}}
    return {
        "kept": kept,
        "wql": {name: one.get("wql") for name, one in scores.items()},
        "sql": {name: one.get("sql") for name, one in scores.items()},
        "speed_ratio": ratio,
        "sentence": sentence,
    }


def speed_ratio(slow: Forecaster, fast: Forecaster, panel: Panel, pairs: tuple[Index, Index]) -> float:
    """How many times as fast one predicts as the other: the same windows, in turns, the median of TIMED_ROUNDS rounds.

    Measured is processor time of one thread, which is how forecasts are served: a machine that is busy with other work slows
    both, and does not count as time of either.
    """
    series_B, cutoff_B = (index[:TIMED_WINDOWS] for index in pairs)
    runs = [_answering(one, panel, series_B, cutoff_B) for one in (slow, fast)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [[_seconds(run) for run in runs] for _ in range(TIMED_ROUNDS + 1)]
    finally:
        torch.set_num_threads(threads)
    return statistics.median(one / max(other, 1e-9) for one, other in rounds[1:])


def _answering(forecaster: Forecaster, panel: Panel, series_B: Index, cutoff_B: Index) -> Callable[[], None]:
    """All that a prediction of these windows takes once the panel is there, in batches as `predict` makes them."""
    source = forecaster.source(panel)

    def run() -> None:
        for first in range(0, len(series_B), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            mixture = members_of(forecaster, source.windows(series_B[part], cutoff_B[part]))
            answer(mixture, forecaster.adjustment)

    return run


def _seconds(run: Callable[[], None]) -> float:
    started = time.thread_time()
    run()
    return time.thread_time() - started


def _scaled(report: Report, begin: float, end: float, *, losses: bool = True) -> Report:
    """Tell a part of the work as a stretch of the whole. Without `losses`: a student's are not those of the training."""

    def scaled(progress: Progress) -> None:
        stage = "refitting" if progress.stage == "done" and end < 1 else progress.stage
        loss = progress.loss if losses else None
        report(replace(progress, fraction=begin + (end - begin) * progress.fraction, loss=loss, stage=stage))

    return scaled
