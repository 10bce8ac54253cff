"""Tuning: which settings a panel asks for, found by trials. The winner is trained like any other (training.py).

A trial fits the twin of one network with other settings and is judged by its validation loss on the days held out, the same
windows for every trial. Optuna proposes (TPE, Watanabe 2023, arXiv 2304.11127) and prunes: a trial that after an epoch is
worse than the median of those before it ends there. The first trial is the configuration as it was asked for, so a winner
is never worse on these days. What a trial is to try depends only on the seed and the trials before it: tuning that goes on
after a crash finds what it would have found without one, as long as time is not what ends it.

An ensemble is tuned by its cheapest member, in the fields that all members share.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.cleaning import Cleaned
from models.days import Index
from models.fitting import NonFiniteLoss
from models.heldout import HeldOut, hold_out
from models.panel import Panel
from models.placement import CPU, Placement, own_randomness
from models.progress import Clock, Progress, Report
from models.training import Course, cleaned_for, fit_twins, training_windows
from models.training_config import RANGES, ResolvedConfig, TrainingConfig
from models.validation import validation_pairs

if TYPE_CHECKING:
    import optuna

CHEAPEST = "mlp"
"""The member whose trials speak for an ensemble."""
FEWEST_COMPLETE = 8
"""Complete trials from which on it is told which fields mattered."""
BEST_SHARE = 0.25
"""The share of complete trials that count as good when it is asked what set them apart."""
FEWEST_BEFORE_PRUNING = 4
WARM_UP_EPOCHS = 3

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Budget:
    """At most so many trials, and no new one after `timeout_s` seconds of trials; the one running then ends, too."""

    trials: int
    timeout_s: float


@dataclass(frozen=True)
class Trial:
    """One trial as it is kept: what it tried, the validation loss after each epoch, its best (None: it had no number)."""

    number: int
    state: State
    params: dict[str, float]
    validation: tuple[float, ...]
    value: float | None
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """The configuration to train, and what was found, as plain JSON."""

    config: TrainingConfig
    findings: dict[str, Any]


@dataclass(frozen=True)
class Field:
    """Where one field is looked for: between `low` and `high`, in steps (whole numbers) or evenly in the logarithm."""

    low: float
    high: float
    asked: float
    log: bool = False
    step: int | None = None


class _Pruned(Exception):
    """The trial is not worth another epoch."""


class _OutOfTime(Exception):
    """The budget's seconds are over."""


def tune(
    panel: Panel,
    config: TrainingConfig,
    budget: Budget,
    *,
    done: Sequence[Trial] = (),
    keep: Callable[[Trial], None] = lambda trial: None,
    report: Report = lambda progress: None,
    placement: Placement = CPU,
) -> Tuned:
    """Try settings around those of `config`, going on from the trials `done`; `keep` gets each trial as it ends.

    Progress names the trial in its stage; its `loss` stays None, since a trial's losses are not those of the training. Raises
    what a training raises; a trial whose loss is not finite has failed and is one of the findings.
    """
    around = _tried_as(config)
    trials = list(done)
    setting = _Setting.of(panel, around, replace(placement, compiled=False))  # each trial is another kind of network
    space = search_space(config)
    deadline = time.monotonic() + budget.timeout_s - sum(trial.seconds for trial in done)
    with own_randomness(placement.device):
        while len(trials) < budget.trials and time.monotonic() < deadline:
            running = _Running(trials, space, budget, deadline=deadline, report=report, seed=config.seed)
            trials.append(running.run(setting, around))
            keep(trials[-1])
    return _winner(config, budget, space, trials, resumed=len(done))


def search_space(config: TrainingConfig) -> dict[str, Field]:
    """The fields that are tuned, around what is asked for or the default. `docs/models.md` has it as a table."""
    asked = _tried_as(config)
    heads = asked.heads if config.model in ("transformer", "ensemble") else 1
    width_step = math.lcm(8, heads) if asked.width % math.lcm(8, heads) == 0 else heads
    space = {
        "learning_rate": Field(asked.learning_rate / 4, asked.learning_rate * 4, asked.learning_rate, log=True),
        "width": _stepped(asked.width, asked.width / 2, asked.width * 2, width_step),
        "context_length": _stepped(
            asked.context_length,
            asked.context_length / 2,
            asked.context_length * 2,
            1 if asked.context_length % 7 else 7,
        ),
        "layers": _stepped(asked.layers, asked.layers - 1, asked.layers + 1, 1),
        "dropout": Field(0.0, max(0.3, asked.dropout), asked.dropout),
        "weight_decay": Field(asked.weight_decay / 10, asked.weight_decay * 10, asked.weight_decay, log=True)
        if asked.weight_decay
        else Field(0.0, 0.1, 0.0),
        "epochs": _stepped(asked.epochs, asked.epochs / 4, asked.epochs * 1.5, 1),
        "batch_size": _stepped(asked.batch_size, asked.batch_size / 2, asked.batch_size * 2, 8),
    }
    return {name: _within(field, name) for name, field in space.items()}


def _stepped(asked: int, low: float, high: float, step: int) -> Field:
    """Whole numbers in steps that meet what is asked for."""
    below, above = math.floor((asked - low) / step), math.floor((high - asked) / step)
    return Field(asked - below * step, asked + above * step, asked, step=step)


def _within(field: Field, name: str) -> Field:
    """The field inside the range that a training may be told, on the same steps."""
    bounds = RANGES[name]
    if field.step is None:
        return replace(field, low=max(field.low, bounds.low), high=min(field.high, bounds.high))
    below = math.ceil(max(bounds.low - field.low, 0) / field.step)
    above = math.ceil(max(field.high - bounds.high, 0) / field.step)
    return replace(field, low=field.low + below * field.step, high=field.high - above * field.step)


def _tried_as(config: TrainingConfig) -> ResolvedConfig:
    """The network that is tried: the one asked for, or the cheapest member."""
    return next(m for m in config.members() if config.model != "ensemble" or m.architecture == CHEAPEST)


@dataclass(frozen=True)
class _Setting:
    """What all trials have in common."""

    panel: Panel
    held_out: HeldOut
    pairs: tuple[Index, Index]
    cleaned: Cleaned | None
    placement: Placement

    @classmethod
    def of(cls, panel: Panel, config: ResolvedConfig, placement: Placement) -> "_Setting":
        held_out = hold_out(panel, horizon=config.horizon)
        training_windows(panel, horizon=config.horizon, end=held_out.split)
        pairs = validation_pairs(panel, held_out, config.horizon, np.random.default_rng(config.seed + 1))
        return cls(panel, held_out, pairs, cleaned_for(config, panel), placement)


class _Running:
    """One trial: proposed from the trials before it, pruned by them, ended by the clock."""

    def __init__(
        self,
        before: Sequence[Trial],
        space: dict[str, Field],
        budget: Budget,
        *,
        deadline: float,
        report: Report,
        seed: int,
    ) -> None:
        self.number, self.space, self.budget = len(before), space, budget
        self.deadline, self.report = deadline, report
        self.trial = study_of(before, space, seed=seed + self.number).ask(
            {name: _distribution(field) for name, field in space.items()}
        )
        self.validation: list[float] = []
        self.started = time.monotonic()

    def run(self, setting: _Setting, around: ResolvedConfig) -> Trial:
        """Fit the twin with the proposed settings; how the trial ended."""
        state: State = "complete"
        config = around.replace(**self.trial.params)
        clock = Clock(math.inf, config.epochs, self._told)
        try:
            self._told(Progress(0.0, 0, config.epochs, None, None, None, ""))
            end, cleaned = setting.held_out.split, setting.cleaned
            course = Course(setting.panel, [config], end=end, cleaned=cleaned, placement=setting.placement)
            fit_twins(course, setting.pairs, clock.part("tuning", 1.0))
        except (_Pruned, _OutOfTime):
            state = "pruned"
        except NonFiniteLoss:
            state = "failed"
        value = min(self.validation, default=None)
        seconds = time.monotonic() - self.started
        return Trial(self.number, state, dict(self.trial.params), tuple(self.validation), value, seconds)

    def _told(self, progress: Progress) -> None:
        """Pass on how far all trials are, and end this one when its time has come or it is not worth going on."""
        stage = f"tuning, trial {self.number + 1} of {self.budget.trials}"
        left = max(self.deadline - time.monotonic(), 0.0)
        of_trials = (self.number + progress.fraction) / self.budget.trials
        fraction = min(max(of_trials, 1 - left / self.budget.timeout_s, 0.0), 1.0)
        self.report(replace(progress, fraction=fraction, loss=None, eta_seconds=left, stage=stage))
        if progress.epoch > len(self.validation) and progress.validation is not None:
            self.validation.append(progress.validation)
            self.trial.report(progress.validation, step=progress.epoch)
            if self.trial.should_prune():
                raise _Pruned
        if not left:
            raise _OutOfTime


def study_of(trials: Sequence[Trial], space: dict[str, Field], *, seed: int) -> "optuna.Study":
    """The study that these trials make, ready to be asked for the next one. The first is what was asked for."""
    import optuna  # a third of a second that only jobs which tune should spend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8, multivariate=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FEWEST_BEFORE_PRUNING, n_warmup_steps=WARM_UP_EPOCHS),
    )
    states = {
        "complete": optuna.trial.TrialState.COMPLETE,
        "pruned": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
    }
    distributions = {name: _distribution(field) for name, field in space.items()}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                state=states[trial.state],
                value=trial.value if trial.state == "complete" else None,
                params=trial.params,
                distributions=distributions,
                intermediate_values=dict(enumerate(trial.validation, start=1)),
            )
        )
    if not trials:
        study.enqueue_trial({name: field.asked for name, field in space.items()})
    return study


def _distribution(field: Field) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    if field.step is not None:
        return IntDistribution(int(field.low), int(field.high), step=field.step)
    return FloatDistribution(field.low, field.high, log=field.log)


def _winner(
    config: TrainingConfig, budget: Budget, space: dict[str, Field], trials: list[Trial], *, resumed: int
) -> Tuned:
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    best = min(complete, key=lambda trial: (trial.value, trial.number), default=None)
    asked = {name: field.asked for name, field in space.items()}
    importance, notes = _importance(complete, space)
    if best is None:
        notes.insert(0, f"No trial ran to its end within {budget.timeout_s:g} s, so the training is the one asked for.")
    elif len(trials) < budget.trials:
        notes.insert(0, f"After {budget.timeout_s:g} s {len(trials)} of {budget.trials} trials had been begun.")
    if config.model == "ensemble":
        notes.append(
            f"Tried with a single {CHEAPEST}, the cheapest member; all members are trained with what was best for it."
        )
    values = asked if best is None else best.params
    findings = {
        "trials": budget.trials,
        "complete": len(complete),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "resumed": resumed,
        "seconds": round(sum(trial.seconds for trial in trials), 1),
        "best": values,
        "best_trial": None if best is None else best.number + 1,
        "validation": None if best is None else best.value,
        "validation_as_asked": next((t.value for t in complete if t.number == 0), None),
        "importance": importance,
        "notes": notes,
    }
    return Tuned(replace(config, **values), findings)  # type: ignore[arg-type]


def _importance(complete: list[Trial], space: dict[str, Field]) -> tuple[dict[str, float] | None, list[str]]:
    """How much each field set the best trials apart, as shares of 1; None, and why, where trials are too few to tell."""
    if len(complete) < FEWEST_COMPLETE:
        said = f"What mattered is not told: {len(complete)} trials ran to their end, and {FEWEST_COMPLETE} are needed for that."
        return None, [said]
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = study_of(complete, space, seed=0)
    shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE))
    return {name: round(share, 4) for name, share in shares.items()}, []
