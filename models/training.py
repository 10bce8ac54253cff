"""Training: a panel and a configuration in, a forecaster with its metrics out.

The first 80 % of days train a twin, the last 20 % (at least one horizon) judge it and say how many steps were best;
then a network of the same seed is refitted on all days for that many steps. All metrics are the twin's, since the
refitted one has seen the days held out. Windows end before the split, targets included.

Shapes: B windows, H horizon, S series, Q quantile levels, N rows of dependence.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.cleaning import Cleaned, Findings, clean, nothing_found
from models.dependence import dependence_rows, usual_dependence
from models.fitting import Fit, Schedule, fit_statistics, window_losses
from models.heldout import HeldOut, NotEnoughHistory, hold_out, judge
from models.inference import predict_windows
from models.networks.forecaster import EMBEDDING_DROP, Forecaster, Network
from models.panel import Panel
from models.quantiles import empirical_quantiles
from models.sampling import WindowSampler, shorten_some
from models.training_config import LEVELS, STEPS_PER_EPOCH, ResolvedConfig, TrainingConfig
from models.windows import Index, WindowSource

VALIDATION_WINDOWS = 2048
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
    """Train one forecaster on all series of the panel.

    `report` is called about twice a second and after every epoch; an exception it raises ends the training.
    Raises ConfigError, NotEnoughHistory, NonFiniteLoss (all ValueErrors with a sentence) or TimeLimitReached.
    """
    resolved = config.resolved()
    held_out = hold_out(panel, horizon=resolved.horizon)
    clock = Clock(resolved.max_seconds, resolved.epochs, report)
    cleaned = cleaned_for(resolved, panel)
    with torch.random.fork_rng(devices=[]):
        twin, steps, history = _train_twin(panel, resolved, held_out, clock, cleaned=cleaned)
        clock.tell("judging", 0.6)
        metrics = judge(twin, panel, held_out.cutoffs)
        forecaster = _refit(panel, resolved, twin, steps, clock, cleaned=cleaned)
    clock.tell("done", 1.0)
    findings = nothing_found() if cleaned is None else cleaned.findings
    return Trained(forecaster, metrics, steps, history, clock.seconds(), findings)


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


def _train_twin(
    panel: Panel, config: ResolvedConfig, held_out: HeldOut, clock: Clock, *, cleaned: Cleaned | None
) -> tuple[Forecaster, int, list[dict[str, float]]]:
    """The network of the first 80 % of days, at its best number of steps, with what validation taught about it."""
    rng = np.random.default_rng(config.seed)
    network, source, sampler = prepare(panel, config, end=held_out.split, cleaned=cleaned)
    fit = Fit(network, Schedule(config.learning_rate, config.epochs * STEPS_PER_EPOCH))
    pairs = _validation_pairs(panel, held_out, config.horizon, np.random.default_rng(config.seed + 1))
    best, best_loss, best_steps = fit.averaged, float("inf"), 0
    history: list[dict[str, float]] = []
    for epoch in range(1, config.epochs + 1):
        losses = []
        for _ in range(STEPS_PER_EPOCH):
            clock.check("training", 0.6 * fit.steps / fit.schedule.total_steps)
            losses.append(train_step(fit, source, sampler, config, rng, end=held_out.split))
        clock.epoch, clock.loss = epoch, float(np.mean(losses))
        clock.validation = validation_loss(fit.averaged, source, *pairs)
        history.append({"epoch": epoch, "loss": clock.loss, "validation": clock.validation})
        clock.tell("training", 0.6 * fit.steps / fit.schedule.total_steps)
        if clock.validation < best_loss:
            best, best_loss, best_steps = copy.deepcopy(fit.averaged), clock.validation, fit.steps
        elif fit.steps - best_steps >= config.patience * STEPS_PER_EPOCH:
            break
    twin = _forecaster(panel, config, best, until=held_out.split - 1)
    _learn_from_validation(twin, source, *pairs)
    return twin, best_steps, history


def _refit(
    panel: Panel, config: ResolvedConfig, twin: Forecaster, steps: int, clock: Clock, *, cleaned: Cleaned | None
) -> Forecaster:
    """The same network from the same seed on all days, for the number of steps that was best for the twin."""
    rng = np.random.default_rng(config.seed)
    network, source, sampler = prepare(panel, config, end=panel.days, cleaned=cleaned)
    fit = Fit(network, Schedule(config.learning_rate, config.epochs * STEPS_PER_EPOCH))
    for step in range(steps):
        clock.check("refitting", 0.65 + 0.35 * step / steps)
        train_step(fit, source, sampler, config, rng, end=panel.days)
    forecaster = _forecaster(panel, config, fit.averaged, until=panel.days - 1)
    forecaster.dependence_NH = twin.dependence_NH
    forecaster.residuals_HQ, forecaster.residual_mean_H = twin.residuals_HQ, twin.residual_mean_H
    forecaster.twin = twin
    return forecaster


def prepare(
    panel: Panel, config: ResolvedConfig, *, end: int, cleaned: Cleaned | None = None
) -> tuple[Network, WindowSource, WindowSampler]:
    """A fresh seeded network whose constants are fitted on days before `end`, and its windows."""
    torch.manual_seed(config.seed)
    network = Network(config, series=panel.series)
    source = WindowSource(
        panel,
        np.arange(1, panel.series + 1, dtype=np.int64),
        context_length=config.context_length,
        horizon=config.horizon,
        known=config.known,
        past=config.past,
        cleaning=config.cleaning,
        cleaned=cleaned,
    )
    sampler = WindowSampler(source.quantity_ST, horizon=config.horizon, end=end)
    if not len(sampler):
        split = panel.start + np.timedelta64(end, "D")
        raise NotEnoughHistory(
            f"No series has 14 days of history followed by a horizon of {config.horizon} days from {panel.start}, the first "
            f"day there is, to {split}, the split; more days or a shorter horizon are needed. If that first day is a "
            "mistake, delete its sales."
        )
    fit_statistics(network.statistics, source, sampler, end=end, rng=np.random.default_rng(config.seed))
    return network, source, sampler


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
    windows = shorten_some(source.windows(series_B, cutoff_B), rng, unknown_share=EMBEDDING_DROP)
    keys = source.panel.keys
    target_BH = source.targets(series_B, cutoff_B, end=end)
    return fit.step(windows, target_BH, lambda i: keys[series_B[i]])


def _validation_pairs(panel: Panel, held_out: HeldOut, horizon: int, rng: np.random.Generator) -> tuple[Index, Index]:
    """Up to VALIDATION_WINDOWS (series, cutoff) pairs over all days held out, drawn once."""
    oldest, newest = held_out.split - 1, max(held_out.split - 1, held_out.cutoffs[-1])
    seen_ST = np.isfinite(panel.quantity_ST)
    alive_S = seen_ST[:, : held_out.split].any(axis=1) & seen_ST[:, held_out.split :].any(axis=1)
    usable = np.flatnonzero(alive_S)
    if not usable.size:
        raise NotEnoughHistory("No series has days on both sides of the validation split.")
    days = newest - oldest + 1
    count = min(VALIDATION_WINDOWS, len(usable) * days)
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


def _forecaster(panel: Panel, config: ResolvedConfig, network: Network, *, until: int) -> Forecaster:
    day = panel.start + np.timedelta64(until, "D")
    return Forecaster(config, network, panel.keys, day, usual_dependence(config.horizon))


def _learn_from_validation(forecaster: Forecaster, source: WindowSource, series_B: Index, cutoff_B: Index) -> None:
    """Residuals of a point head, and how days go together, from windows the network was not trained on."""
    rng = np.random.default_rng(forecaster.config.seed)
    target_BH = source.targets(series_B, cutoff_B).numpy()
    if forecaster.config.loss != "pinball":
        set_residuals(forecaster, source, series_B, cutoff_B)
    forecast = predict_windows(forecaster, source, series_B, cutoff_B)
    forecaster.dependence_NH = dependence_rows(target_BH, forecast.quantiles_SHQ, forecaster.levels, rng)


def set_residuals(forecaster: Forecaster, source: WindowSource, series_B: Index, cutoff_B: Index) -> None:
    """Quantiles and mean of (sales - point) / scale for each day ahead; a day never observed takes those of all."""
    forecaster.network.eval()
    with torch.inference_mode():
        output = forecaster.network(source.windows(series_B, cutoff_B))
    scale_B1 = output.scale_B.numpy()[:, None]
    residual_BH = source.targets(series_B, cutoff_B).numpy() / scale_B1 - output.mean_BH.numpy()
    by_day_HQ = empirical_quantiles(residual_BH.T.copy(), LEVELS)
    overall_Q = empirical_quantiles(residual_BH.reshape(1, -1), LEVELS)[0]
    forecaster.residuals_HQ = np.where(np.isnan(by_day_HQ), overall_Q, by_day_HQ)
    count_H = np.isfinite(residual_BH).sum(axis=0)
    mean_H = np.nansum(residual_BH, axis=0) / np.maximum(count_H, 1)
    forecaster.residual_mean_H = np.where(count_H > 0, mean_H, np.nanmean(residual_BH)).astype(np.float32)
