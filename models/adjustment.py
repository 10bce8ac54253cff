"""From the forecasts of members to one: weights, heads, a share of climatology, calibrated levels, whole units.

How it is applied: `answer` is `combine`, then `finish`; the mean follows the levels and is drawn to the area under them, or kept
near it. How it
is learned is in adjusting.py.

Shapes: M members, B windows, H horizon, L memory days, Q quantile levels, K kinds of climatology, C candidate shares of them,
N segments of series, G stretches of the horizon.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import negative_binomial
from models.climatology import KINDS, capped, own_mixture
from models.mean import area_mean, kept_near
from models.panel import Floats
from models.point import around
from models.quantiles import interpolate_levels
from models.segments import SEGMENTS, segments_of
from models.training_config import LEVELS
from models.windows import sells_whole_units

Doubles = NDArray[np.float64]
STRETCHES = (7, 14, 365)
"""Days ahead that are calibrated together: the first week, the second, the rest."""

AREA_Q: Doubles = np.diff([0.0, *(np.array(LEVELS[:-1]) + np.array(LEVELS[1:])) / 2, 1.0])
"""What each quantile counts in the area under them: straight between levels, flat beyond the outermost. By how much it moves is
what a mean follows; the mean that quantiles speak of themselves is mean.area_mean, which knows tails and half units."""


@dataclass(frozen=True)
class Adjustment:
    """`counts` is the share of the negative binomial head against the quantile head, for series that sell whole units; `point`
    that of the point head against both, whose spread is `left_over_GQ` (point.py).

    `climatology_K`: the share of each kind of climatology; the members have the rest. `evidence_C`: the loss of each candidate
    for these shares on days that the members had not seen, up to `evidence_until`, which updates add to; None where it is not
    known (adjusting.py).
    `levels_NGQ`: which level of the mixture to read for each level asked, by segment of series and days ahead. `area` is the
    share of the area under the calibrated quantiles against the networks' mean.
    """

    weights_M: Doubles
    counts: float = 0.0
    climatology_K: Doubles = field(default_factory=lambda: np.zeros(len(KINDS)))
    levels_NGQ: Doubles | None = None
    whole_units: bool = False
    evidence_C: Doubles | None = None
    evidence_until: np.datetime64 | None = None
    area: float = 0.0
    point: float = 0.0
    left_over_GQ: Doubles | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "weights": self.weights_M.tolist(),
            "counts": self.counts,
            "climatology": self.climatology_K.tolist(),
            "levels": None if self.levels_NGQ is None else self.levels_NGQ.tolist(),
            "whole_units": self.whole_units,
            "evidence": None if self.evidence_C is None else self.evidence_C.tolist(),
            "evidence_until": None if self.evidence_until is None else str(self.evidence_until),
            "area": self.area,
            "point": self.point,
            "left_over": None if self.left_over_GQ is None else self.left_over_GQ.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Adjustment":
        """The same again. Older ones know climatology by weekday alone, no evidence, no area and no point head."""
        levels, evidence, climatology = plain["levels"], plain.get("evidence"), plain["climatology"]
        until, left_over = plain.get("evidence_until"), plain.get("left_over")
        return cls(
            np.array(plain["weights"], np.float64),
            plain["counts"],
            np.array(climatology if isinstance(climatology, list) else [climatology, 0.0, 0.0], np.float64),
            None if levels is None else np.array(levels, np.float64),
            plain["whole_units"],
            None if evidence is None else np.array(evidence, np.float64),
            None if until is None else np.datetime64(until, "D"),
            plain.get("area", 0.0),
            plain.get("point", 0.0),
            None if left_over is None else np.array(left_over, np.float64),
        )


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
    whole: NDArray[np.bool_] | None = None
    """Which windows sell whole units, where that is not to be seen from their past."""

    @property
    def horizon(self) -> int:
        return int(self.mean_MBH.shape[2])

    @property
    def whole_B(self) -> NDArray[np.bool_]:
        return sells_whole_units(self.memory_BL) if self.whole is None else self.whole


def answer(mixture: Mixture, adjustment: Adjustment, *, whole_units: bool = True) -> tuple[Floats, Floats]:
    """Mean (B, H) and quantiles (B, H, Q) as they are answered."""
    mean_BH, quantiles_BHQ = combine(mixture, adjustment)
    if adjustment.levels_NGQ is not None:
        mean_BH = _following(mean_BH, quantiles_BHQ, segments_of(mixture.memory_BL), adjustment.levels_NGQ)
    calibrated_BHQ = _calibrated(quantiles_BHQ, mixture.memory_BL, adjustment)
    whole_B = mixture.whole_B
    if adjustment.area > 0:
        mean_BH = drawn_to(mean_BH, area_mean(calibrated_BHQ, whole_B), adjustment.area)
    mean_BH = kept_near(mean_BH, calibrated_BHQ, whole_B)
    return mean_BH, in_units(calibrated_BHQ, whole_B if adjustment.whole_units and whole_units else None)


def combine(mixture: Mixture, adjustment: Adjustment) -> tuple[Floats, Floats]:
    """Mean (B, H) and quantiles (B, H, Q): members by weight, their heads by share, then climatology by its share."""
    mean_BH = averaged(adjustment.weights_M, mixture.mean_MBH)
    quantiles_BHQ = heads(mixture, adjustment)
    share = float(adjustment.climatology_K.sum())
    if share > 0:
        usual_BW, usual_BWQ = own_mixture(capped(mixture.memory_BL), adjustment.climatology_K / share)
        for weekday in range(min(7, mixture.horizon)):
            days = np.s_[:, weekday::7]
            mean_BH[days] = drawn_to(mean_BH[days], usual_BW[:, weekday, None], share)
            quantiles_BHQ[days] = drawn_to(quantiles_BHQ[days], usual_BWQ[:, weekday, None], share)
    return mean_BH, quantiles_BHQ


def heads(mixture: Mixture, adjustment: Adjustment) -> Floats:
    """Quantiles (B, H, Q) of the members by weight and their heads by share, before climatology."""
    quantiles_BHQ = averaged(adjustment.weights_M, mixture.quantiles_MBHQ)
    if adjustment.counts > 0:
        quantiles_BHQ = drawn_to(quantiles_BHQ, counts_quantiles(mixture, adjustment.weights_M), adjustment.counts)
    if adjustment.point > 0 and adjustment.left_over_GQ is not None:
        point_BHQ = point_quantiles(mixture, adjustment.weights_M, adjustment.left_over_GQ)
        quantiles_BHQ = drawn_to(quantiles_BHQ, point_BHQ, adjustment.point)
    return quantiles_BHQ


def averaged(weights_M: Doubles, values: Floats) -> Floats:
    """The members' values (M, …) by weight, one after the other, so that what is in order stays so to the last bit."""
    weights = weights_M.astype(np.float32)
    total: Floats = weights[0] * values[0]
    for weight, member in zip(weights[1:], values[1:], strict=True):
        total += weight * member
    return total


def drawn_to(values: Floats, other: Floats, share: float) -> Floats:
    """`values`, a share of the way to `other` where that is known."""
    drawn: Floats = np.float32(1 - share) * values
    drawn += np.float32(share) * other
    unknown = np.isnan(other)
    if unknown.any():
        np.copyto(drawn, values, where=unknown)
    return drawn


def counts_quantiles(mixture: Mixture, weights_M: Doubles) -> Floats:
    """Quantiles of the members' mean negative binomial; NaN for windows that do not sell whole units."""
    mean_BH = averaged(weights_M, mixture.mean_MBH)
    dispersion_BH = averaged(weights_M, mixture.dispersion_MBH)
    found_BHQ = np.full((*mean_BH.shape, len(LEVELS)), np.nan, np.float32)
    whole = np.flatnonzero(mixture.whole_B)
    levels = np.array(LEVELS)
    found = negative_binomial.quantiles(mean_BH[whole].reshape(-1), dispersion_BH[whole].reshape(-1), levels)
    found_BHQ[whole] = found.reshape(len(whole), mixture.horizon, len(LEVELS))
    return found_BHQ


def point_quantiles(mixture: Mixture, weights_M: Doubles, left_over_GQ: Doubles) -> Floats:
    """Quantiles of the members' mean and what was left over around it."""
    mean_BH = averaged(weights_M, mixture.mean_MBH)
    return around(mean_BH, left_over_GQ, mixture.memory_BL, stretches(mixture.horizon))


def finish(quantiles_BHQ: Floats, memory_BL: Floats, adjustment: Adjustment, *, whole_units: bool = True) -> Floats:
    """Calibrated, in whole units where the series sells so and the adjustment says it pays, in order, not negative."""
    calibrated_BHQ = _calibrated(quantiles_BHQ, memory_BL, adjustment)
    return in_units(calibrated_BHQ, sells_whole_units(memory_BL) if adjustment.whole_units and whole_units else None)


def _calibrated(quantiles_BHQ: Floats, memory_BL: Floats, adjustment: Adjustment) -> Floats:
    if adjustment.levels_NGQ is None:
        return quantiles_BHQ
    return _at_levels(quantiles_BHQ, segments_of(memory_BL), adjustment.levels_NGQ)


def in_units(quantiles_BHQ: Floats, whole_B: NDArray[np.bool_] | None) -> Floats:
    """Whole numbers for the series that sell so, where they are given; no quantile below zero."""
    if whole_B is not None:
        quantiles_BHQ = np.rint(quantiles_BHQ, out=quantiles_BHQ.copy(), where=whole_B[:, None, None])
    return np.maximum(quantiles_BHQ, 0.0)


def _at_levels(quantiles_BHQ: Floats, segment_B: NDArray[np.int64], levels_NGQ: Doubles) -> Floats:
    out_BHQ = np.empty_like(quantiles_BHQ)
    for segment in range(len(SEGMENTS)):
        rows = np.flatnonzero(segment_B == segment)
        if not rows.size:
            continue
        for stretch, days in enumerate(stretches(quantiles_BHQ.shape[1])):
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
        for stretch, days in enumerate(stretches(mean_BH.shape[1])):
            read_QW = interpolate_levels(np.eye(len(LEVELS), dtype=np.float32), LEVELS, levels_NGQ[segment, stretch])
            moved_BH[rows, days] = quantiles_BHQ[rows, days] @ (read_QW @ AREA_Q - AREA_Q)
    area_BH = quantiles_BHQ @ AREA_Q
    share_BH = np.minimum(np.divide(mean_BH, area_BH, out=np.ones_like(moved_BH), where=area_BH > 0), 1.0)
    return np.maximum(mean_BH + moved_BH * share_BH, 0.0).astype(np.float32)


def stretches(horizon: int) -> list[slice]:
    bounds = [0, *STRETCHES]
    return [slice(low, min(high, horizon)) for low, high in itertools.pairwise(bounds)]
