"""What an adjustment is learned from: forecasts of days that their members had not seen, beside what was sold.

A few numbers are learned, and kept tame: each step is taken only as far as it was seen to pay on those days. `learn` finds all of
them after a training; an update goes on weighing the shares of climatology by the days that have come in (`relearned`).

Shapes: M members, B windows, H horizon, L memory days, Q quantile levels, K kinds of climatology, P ways to divide a share among
them, C candidate shares, N segments of series, G stretches of the horizon.
"""

from dataclasses import replace

import numpy as np
import torch

from models.adjustment import (
    STRETCHES,
    Adjustment,
    Doubles,
    Mixture,
    answer,
    averaged,
    combine,
    counts_quantiles,
    drawn_to,
    finish,
    heads,
    in_units,
    point_quantiles,
    stretches,
)
from models.climatology import KINDS, capped, own_mixture
from models.dependence import levels_to_read, pit
from models.mean import area_mean, area_share
from models.optimiser import AdamW
from models.panel import Floats
from models.point import left_over
from models.segments import SEGMENTS, segments_of
from models.training_config import LEVELS

COUNTS_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
POINT_SHARES = (0.0, 0.25, 0.5, 1.0)
GOOD_ENOUGH = 1.001
"""Of equals, within 0.1 % of the least loss, the least share of counts, and of the point head, is the simplest."""
CLIMATOLOGY_SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
PARTS_PK: Doubles = np.array(
    [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1 / 2, 1 / 2, 0), (1 / 2, 0, 1 / 2), (0, 1 / 2, 1 / 2), (1 / 3, 1 / 3, 1 / 3)]
)
"""How the kinds of climatology (climatology.py) divide a share among them."""
SHARES_CK: Doubles = np.array(
    [np.zeros(len(KINDS))] + [share * parts_K for parts_K in PARTS_PK for share in CLIMATOLOGY_SHARES]
)
EVIDENCE_DAYS = 28
"""Days that come in are counted by four weeks, whatever the horizon: a day is as much news to a short one as to a long one."""
EVIDENCE_PRIOR = 4.0
"""How many times EVIDENCE_DAYS that come in count as much as all days held out of the training."""
EVIDENCE_DECAY = 0.9
"""What is left of older evidence EVIDENCE_DAYS later."""
WEIGHT_STEPS, WEIGHT_RATE = 120, 0.05
CALIBRATION_PRIOR = 20_000
"""Days that say the levels are right as they are; with as many observed days a correction is taken by half. So many because days
of one window, and one season, go together."""


def learn(
    mixture: Mixture,
    y_BH: Floats,
    weight_B: Floats,
    *,
    counts_shares: tuple[float, ...] = COUNTS_SHARES,
    point_shares: tuple[float, ...] = POINT_SHARES,
) -> Adjustment:
    """The adjustment that windows not trained on speak for. `weight_B` turns pinball in units into the loss that matters.

    Shares are compared as they would be answered: what stands for whole units is rounded.
    """
    weights_M = _weights(mixture, y_BH, weight_B)
    quantiles_BHQ = averaged(weights_M, mixture.quantiles_MBHQ)
    counts_BHQ = counts_quantiles(mixture, weights_M)
    whole_B = mixture.whole_B
    drawn = [in_units(drawn_to(quantiles_BHQ, counts_BHQ, share), whole_B) for share in counts_shares]
    losses = [loss(one_BHQ, y_BH, weight_B) for one_BHQ in drawn]
    good = [s for s, value in zip(counts_shares, losses, strict=True) if value <= min(losses) * GOOD_ENOUGH]
    weighed = _with_point(Adjustment(weights_M, min(good)), mixture, y_BH, weight_B, point_shares)
    losses_C = _losses_of_shares(mixture, weighed, y_BH, weight_B)
    adjustment = replace(weighed, climatology_K=SHARES_CK[losses_C.argmin()], evidence_C=EVIDENCE_PRIOR * losses_C)
    _, quantiles_BHQ = combine(mixture, adjustment)
    calibrated = replace(adjustment, levels_NGQ=_calibrated_levels(quantiles_BHQ, y_BH, mixture.memory_BL))
    rounded = replace(calibrated, whole_units=True)
    found = min(
        (adjustment, calibrated, rounded, replace(adjustment, whole_units=True)),
        key=lambda one: loss(finish(quantiles_BHQ, mixture.memory_BL, one), y_BH, weight_B),
    )
    mean_BH, calibrated_BHQ = answer(mixture, found, whole_units=False)
    area_BH = area_mean(calibrated_BHQ, whole_B)
    return replace(found, area=area_share(mean_BH, area_BH, y_BH, mixture.memory_BL))


def _with_point(
    weighed: Adjustment, mixture: Mixture, y_BH: Floats, weight_B: Floats, shares: tuple[float, ...]
) -> Adjustment:
    """The same with a share of the point head, where that pays more than GOOD_ENOUGH leaves open."""
    mean_BH = averaged(weighed.weights_M, mixture.mean_MBH)
    left_over_GQ = left_over(mean_BH, y_BH, mixture.memory_BL, stretches(mixture.horizon))
    own_BHQ, whole_B = heads(mixture, weighed), mixture.whole_B
    point_BHQ = point_quantiles(mixture, weighed.weights_M, left_over_GQ)
    losses = [loss(in_units(drawn_to(own_BHQ, point_BHQ, s), whole_B), y_BH, weight_B) for s in shares]
    share = min(s for s, value in zip(shares, losses, strict=True) if value <= min(losses) * GOOD_ENOUGH)
    return replace(weighed, point=share, left_over_GQ=left_over_GQ) if share else weighed


def relearned(
    adjustment: Adjustment, mixture: Mixture, y_BH: Floats, weight_B: Floats, *, days: int, passed: int
) -> Adjustment:
    """The same with shares of climatology that the newest days speak for as well.

    `mixture` are forecasts of these days by members that had not seen them, `days` how many are observed there, `passed` how many
    have passed since the evidence was added to. An adjustment without evidence, or with an older version's of other candidates,
    stays as it is.
    """
    before_C = adjustment.evidence_C
    if before_C is None or len(before_C) != len(SHARES_CK) or not np.isfinite(y_BH).any():
        return adjustment
    losses_C = _losses_of_shares(mixture, adjustment, y_BH, weight_B)
    faded = EVIDENCE_DECAY ** (passed / EVIDENCE_DAYS)
    evidence_C = faded * before_C + days / EVIDENCE_DAYS * losses_C
    return replace(adjustment, climatology_K=SHARES_CK[evidence_C.argmin()], evidence_C=evidence_C)


def _losses_of_shares(mixture: Mixture, adjustment: Adjustment, y_BH: Floats, weight_B: Floats) -> Doubles:
    """The loss of each of SHARES_CK, were it the adjustment's, (C,); of what stands for whole units rounded."""
    own_BHQ = heads(mixture, adjustment)
    memory_BL, whole_B = capped(mixture.memory_BL), mixture.whole_B
    weekday_H = np.arange(mixture.horizon) % 7
    losses = [loss(in_units(own_BHQ, whole_B), y_BH, weight_B)]
    for parts_K in PARTS_PK:
        usual_BHQ = own_mixture(memory_BL, parts_K)[1][:, weekday_H]
        for share in CLIMATOLOGY_SHARES:
            losses.append(loss(in_units(drawn_to(own_BHQ, usual_BHQ, share), whole_B), y_BH, weight_B))
    return np.array(losses)


def loss(quantiles_BHQ: Floats, y_BH: Floats, weight_B: Floats) -> float:
    """Weighted pinball loss over windows, observed days and levels."""
    error_BHQ = y_BH[..., None] - quantiles_BHQ
    pinball_BH = np.maximum(np.array(LEVELS) * error_BHQ, (np.array(LEVELS) - 1) * error_BHQ).mean(axis=-1)
    seen_BH = np.isfinite(y_BH)
    total = (np.where(seen_BH, pinball_BH, 0.0).sum(axis=1) * weight_B).sum()
    return float(total / max(seen_BH.sum(), 1))


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
    optimiser = AdamW([([logits], 0.0)])
    for _ in range(WEIGHT_STEPS):
        error_BHQ = y_BH1 - torch.tensordot(logits.softmax(0), members, dims=1)
        pinball_BH = torch.maximum(level_Q * error_BHQ, (level_Q - 1) * error_BHQ).mean(-1)
        optimiser.forget_gradients()
        torch.autograd.backward((pinball_BH * day_BH).sum() / day_BH.sum().clamp(min=1e-9))
        optimiser.step(WEIGHT_RATE)
    learned_M = logits.detach().softmax(0).numpy().astype(np.float64)
    return (equal_M + learned_M) / 2


def _calibrated_levels(quantiles_BHQ: Floats, y_BH: Floats, memory_BL: Floats) -> Doubles:
    """For each level asked the level to read, so that as many days fall below as should; drawn back where days are few."""
    rng = np.random.default_rng(0)
    level_BH = np.where(np.isfinite(y_BH), pit(y_BH, quantiles_BHQ, np.array(LEVELS), rng), np.nan)
    segment_B = segments_of(memory_BL)
    levels_NGQ = np.empty((len(SEGMENTS), len(STRETCHES), len(LEVELS)))
    for segment in range(len(SEGMENTS)):
        for stretch, days in enumerate(stretches(y_BH.shape[1])):
            came_in = level_BH[segment_B == segment][:, days]
            levels_NGQ[segment, stretch] = levels_to_read(came_in[np.isfinite(came_in)], prior=CALIBRATION_PRIOR)
    return levels_NGQ
