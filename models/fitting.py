"""One network and its optimiser: the steps of training, and the constants its features are fitted with.

Used by training (from scratch, twin and refit) and by online updates (from where the weights stand). Everything
random comes from the seed: weights and dropout through a forked torch generator, windows through NumPy's.

Shapes: B windows, H horizon, Q quantile levels.
"""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models import losses
from models.covariates import FeatureStatistics
from models.features import Features, compute_features
from models.networks.network import Network, Output
from models.optimiser import AdamW
from models.panel import Floats
from models.placement import CPU, Placement, compiled
from models.sampling import WindowSampler
from models.windows import Windows, WindowSource, sells_whole_units

EMA_DECAY = 0.97
GRADIENT_NORM = 1.0
MEAN_WEIGHT = 0.1
"""Weight of the mean's loss beside the pinball loss."""
LESSON_SHARE = 0.5
"""Of a student's loss: what it is apart from its teacher, against what it is apart from the sales."""
FULL_SEASONS = 700
"""Days of history from which on the day of the year is a feature: with one year it is only a name for the days seen."""
MOST_FITTED_SERIES = 4000
"""Series whose covariates say what is usual: of more, every second, third, … one, since the logarithms of all need memory."""
LEAST_SHARE = 0.1
"""An amount compared by its logarithm counts as at least this share of the least ever seen: a price of zero has no logarithm."""
LEAST_OWN_SPREAD = 0.02
"""A series departs from its own usual value by at least this share of what all series differ: noise is no news."""
LARGEST_TARGET = 100.0
"""A day of more than so many times the usual is learned as that many: an absurd row must not rule a step."""


class NonFiniteLoss(ValueError):
    """The loss was NaN or infinite; the message names the series of the windows where it was."""


KeyOf = Callable[[int], tuple[str, str]]
Decode = Callable[[Features, Tensor], Output]


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the steps: a linear warm-up, then a cosine down to a tenth at `total_steps`."""

    learning_rate: float
    total_steps: int
    warmup_steps: int = 20

    def at(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.warmup_steps)
        share = min(1.0, step / max(self.total_steps, 1))
        return self.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * share))


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of the same windows and days, in units sold."""

    mean_BH: Tensor
    quantiles_BHQ: Tensor

    def to(self, device: torch.device) -> "Lesson":
        return Lesson(self.mean_BH.to(device), self.quantiles_BHQ.to(device))

    def days(self, picked: Tensor) -> "Lesson":
        return Lesson(self.mean_BH[:, picked], self.quantiles_BHQ[:, picked])


@dataclass(frozen=True)
class Examples:
    """Windows as a network reads them, with their targets (NaN where missing); `unit_B` is 1 where only whole units are sold.

    With a `lesson` a step learns from a teacher as well as from the targets (Hinton et al. 2015, arXiv 1503.02531).
    """

    features: Features
    identity_BA: Tensor
    target_BH: Tensor
    unit_B: Tensor
    lesson: Lesson | None = None

    def taught(self, lesson: Lesson | None) -> "Examples":
        """The same with what a teacher says of them, brought to where they are."""
        return replace(self, lesson=None if lesson is None else lesson.to(self.target_BH.device))

    def days(self, picked: Tensor) -> "Examples":
        """Some of the days ahead only: the decoder answers each by itself."""
        picked = picked.to(self.target_BH.device)
        lesson = None if self.lesson is None else self.lesson.days(picked)
        return replace(self, features=self.features.days(picked), target_BH=self.target_BH[:, picked], lesson=lesson)


def examples_of(windows: Windows, target_BH: Tensor, statistics: FeatureStatistics, context_length: int) -> Examples:
    """What a network with a context of so many days reads in these windows, and is to say of them.

    Windows and targets come from the CPU and move to the device of the statistics here.
    """
    device = statistics.annual.device
    unit_B, windows = _unit(windows.quantity_BM, target_BH).to(device), windows.to(device)
    features = compute_features(windows, statistics, context_length=context_length)
    return Examples(features, windows.identity_BA, target_BH.to(device), unit_B)


def examples_by_context(networks: Iterable[Network], windows: Windows, target_BH: Tensor) -> dict[int, Examples]:
    """The same for each length of context among networks that learn together: they share their features' constants."""
    statistics = {network.config.context_length: network.statistics for network in networks}
    return {length: examples_of(windows, target_BH, constants, length) for length, constants in statistics.items()}


class Fit:
    """A network while it learns. `averaged` is the exponential moving average of its weights: the one to keep.

    From scratch the average forgets the random start quickly; with `keep_start` it moves away from it slowly. The network
    stands on the placement's device already.
    """

    def __init__(
        self,
        network: Network,
        schedule: Schedule,
        *,
        decay: float = EMA_DECAY,
        keep_start: bool = False,
        placement: Placement = CPU,
    ) -> None:
        self.network, self.placement = network, placement
        self.decode: Decode = network.decode
        if network.config.architecture != "lstm":  # torch.compile leaves recurrent layers as they are
            self.decode = compiled(network.decode, placement, steps=schedule.total_steps)
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        self.schedule, self.decay, self.keep_start = schedule, decay, keep_start
        self.steps = 0
        self.optimiser = AdamW(_groups(network), betas=(0.9, 0.98))

    def step(self, examples: Examples, key_of: KeyOf, *, by_maturity: bool = False) -> float:
        """One optimiser step on a batch; returns its loss. Raises NonFiniteLoss, and then changes nothing.

        `key_of` gives the series of a window of the batch, to name it.
        """
        self.network.train()
        with torch.autocast(self.placement.device.type, torch.bfloat16, enabled=self.placement.mixed):
            output = self.decode(examples.features, examples.identity_BA)
        loss_B, weight_B = losses_of(output, self.network, examples, by_maturity=by_maturity)
        refuse_non_finite(loss_B, key_of)
        loss = (loss_B * weight_B).sum() / weight_B.sum().clamp(min=1e-9)
        self.optimiser.forget_gradients()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM, foreach=True)
        self.optimiser.step(self.schedule.at(self.steps))
        self.steps += 1
        self._average()
        return float(loss.detach())

    def _average(self) -> None:
        ramp = 1.0 if self.keep_start else (1 + self.steps) / (10 + self.steps)
        averaged: list[Tensor] = list(self.averaged.parameters())
        current: list[Tensor] = list(self.network.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averaged, current, 1.0 - min(self.decay, ramp))


def losses_of(
    output: Output, network: Network, examples: Examples, *, by_maturity: bool = False
) -> tuple[Tensor, Tensor]:
    """The loss of each window in scaled units, and its weight: its series' times the share of its days observed."""
    scaled_BH = (examples.target_BH / output.scale_B[:, None]).clamp(max=LARGEST_TARGET)
    weight_BH = losses.day_weights(examples.target_BH, by_maturity=by_maturity)
    weight_B = losses.window_weights(output.error_B, network.statistics.error_mean, output.scale_B)
    loss_B = _loss(network, scaled_BH, output, weight_BH, examples.unit_B / output.scale_B)
    if examples.lesson is not None:
        loss_B = (1 - LESSON_SHARE) * loss_B + LESSON_SHARE * _apart(output, examples.lesson)
    return loss_B, weight_B * weight_BH.mean(dim=1)


def _unit(memory_BM: Tensor, target_BH: Tensor) -> Tensor:
    """1 for a window in which only whole units are sold, else 0."""
    return torch.from_numpy(sells_whole_units(torch.cat([memory_BM, target_BH], dim=1).numpy())).float()


def _loss(network: Network, scaled_BH: Tensor, output: Output, weight_BH: Tensor, unit_B: Tensor) -> Tensor:
    """The configured loss of each window. The pinball loss carries the mean's along."""
    if network.config.loss == "mse":
        return losses.mse(scaled_BH, output.mean_BH, weight_BH)
    if network.config.loss == "mae":
        return losses.mae(scaled_BH, output.mean_BH, weight_BH)
    assert output.quantiles_BHQ is not None
    quantile_B = losses.pinball(scaled_BH, output.quantiles_BHQ, network.levels_Q, weight_BH, unit_B)
    scale_B1 = output.scale_B[:, None]
    counts_B = losses.negative_binomial(
        scaled_BH * scale_B1, output.mean_BH * scale_B1, output.dispersion_BH, weight_BH
    )
    return quantile_B + MEAN_WEIGHT * counts_B


def _apart(output: Output, lesson: Lesson) -> Tensor:
    """How far a student is from its teacher on each window, in scaled units: in quantiles, and a little in the mean."""
    assert output.quantiles_BHQ is not None
    scale_B1 = output.scale_B[:, None]
    quantile_BH = (output.quantiles_BHQ - lesson.quantiles_BHQ / scale_B1[..., None]).abs().mean(dim=-1)
    mean_BH = (output.mean_BH - lesson.mean_BH / scale_B1).abs()
    return (quantile_BH + MEAN_WEIGHT * mean_BH).clamp(max=LARGEST_TARGET).mean(dim=1)


def fit_statistics(
    statistics: FeatureStatistics,
    source: WindowSource,
    sampler: WindowSampler,
    *,
    end: int,
    rng: np.random.Generator,
) -> None:
    """Fit the constants of the features on days before `end`: usual scale, usual covariates, whether a year is known."""
    for k, values in enumerate((*source.known, *source.past)):
        _fit_amount(statistics, k, values[:: len(values) // MOST_FITTED_SERIES + 1, :end])
    quantity = source.quantity_ST[:, :end]
    positive = quantity[quantity > 0]
    if positive.size:
        statistics.usual_sale.fill_(float(np.median(positive)))
    seen_T = np.isfinite(quantity).any(axis=0)
    span = end - int(seen_T.argmax()) if seen_T.any() else 0
    statistics.annual.fill_(float(span >= FULL_SEASONS))
    series_B, cutoff_B = sampler.draw(2048, rng)
    windows = source.windows(series_B, cutoff_B).to(statistics.annual.device)
    features = compute_features(windows, statistics, context_length=source.context_length)
    log_scale_B, error_B = features.scale_B.log(), features.error_B * features.scale_B
    sound_B = torch.isfinite(log_scale_B) & torch.isfinite(error_B)
    if int(sound_B.sum()) > 1:
        statistics.log_scale_centre.copy_(log_scale_B[sound_B].mean())
        statistics.log_scale_spread.copy_(log_scale_B[sound_B].std().clamp(min=0.1))
        statistics.error_mean.copy_(error_B[sound_B].mean().clamp(min=1e-6))


def _fit_amount(statistics: FeatureStatistics, k: int, values_ST: Floats) -> None:
    """The usual value of one covariate, and how far it departs from it; as logarithms where it is never zero or less."""
    seen_ST = np.isfinite(values_ST)
    if not seen_ST.any():
        return
    least = float(values_ST[seen_ST].min())
    plain_ST = values_ST.astype(np.float64)
    if least > 0:
        statistics.floor_K[k] = LEAST_SHARE * least
        plain_ST = np.log(plain_ST)
    seen = plain_ST[seen_ST]
    statistics.centre_K[k] = float(seen.mean())
    spread = max(float(seen.std()), 1e-6)
    statistics.spread_K[k] = statistics.own_spread_K[k] = spread
    if least > 0:
        own_S = np.nansum(plain_ST, axis=1) / np.maximum(seen_ST.sum(axis=1), 1)
        departs = (plain_ST - own_S[:, None])[seen_ST]
        statistics.own_spread_K[k] = max(float(departs.std()), LEAST_OWN_SPREAD * spread)


def _groups(network: Network) -> list[tuple[list[Tensor], float]]:
    """Matrices decay, biases, norms and identities do not."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in network.named_parameters():
        (decayed if parameter.ndim >= 2 and "identity" not in name else free).append(parameter)
    return [(decayed, network.config.weight_decay), (free, 0.0)]


def refuse_non_finite(loss_B: Tensor, key_of: KeyOf) -> None:
    """Raises NonFiniteLoss with the series of the windows whose loss is not a finite number."""
    if torch.isfinite(loss_B).all():
        return
    bad = sorted({key_of(i) for i in torch.nonzero(~torch.isfinite(loss_B)).flatten().tolist()})
    named = ", ".join(f"{sku!r} at {location!r}" if location else repr(sku) for sku, location in bad[:5])
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    raise NonFiniteLoss(
        f"The loss is not a finite number for the series {named}{more}; look at their quantities and covariates."
    )
