"""From the forecasts of members to one: weights, heads, a share of climatology, calibrated levels, whole units.

What is learned here are a few numbers, from windows that the members were not trained on, and kept tame: each step is taken
only as far as it was seen to pay there. `learn` finds them, `answer` applies them: `combine`, then `finish`; the mean
follows the levels and is drawn to the area under them.

Shapes: M members, B windows, H horizon, L memory days, Q quantile levels, N segments of series, G stretches of the horizon.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import negative_binomial
from models.climatology import capped, own_weekdays, own_year
from models.dependence import pit
from models.mean import area_mean, area_share
from models.panel import Floats
from models.quantiles import interpolate_levels
from models.segments import SEGMENTS, segments_of
from models.training_config import LEVELS

Doubles = NDArray[np.float64]
STRETCHES = (7, 14, 365)
"""Days ahead that are calibrated together: the first week, the second, the rest."""
CLIMATOLOGY_SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
COUNTS_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
GOOD_ENOUGH = 1.001
"""Of equals, within 0.1 % of the least loss, the largest share of climatology is the safest, the least of counts the simplest."""
WEIGHT_STEPS = 120
CALIBRATION_PRIOR = 3000
"""Days that say the levels are right as they are; with as many observed days a correction is taken by half."""

AREA_Q: Doubles = np.diff([0.0, *(np.array(LEVELS[:-1]) + np.array(LEVELS[1:])) / 2, 1.0])
"""What each quantile counts in the area under them, which is their mean: straight between levels, flat beyond the outermost."""


@dataclass(frozen=True)
class Adjustment:
    """`counts` is the share of the negative binomial head against the quantile head, for series that sell whole units.

    `levels_NGQ`: which level of the mixture to read for each level asked, by segment of series and days ahead. `area` is the
    share of the area under the calibrated quantiles against the networks' mean.
    """

    weights_M: Doubles
    counts: float = 0.0
    climatology: float = 0.0
    levels_NGQ: Doubles | None = None
    whole_units: bool = False
    area: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "weights": self.weights_M.tolist(),
            "counts": self.counts,
            "climatology": self.climatology,
            "levels": None if self.levels_NGQ is None else self.levels_NGQ.tolist(),
            "whole_units": self.whole_units,
            "area": self.area,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Adjustment":
        """The inverse of `as_dict`. One that does not say how far its mean is drawn to the area is from before that was done."""
        plain = {"area": 0.0} | plain
        levels = None if plain["levels"] is None else np.array(plain["levels"], np.float64)
        weights = np.array(plain["weights"], np.float64)
        return cls(weights, plain["counts"], plain["climatology"], levels, plain["whole_units"], plain["area"])


def equal_members(count: int) -> Adjustment:
    """Members averaged, and nothing else."""
    return Adjustment(np.full(count, 1.0 / count))


@dataclass(frozen=True)
class Mixture:
    """The members' forecasts of some windows (units, not yet adjusted), and the windows' past."""

    mean_MBH: Floats
    dispersion_MBH: Floats
    quantiles_MBHQ: Floats
    memory_BL: Floats

    @property
    def horizon(self) -> int:
        return int(self.mean_MBH.shape[2])


def answer(mixture: Mixture, adjustment: Adjustment, *, whole_units: bool = True) -> tuple[Floats, Floats]:
    """Mean (B, H) and quantiles (B, H, Q) as they are answered."""
    mean_BH, quantiles_BHQ = combine(mixture, adjustment)
    if adjustment.levels_NGQ is not None:
        mean_BH = _following(mean_BH, quantiles_BHQ, segments_of(mixture.memory_BL), adjustment.levels_NGQ)
    calibrated_BHQ = _calibrated(quantiles_BHQ, mixture.memory_BL, adjustment)
    if adjustment.area > 0:
        area_BH = area_mean(calibrated_BHQ, sells_whole_units(mixture.memory_BL))
        mean_BH = _drawn_to(mean_BH, area_BH, adjustment.area)
    return mean_BH, _in_units(calibrated_BHQ, mixture.memory_BL, adjustment.whole_units and whole_units)


def combine(mixture: Mixture, adjustment: Adjustment) -> tuple[Floats, Floats]:
    """Mean (B, H) and quantiles (B, H, Q): members by weight, their heads by share, then climatology by its share."""
    mean_BH = _averaged(adjustment.weights_M, mixture.mean_MBH)
    quantiles_BHQ = _averaged(adjustment.weights_M, mixture.quantiles_MBHQ)
    if adjustment.counts > 0:
        quantiles_BHQ = _drawn_to(quantiles_BHQ, _counts(mixture, adjustment.weights_M), adjustment.counts)
    if adjustment.climatology > 0:
        usual_BW, usual_BWQ = own_weekdays(capped(mixture.memory_BL))
        for weekday in range(min(7, mixture.horizon)):
            days = np.s_[:, weekday::7]
            mean_BH[days] = _drawn_to(mean_BH[days], usual_BW[:, weekday, None], adjustment.climatology)
            usual_B1Q = usual_BWQ[:, weekday, None]
            quantiles_BHQ[days] = _drawn_to(quantiles_BHQ[days], usual_B1Q, adjustment.climatology)
    return mean_BH, quantiles_BHQ


def _averaged(weights_M: Doubles, values: Floats) -> Floats:
    """The members' values (M, …) by weight, one after the other, so that what is in order stays so to the last bit."""
    weights = weights_M.astype(np.float32)
    total: Floats = weights[0] * values[0]
    for weight, member in zip(weights[1:], values[1:], strict=True):
        total += weight * member
    return total


def _drawn_to(values: Floats, other: Floats, share: float) -> Floats:
    """`values`, a share of the way to `other` where that is known."""
    own, others = np.float32(1 - share), np.float32(share)
    drawn: Floats = np.where(np.isnan(other), values, own * values + others * other)
    return drawn


def _counts(mixture: Mixture, weights_M: Doubles) -> Floats:
    """Quantiles of the members' mean negative binomial; NaN for windows that do not sell whole units."""
    mean_BH = _averaged(weights_M, mixture.mean_MBH)
    dispersion_BH = _averaged(weights_M, mixture.dispersion_MBH)
    found_BHQ = np.full((*mean_BH.shape, len(LEVELS)), np.nan, np.float32)
    whole = np.flatnonzero(sells_whole_units(mixture.memory_BL))
    levels = np.array(LEVELS)
    found = negative_binomial.quantiles(mean_BH[whole].reshape(-1), dispersion_BH[whole].reshape(-1), levels)
    found_BHQ[whole] = found.reshape(len(whole), mixture.horizon, len(LEVELS))
    return found_BHQ


def finish(quantiles_BHQ: Floats, memory_BL: Floats, adjustment: Adjustment, *, whole_units: bool = True) -> Floats:
    """Calibrated, in whole units where the series sells so and the adjustment says it pays, in order, not negative."""
    calibrated_BHQ = _calibrated(quantiles_BHQ, memory_BL, adjustment)
    return _in_units(calibrated_BHQ, memory_BL, adjustment.whole_units and whole_units)


def _calibrated(quantiles_BHQ: Floats, memory_BL: Floats, adjustment: Adjustment) -> Floats:
    if adjustment.levels_NGQ is None:
        return quantiles_BHQ
    return _at_levels(quantiles_BHQ, segments_of(memory_BL), adjustment.levels_NGQ)


def _in_units(quantiles_BHQ: Floats, memory_BL: Floats, whole_units: bool) -> Floats:
    if whole_units:
        whole_B = sells_whole_units(memory_BL)
        quantiles_BHQ = np.rint(quantiles_BHQ, out=quantiles_BHQ.copy(), where=whole_B[:, None, None])
    return np.maximum(quantiles_BHQ, 0.0)


def learn(
    mixture: Mixture, y_BH: Floats, weight_B: Floats, *, counts_shares: tuple[float, ...] = COUNTS_SHARES
) -> Adjustment:
    """The adjustment that windows not trained on speak for. `weight_B` turns pinball in units into the loss that matters.

    Shares are compared as they would be answered: what stands for whole units is rounded.
    """
    weights_M = _weights(mixture, y_BH, weight_B)
    quantiles_BHQ = _averaged(weights_M, mixture.quantiles_MBHQ)
    rounding = replace(equal_members(len(weights_M)), whole_units=True)

    def equals(other_BHQ: Floats, shares: tuple[float, ...]) -> list[float]:
        drawn = [finish(_drawn_to(quantiles_BHQ, other_BHQ, share), mixture.memory_BL, rounding) for share in shares]
        losses = [loss(one_BHQ, y_BH, weight_B) for one_BHQ in drawn]
        return [share for share, value in zip(shares, losses, strict=True) if value <= min(losses) * GOOD_ENOUGH]

    counts_BHQ = _counts(mixture, weights_M)
    counts = min(equals(counts_BHQ, counts_shares))
    quantiles_BHQ = _drawn_to(quantiles_BHQ, counts_BHQ, counts)
    _, usual_BHQ = own_year(capped(mixture.memory_BL), mixture.horizon)
    climatology = max(equals(usual_BHQ, CLIMATOLOGY_SHARES))
    quantiles_BHQ = _drawn_to(quantiles_BHQ, usual_BHQ, climatology)
    adjustment = Adjustment(weights_M, counts, climatology)
    calibrated = replace(adjustment, levels_NGQ=_calibrated_levels(quantiles_BHQ, y_BH, mixture.memory_BL))
    rounded = replace(calibrated, whole_units=True)
    found = min(
        (adjustment, calibrated, rounded, replace(adjustment, whole_units=True)),
        key=lambda one: loss(finish(quantiles_BHQ, mixture.memory_BL, one), y_BH, weight_B),
    )
    mean_BH, calibrated_BHQ = answer(mixture, found, whole_units=False)
    area_BH = area_mean(calibrated_BHQ, sells_whole_units(mixture.memory_BL))
    return replace(found, area=area_share(mean_BH, area_BH, y_BH, mixture.memory_BL))


def loss(quantiles_BHQ: Floats, y_BH: Floats, weight_B: Floats) -> float:
    """Weighted pinball loss over windows, observed days and levels."""
    error_BHQ = y_BH[..., None] - quantiles_BHQ
    pinball_BH = np.maximum(np.array(LEVELS) * error_BHQ, (np.array(LEVELS) - 1) * error_BHQ).mean(axis=-1)
    seen_BH = np.isfinite(y_BH)
    total = (np.where(seen_BH, pinball_BH, 0.0).sum(axis=1) * weight_B).sum()
    return float(total / max(seen_BH.sum(), 1))


def sells_whole_units(memory_BL: Floats) -> NDArray[np.bool_]:
    """Whether every quantity of the window's past is a whole number."""
    seen_BL = np.nan_to_num(memory_BL)
    out: NDArray[np.bool_] = (seen_BL == np.round(seen_BL)).all(axis=1)
    return out


def _weights(mixture: Mixture, y_BH: Floats, weight_B: Floats) -> Doubles:
    """Convex weights of least loss, drawn halfway back to equal ones: learned weights alone chase the windows seen."""
    count = len(mixture.mean_MBH)
    equal_M = np.full(count, 1.0 / count)
    if count == 1:
        return equal_M
    seen_BH = torch.from_numpy(np.isfinite(y_BH)).float()
    y_BH1 = torch.from_numpy(np.nan_to_num(y_BH))[..., None]
    members = torch.from_numpy(mixture.quantiles_MBHQ)
    level_Q = torch.tensor(LEVELS)
    day_BH = seen_BH * torch.from_numpy(weight_B.astype(np.float32))[:, None]
    logits = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(WEIGHT_STEPS):
        error_BHQ = y_BH1 - torch.tensordot(logits.softmax(0), members, dims=1)
        pinball_BH = torch.maximum(level_Q * error_BHQ, (level_Q - 1) * error_BHQ).mean(-1)
        optimizer.zero_grad()
        torch.autograd.backward((pinball_BH * day_BH).sum() / day_BH.sum().clamp(min=1e-9))
        optimizer.step()
    learned_M = logits.detach().softmax(0).numpy().astype(np.float64)
    return (equal_M + learned_M) / 2


def _calibrated_levels(quantiles_BHQ: Floats, y_BH: Floats, memory_BL: Floats) -> Doubles:
    """For each level asked the level to read, so that as many days fall below as should; drawn back where days are few."""
    rng = np.random.default_rng(0)
    level_BH = np.where(np.isfinite(y_BH), pit(y_BH, quantiles_BHQ, np.array(LEVELS), rng), np.nan)
    segment_B = segments_of(memory_BL)
    levels_NGQ = np.empty((len(SEGMENTS), len(STRETCHES), len(LEVELS)))
    for segment in range(len(SEGMENTS)):
        for stretch, days in enumerate(_stretches(y_BH.shape[1])):
            came_in = level_BH[segment_B == segment][:, days]
            came_in = came_in[np.isfinite(came_in)]
            share = came_in.size / (came_in.size + CALIBRATION_PRIOR)
            right_Q = np.quantile(came_in, LEVELS) if came_in.size else np.array(LEVELS)
            levels_NGQ[segment, stretch] = np.array(LEVELS) + share * (right_Q - np.array(LEVELS))
    return np.clip(levels_NGQ, LEVELS[0], LEVELS[-1])


def _at_levels(quantiles_BHQ: Floats, segment_B: NDArray[np.int64], levels_NGQ: Doubles) -> Floats:
    out_BHQ = np.empty_like(quantiles_BHQ)
    for segment in range(len(SEGMENTS)):
        rows = np.flatnonzero(segment_B == segment)
        if not rows.size:
            continue
        for stretch, days in enumerate(_stretches(quantiles_BHQ.shape[1])):
            out_BHQ[rows, days] = interpolate_levels(quantiles_BHQ[rows, days], LEVELS, levels_NGQ[segment, stretch])
    return out_BHQ


def _following(mean_BH: Floats, quantiles_BHQ: Floats, segment_B: NDArray[np.int64], levels_NGQ: Doubles) -> Floats:
    """The mean, moved by as much as reading other levels moves the area under the quantiles.

    Where the mean lies above that area, because sales are sparse and most of it stands beyond the highest level, the rest
    stays as it was; where it lies below, it moves by the same share. So it cannot fall below zero.
    """
    moved_BH = np.zeros(mean_BH.shape)
    for segment in range(len(SEGMENTS)):
        rows = np.flatnonzero(segment_B == segment)
        if not rows.size:
            continue
        for stretch, days in enumerate(_stretches(mean_BH.shape[1])):
            read_QW = interpolate_levels(np.eye(len(LEVELS), dtype=np.float32), LEVELS, levels_NGQ[segment, stretch])
            moved_BH[rows, days] = quantiles_BHQ[rows, days] @ (read_QW @ AREA_Q - AREA_Q)
    area_BH = quantiles_BHQ @ AREA_Q
    share_BH = np.minimum(np.divide(mean_BH, area_BH, out=np.ones_like(moved_BH), where=area_BH > 0), 1.0)
    return np.maximum(mean_BH + moved_BH * share_BH, 0.0).astype(np.float32)


def _stretches(horizon: int) -> list[slice]:
    bounds = [0, *STRETCHES]
    return [slice(low, min(high, horizon)) for low, high in itertools.pairwise(bounds)]
