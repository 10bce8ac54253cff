"""Training: a panel and a configuration in, a forecaster with its metrics out.

The first 80 % of days train a twin, the last 20 % (at least one horizon) judge it and say how many steps were best;
then networks of the same seeds are refitted on all days for as many steps. All metrics are the twin's, since the
refitted one has seen the days held out. Windows end before the split, targets included.

Networks that are trained together take their steps on the same windows: what is read from a window is worked out once
for all of them.

Shapes: B windows, H horizon, S series, Q quantile levels.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from models.adjustment import equal_members
from models.cleaning import Cleaned, Findings, clean, nothing_found
from models.days import Index
from models.dependence import usual_dependence
from models.fitting import (
    Examples,
    Fit,
    KeyOf,
    Schedule,
    examples_by_context,
    fit_statistics,
    losses_of,
    refuse_non_finite,
)
from models.forecaster import Forecaster, Member
from models.heldout import NotEnoughHistory, hold_out, judge
from models.identities import Identities, identities_of
from models.networks.network import Network
from models.panel import Panel
from models.placement import CPU, Placement, own_randomness
from models.progress import Clock, Part, Report
from models.sampling import WindowSampler, shorten_some
from models.teacher import Teacher
from models.training_config import STEPS_PER_EPOCH, ResolvedConfig, TrainingConfig
from models.validation import learn_from_validation, set_residuals, validation_pairs
from models.windows import WindowSource

DAYS_SHARE = 0.5
"""Share of the days ahead that a step learns from, drawn anew for each: days of one window say much the same."""

TWIN_SHARE = 0.45
"""Share of `max_seconds` after which the twin learns no further: the refit takes as many steps as it did, and as long."""
TIME_NOTE = " Time ended its learning before the days held out did."


@dataclass
class Trained:
    """What a training or an update made. `metrics` are the twin's, beside the baselines', on the same windows."""

    forecaster: Forecaster
    metrics: dict[str, Any]
    steps: int
    history: list[dict[str, float]]
    seconds: float
    findings: Findings
    compressed: dict[str, Any] | None = None
    """What came of distilling, where it was asked for (distilling.py)."""


def train(
    panel: Panel,
    config: TrainingConfig,
    *,
    report: Report = lambda progress: None,
    placement: Placement = CPU,
) -> Trained:
    """Train one forecaster, of one network or of several, on all series of the panel; its networks stay on the device.

    `report` is called about twice a second and after every epoch; an exception it raises ends the training.
    Raises ConfigError, NotEnoughHistory, NonFiniteLoss (all ValueErrors with a sentence) or TimeLimitReached.
    """
    members = config.members()
    horizon = members[0].horizon
    held_out = hold_out(panel, horizon=horizon)
    training_windows(panel, horizon=horizon, end=held_out.split)
    cleaned = cleaned_for(members[0], panel)
    clock = Clock(config.max_seconds, members[0].epochs, report)
    pairs = validation_pairs(panel, held_out, horizon, np.random.default_rng(config.seed + 1))
    with own_randomness(placement.device):
        course = Course(panel, members, end=held_out.split, cleaned=cleaned, placement=placement)
        fitted = fit_twins(course, pairs, clock.part("training", 0.6))
        twin = unadjusted(panel, [one.member() for one in fitted], course.identities, until=held_out.split - 1)
        _set_residuals(twin, course.source, pairs)
        learn_from_validation(twin, panel, *pairs)
        clock.tell("judging", 0.6)
        metrics = judge(twin, panel, held_out.cutoffs)
        if any(one.cut_short() for one in fitted):
            metrics["note"] += TIME_NOTE
        whole = Course(panel, members, end=panel.days, cleaned=cleaned, placement=placement)
        networks = refit(whole, [one.steps for one in fitted], clock.part("refitting", 0.35, begin=0.65))
    refitted = [replace(m, network=network) for m, network in zip(twin.members, networks, strict=True)]
    forecaster = unadjusted(panel, refitted, whole.identities, until=panel.days - 1).adjusted_as(twin)
    clock.tell("done", 1.0)
    findings = nothing_found() if cleaned is None else cleaned.findings
    return Trained(forecaster, metrics, sum(f.steps for f in fitted), clock.history, clock.seconds(), findings)


def cleaned_for(config: ResolvedConfig, panel: Panel) -> Cleaned | None:
    """The panel cleaned as the configuration asks, by the covariates that its network knows; None without cleaning.

    One cleaning serves the twin and the refit: no day is judged by a later one.
    """
    if config.cleaning == "none":
        return None
    return clean(panel, config.cleaning, covariates=(*config.known, *config.past))


class Course:
    """Networks that learn together from a panel's days before the day index `end`: fresh ones, and what they are fed with.

    The first member's seed draws the windows; each has its own for its weights. All share the features' constants. With a
    `teacher` they learn from what it says as well.
    """

    def __init__(
        self,
        panel: Panel,
        members: list[ResolvedConfig],
        *,
        end: int,
        cleaned: Cleaned | None = None,
        placement: Placement = CPU,
        teacher: Teacher | None = None,
    ) -> None:
        first = members[0]
        self.end, self.placement, self.teacher = end, placement, teacher
        contexts = [member.context_length for member in members]
        contexts += [] if teacher is None else [teacher.forecaster.context_length]
        self.identities: Identities = identities_of(panel)
        self.source = WindowSource(
            panel,
            self.identities.of(panel),
            context_length=max(contexts),
            horizon=first.horizon,
            known=first.known,
            past=first.past,
            cleaning=first.cleaning,
            cleaned=cleaned,
        )
        self.sampler = training_windows(panel, horizon=first.horizon, end=end)
        self.rng = np.random.default_rng(first.seed)
        self.batch_size, self.noise = first.batch_size, first.noise
        self.fits = [self._fresh(member) for member in members]
        statistics = self.fits[0].network.statistics
        fit_statistics(statistics, self.source, self.sampler, end=end, rng=np.random.default_rng(0))
        for fit in self.fits:
            for network in (fit.network, fit.averaged):
                network.statistics.load_state_dict(statistics.state_dict())

    def _fresh(self, config: ResolvedConfig) -> Fit:
        """Made on the CPU whatever the device is: a seed means the same start everywhere."""
        torch.manual_seed(config.seed)
        network = Network(config, sizes=self.identities.sizes).to(self.placement.device)
        schedule = Schedule(config.learning_rate, config.epochs * STEPS_PER_EPOCH)
        return Fit(network, schedule, placement=self.placement)

    def step(self, fits: list[Fit]) -> float:
        """One step of some of the networks, all on the same windows; their mean loss."""
        rng = self.rng if self.teacher is None else self.teacher.batch()
        series_B, cutoff_B = self.sampler.draw(self.batch_size, rng)
        windows = shorten_some(self.source.windows(series_B, cutoff_B), rng, noise=self.noise)
        target_BH = self.source.targets(series_B, cutoff_B, end=self.end)
        horizon = target_BH.shape[1]
        count = max(min(horizon, 7), round(DAYS_SHARE * horizon))
        days = torch.from_numpy(np.sort(self.rng.choice(horizon, count, replace=False)))
        keys = self.source.panel.keys
        lesson = None if self.teacher is None else self.teacher.lesson(windows)
        read = examples_by_context((fit.network for fit in fits), windows, target_BH)
        read = {length: examples.taught(lesson).days(days) for length, examples in read.items()}
        losses = [fit.step(read[fit.network.config.context_length], lambda i: keys[series_B[i]]) for fit in fits]
        return float(np.mean(losses))

    def examples(self, series_B: Index, cutoff_B: Index) -> dict[int, list[Examples]]:
        """These windows for every length of context among the networks, in parts, to be judged on again and again."""
        found: dict[int, list[Examples]] = {fit.network.config.context_length: [] for fit in self.fits}
        for first in range(0, len(series_B), 1024):
            part = slice(first, first + 1024)
            windows = self.source.windows(series_B[part], cutoff_B[part])
            target_BH = self.source.targets(series_B[part], cutoff_B[part])
            read = examples_by_context((fit.network for fit in self.fits), windows, target_BH)
            for length, examples in read.items():
                found[length].append(examples)
        return found


def training_windows(panel: Panel, *, horizon: int, end: int) -> WindowSampler:
    """The windows that end before the day index `end`. Raises NotEnoughHistory where there is none."""
    sampler = WindowSampler(panel.quantity_ST, horizon=horizon, end=end)
    if not len(sampler):
        split = panel.start + np.timedelta64(end, "D")
        raise NotEnoughHistory(
            f"No series has 14 days of history followed by a horizon of {horizon} days from {panel.start}, the first "
            f"day there is, to {split}, the split; the one that lacks the fewest lacks {sampler.missing}. More days or a "
            "shorter horizon are needed. If that first day is a mistake, delete its sales."
        )
    return sampler


@dataclass
class Fitted:
    """A network of the twin, and what it was at its best number of steps so far."""

    fit: Fit
    best: Network = field(init=False)
    loss: float = float("inf")
    steps: int = 0

    def __post_init__(self) -> None:
        self.best = self.fit.averaged

    def judge(self, examples: list[Examples], key_of: KeyOf) -> float:
        """Its loss on windows held out; the network is kept when there is none better. Raises NonFiniteLoss."""
        loss = validation_loss(self.fit.averaged, examples, key_of)
        if loss < self.loss:
            self.best, self.loss, self.steps = copy.deepcopy(self.fit.averaged), loss, self.fit.steps
        return loss

    def learning(self) -> bool:
        return self.fit.steps - self.steps < self.fit.network.config.patience * STEPS_PER_EPOCH

    def cut_short(self) -> bool:
        """Whether it was ended neither by the days held out nor by its number of epochs."""
        return self.learning() and self.fit.steps < self.fit.schedule.total_steps

    def member(self) -> Member:
        return Member(self.fit.network.config, self.best)


def fit_twins(course: Course, pairs: tuple[Index, Index], part: Part) -> list[Fitted]:
    """The networks of the days before the split, each stopped when the days held out no longer gain, or time is short."""
    held_out = course.examples(*pairs)
    keys: list[tuple[str, str]] = course.source.panel.keys

    def key_of(window: int) -> tuple[str, str]:
        return keys[int(pairs[0][window])]

    fitted = [Fitted(fit) for fit in course.fits]
    epochs = course.fits[0].network.config.epochs
    for epoch in range(epochs):
        learning = [one for one in fitted if one.learning()]
        if not learning or (epoch and part.over(TWIN_SHARE * epoch / (epoch + 1))):
            break
        losses = []
        for step in range(STEPS_PER_EPOCH):
            part.check((epoch + step / STEPS_PER_EPOCH) / epochs)
            losses.append(course.step([one.fit for one in learning]))
        judged = [one.judge(held_out[one.fit.network.config.context_length], key_of) for one in learning]
        part.end_epoch(float(np.mean(losses)), float(np.mean(judged)), (epoch + 1) / epochs)
    return fitted


def refit(course: Course, steps: list[int], part: Part) -> list[Network]:
    """The same networks from the same seeds on all days, each for as many steps as were best for the twin."""
    for step in range(max(steps)):
        part.check(step / max(steps))
        course.step([fit for fit, last in zip(course.fits, steps, strict=True) if step < last])
    return [fit.averaged for fit in course.fits]


def validation_loss(network: Network, examples: list[Examples], key_of: KeyOf) -> float:
    """The weighted loss on fixed windows, without dropout. Raises NonFiniteLoss, which names series by `key_of`."""
    network.eval()
    total, weight, losses = 0.0, 0.0, []
    with torch.inference_mode():
        for part in examples:
            output = network.decode(part.features, part.identity_BA)
            loss_B, weight_B = losses_of(output, network, part)
            losses.append(loss_B)
            total += float((loss_B * weight_B).sum())
            weight += float(weight_B.sum())
    refuse_non_finite(torch.cat(losses), key_of)
    return total / max(weight, 1e-9)


def _set_residuals(twin: Forecaster, source: WindowSource, pairs: tuple[Index, Index]) -> None:
    for member in twin.members:
        if member.config.loss != "pinball":
            set_residuals(member, source, *pairs)


def unadjusted(panel: Panel, members: list[Member], identities: Identities, *, until: int) -> Forecaster:
    """A forecaster of networks that learned up to the day index `until`, all of one weight, nothing learned from validation."""
    day = panel.start + np.timedelta64(until, "D")
    horizon = members[0].config.horizon
    return Forecaster(members, identities, day, equal_members(len(members)), usual_dependence(horizon))
