"""Training: a panel and a configuration in, a forecaster with its metrics out.

The first 80 % of days train a twin, the last 20 % (at least one horizon) judge it and say how many steps were best;
then a network of the same seed is refitted on all days for that many steps. All metrics are the twin's, since the
refitted one has seen the days held out. Windows end before the split, targets included.

Shapes: B windows, H horizon, S series, Q quantile levels, N rows of dependence.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from models.adjustment import combine, equal_members, finish, learn
from models.cleaning import Cleaned, Findings, clean, nothing_found
from models.dependence import dependence_rows, usual_dependence
from models.fitting import Fit, Schedule, fit_statistics, window_losses
from models.forecaster import Forecaster, Member
from models.heldout import HeldOut, NotEnoughHistory, hold_out, judge
from models.identities import identities_of
from models.inference import predict_members
from models.networks.network import Network
from models.panel import Floats, Panel
from models.quantiles import empirical_quantiles
from models.sampling import WindowSampler, shorten_some
from models.training_config import LEVELS, STEPS_PER_EPOCH, ResolvedConfig, TrainingConfig
from models.windows import MEMORY, Index, WindowSource, take_days

VALIDATION_WINDOWS = 2048
MOST_VALIDATION_DAYS = 60_000
REPORT_SECONDS = 0.5


class TimeLimitReached(RuntimeError):
    """The training had not ended after `max_seconds`."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands; `fraction` (0 … 1) never goes back. `eta_seconds` is None until it can be told."""

    fraction: float
    epoch: int
    epochs: int
    loss: float | None
    validation: float | None
    eta_seconds: float | None
    stage: str


Report = Callable[[Progress], None]


@dataclass
class Trained:
    """What a training or an update made. `metrics` are the twin's, beside the baselines', on the same windows."""

    forecaster: Forecaster
    metrics: dict[str, Any]
    steps: int
    history: list[dict[str, float]]
    seconds: float
    findings: Findings


def train(panel: Panel, config: TrainingConfig, *, report: Report = lambda progress: None) -> Trained:
    """Train one forecaster, of one network or of several, on all series of the panel.

    `report` is called about twice a second and after every epoch; an exception it raises ends the training.
    Raises ConfigError, NotEnoughHistory, NonFiniteLoss (all ValueErrors with a sentence) or TimeLimitReached.
    """
    members = config.members()
    horizon = members[0].horizon
    held_out = hold_out(panel, horizon=horizon)
    training_windows(panel, horizon=horizon, end=held_out.split)
    cleaned = cleaned_for(members[0], panel)
    clock = Clock(config.max_seconds, sum(member.epochs for member in members), report)
    pairs = validation_pairs(panel, held_out, horizon, np.random.default_rng(config.seed + 1))
    with torch.random.fork_rng(devices=[]):
        fitted = [
            fit_twin(
                panel, member, held_out, pairs=pairs, cleaned=cleaned, part=clock.part("training", 0.6, i, len(members))
            )
            for i, member in enumerate(members)
        ]
        twin = _forecaster(panel, [one.member for one in fitted], until=held_out.split - 1)
        learn_from_validation(twin, panel, *pairs)
        clock.tell("judging", 0.6)
        metrics = judge(twin, panel, held_out.cutoffs)
        refitted = [
            _refit(panel, one, cleaned, clock.part("refitting", 0.35, i, len(members), begin=0.65))
            for i, one in enumerate(fitted)
        ]
    forecaster = _forecaster(panel, refitted, until=panel.days - 1)
    forecaster.adjustment, forecaster.dependence_NH, forecaster.twin = twin.adjustment, twin.dependence_NH, twin
    clock.tell("done", 1.0)
    findings = nothing_found() if cleaned is None else cleaned.findings
    history = [epoch for one in fitted for epoch in one.history]
    return Trained(forecaster, metrics, sum(one.steps for one in fitted), history, clock.seconds(), findings)


def cleaned_for(config: ResolvedConfig, panel: Panel) -> Cleaned | None:
    """The panel cleaned as the configuration asks, by the covariates that its network knows; None without cleaning.

    One cleaning serves the twin and the refit: no day is judged by a later one.
    """
    if config.cleaning == "none":
        return None
    return clean(panel, config.cleaning, covariates=(*config.known, *config.past))


class Clock:
    """Tells progress at most twice a second, and raises when the time is over."""

    def __init__(self, max_seconds: float, epochs: int, report: Report) -> None:
        self.started = self.told = time.monotonic()
        self.limit, self.epochs, self.report = max_seconds, epochs, report
        self.epoch = 0
        self.loss: float | None = None
        self.validation: float | None = None

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def part(self, stage: str, share: float, number: int, count: int, *, begin: float = 0.0) -> "Part":
        """One of `count` equal parts of a stage that takes `share` of the whole."""
        width = share / count
        return Part(self, stage, begin + number * width, width)

    def check(self, stage: str, fraction: float) -> None:
        """Between two steps: raises TimeLimitReached, tells progress when it is time to."""
        if self.seconds() > self.limit:
            raise TimeLimitReached(
                f"The training was stopped after its limit of {self.limit:.0f} s, {fraction:.0%} done."
            )
        if time.monotonic() - self.told >= REPORT_SECONDS:
            self.tell(stage, fraction)

    def tell(self, stage: str, fraction: float) -> None:
        self.told = time.monotonic()
        left = self.seconds() * (1 - fraction) / fraction if fraction > 0.01 else None
        self.report(Progress(fraction, self.epoch, self.epochs, self.loss, self.validation, left, stage))


@dataclass(frozen=True)
class Part:
    """One network's stretch of a training's progress."""

    clock: Clock
    stage: str
    begin: float
    width: float

    def check(self, done: float) -> None:
        self.clock.check(self.stage, self.begin + self.width * done)

    def end_epoch(self, loss: float, validation: float, done: float) -> dict[str, float]:
        """Count an epoch, over all networks, and tell of it."""
        clock = self.clock
        clock.epoch, clock.loss, clock.validation = clock.epoch + 1, loss, validation
        clock.tell(self.stage, self.begin + self.width * done)
        return {"epoch": clock.epoch, "loss": loss, "validation": validation}


@dataclass(frozen=True)
class _Fitted:
    """A member of the twin at its best number of steps."""

    member: Member
    steps: int
    history: list[dict[str, float]]


def fit_twin(
    panel: Panel,
    config: ResolvedConfig,
    held_out: HeldOut,
    *,
    pairs: tuple[Index, Index],
    cleaned: Cleaned | None,
    part: "Part",
) -> _Fitted:
    """The network of the first 80 % of days, stopped when the days held out no longer gain."""
    rng = np.random.default_rng(config.seed)
    network, source, sampler = prepare(panel, config, end=held_out.split, cleaned=cleaned)
    fit = Fit(network, Schedule(config.learning_rate, config.epochs * STEPS_PER_EPOCH))
    best, best_loss, best_steps = fit.averaged, float("inf"), 0
    history: list[dict[str, float]] = []
    for _ in range(config.epochs):
        losses = []
        for _ in range(STEPS_PER_EPOCH):
            part.check(fit.steps / fit.schedule.total_steps)
            losses.append(train_step(fit, source, sampler, config, rng, end=held_out.split))
        loss, validation = float(np.mean(losses)), validation_loss(fit.averaged, source, *pairs)
        history.append(part.end_epoch(loss, validation, fit.steps / fit.schedule.total_steps))
        if validation < best_loss:
            best, best_loss, best_steps = copy.deepcopy(fit.averaged), validation, fit.steps
        elif fit.steps - best_steps >= config.patience * STEPS_PER_EPOCH:
            break
    member = Member(config, best)
    if config.loss != "pinball":
        set_residuals(member, source, *pairs)
    return _Fitted(member, best_steps, history)


def _refit(panel: Panel, twin: _Fitted, cleaned: Cleaned | None, part: "Part") -> Member:
    """The same network from the same seed on all days, for the number of steps that was best for the twin."""
    config = twin.member.config
    rng = np.random.default_rng(config.seed)
    network, source, sampler = prepare(panel, config, end=panel.days, cleaned=cleaned)
    fit = Fit(network, Schedule(config.learning_rate, config.epochs * STEPS_PER_EPOCH))
    for step in range(twin.steps):
        part.check(step / twin.steps)
        train_step(fit, source, sampler, config, rng, end=panel.days)
    return replace(twin.member, network=fit.averaged)


def prepare(
    panel: Panel, config: ResolvedConfig, *, end: int, cleaned: Cleaned | None = None
) -> tuple[Network, WindowSource, WindowSampler]:
    """A fresh seeded network whose constants are fitted on days before `end`, and its windows."""
    torch.manual_seed(config.seed)
    identities = identities_of(panel)
    network = Network(config, sizes=identities.sizes)
    source = WindowSource(
        panel,
        identities.of(panel),
        context_length=config.context_length,
        horizon=config.horizon,
        known=config.known,
        past=config.past,
        cleaning=config.cleaning,
        cleaned=cleaned,
    )
    sampler = training_windows(panel, horizon=config.horizon, end=end)
    fit_statistics(network.statistics, source, sampler, end=end, rng=np.random.default_rng(0))
    return network, source, sampler


def training_windows(panel: Panel, *, horizon: int, end: int) -> WindowSampler:
    """The windows that end before the day index `end`. Raises NotEnoughHistory where there is none."""
    sampler = WindowSampler(panel.quantity_ST, horizon=horizon, end=end)
    if not len(sampler):
        split = panel.start + np.timedelta64(end, "D")
        raise NotEnoughHistory(
            f"No series has 14 days of history followed by a horizon of {horizon} days from {panel.start}, the first "
            f"day there is, to {split}, the split; more days or a shorter horizon are needed. If that first day is a "
            "mistake, delete its sales."
        )
    return sampler


def train_step(
    fit: Fit,
    source: WindowSource,
    sampler: WindowSampler,
    config: ResolvedConfig,
    rng: np.random.Generator,
    *,
    end: int,
) -> float:
    """Draw a batch of windows that end before `end`, and take one step on it."""
    series_B, cutoff_B = sampler.draw(config.batch_size, rng)
    windows = shorten_some(source.windows(series_B, cutoff_B), rng, noise=config.noise)
    keys = source.panel.keys
    target_BH = source.targets(series_B, cutoff_B, end=end)
    return fit.step(windows, target_BH, lambda i: keys[series_B[i]])


def validation_pairs(panel: Panel, held_out: HeldOut, horizon: int, rng: np.random.Generator) -> tuple[Index, Index]:
    """Up to VALIDATION_WINDOWS (series, cutoff) pairs over all days held out, drawn once."""
    oldest, newest = held_out.split - 1, max(held_out.split - 1, held_out.cutoffs[-1])
    seen_ST = np.isfinite(panel.quantity_ST)
    alive_S = seen_ST[:, : held_out.split].any(axis=1) & seen_ST[:, held_out.split :].any(axis=1)
    usable = np.flatnonzero(alive_S)
    if not usable.size:
        raise NotEnoughHistory("No series has days on both sides of the validation split.")
    days = newest - oldest + 1
    count = min(VALIDATION_WINDOWS, max(MOST_VALIDATION_DAYS // horizon, 1), len(usable) * days)
    picked = rng.choice(len(usable) * days, count, replace=False)
    return usable[picked // days].astype(np.int64), (oldest + picked % days).astype(np.int64)


def validation_loss(network: Network, source: WindowSource, series_B: Index, cutoff_B: Index) -> float:
    """The weighted loss on fixed windows, without dropout."""
    network.eval()
    total, weight = 0.0, 0.0
    with torch.inference_mode():
        for first in range(0, len(series_B), 1024):
            part = slice(first, first + 1024)
            windows = source.windows(series_B[part], cutoff_B[part])
            loss_B, weight_B = window_losses(network, windows, source.targets(series_B[part], cutoff_B[part]))
            total += float((loss_B * weight_B).sum())
            weight += float(weight_B.sum())
    return total / max(weight, 1e-9)


def _forecaster(panel: Panel, members: list[Member], *, until: int) -> Forecaster:
    day = panel.start + np.timedelta64(until, "D")
    horizon = members[0].config.horizon
    return Forecaster(members, identities_of(panel), day, equal_members(len(members)), usual_dependence(horizon))


def learn_from_validation(forecaster: Forecaster, panel: Panel, series_B: Index, cutoff_B: Index) -> None:
    """How members become one forecast, and how days go together, from windows that no member was trained on."""
    source = forecaster.source(panel)
    mixture = predict_members(forecaster, source, series_B, cutoff_B)
    y_BH = source.targets(series_B, cutoff_B).numpy()
    forecaster.adjustment = learn(mixture, y_BH, _units_weights(source, series_B, cutoff_B))
    _, quantiles_BHQ = combine(mixture, forecaster.adjustment)
    finished_BHQ = finish(quantiles_BHQ, mixture.memory_BM, forecaster.adjustment)
    rng = np.random.default_rng(forecaster.config.seed)
    forecaster.dependence_NH = dependence_rows(y_BH, finished_BHQ, forecaster.levels, rng)


def _units_weights(source: WindowSource, series_B: Index, cutoff_B: Index) -> Floats:
    """What turns a loss in units into one between SQL and WQL: 1 over the root of the seasonal-naive error."""
    memory_BM = take_days(source.quantity_ST, series_B, cutoff_B - MEMORY + 1, MEMORY)
    error_BM = np.abs(memory_BM[:, 7:] - memory_BM[:, :-7])
    seen_B = np.isfinite(error_BM).sum(axis=1)
    error_B = np.nansum(error_BM, axis=1) / np.maximum(seen_B, 1)
    usual = max(float(error_B.mean()), 1e-6)
    weight_B: Floats = ((np.maximum(error_B, 0.05 * usual) / usual) ** -0.5).astype(np.float32)
    return weight_B


def set_residuals(member: Member, source: WindowSource, series_B: Index, cutoff_B: Index) -> None:
    """Quantiles and mean of (sales - point) / scale for each day ahead; a day never observed takes those of all."""
    member.network.eval()
    with torch.inference_mode():
        output = member.network(source.windows(series_B, cutoff_B))
    scale_B1 = output.scale_B.numpy()[:, None]
    residual_BH = source.targets(series_B, cutoff_B).numpy() / scale_B1 - output.mean_BH.numpy()
    by_day_HQ = empirical_quantiles(residual_BH.T.copy(), LEVELS)
    overall_Q = empirical_quantiles(residual_BH.reshape(1, -1), LEVELS)[0]
    member.residuals_HQ = np.where(np.isnan(by_day_HQ), overall_Q, by_day_HQ)
    count_H = np.isfinite(residual_BH).sum(axis=0)
    mean_H = np.nansum(residual_BH, axis=0) / np.maximum(count_H, 1)
    member.residual_mean_H = np.where(count_H > 0, mean_H, np.nanmean(residual_BH)).astype(np.float32)
