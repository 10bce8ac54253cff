"""Level shifts: a series that lately sells at another level than before, seen softly, and its past brought to that level (L1).

A network looks back for weeks and a year, so after a lasting jump (a new shelf, a price, a competitor gone) it takes it weeks to
believe it. For each of several numbers of newest days (SPANS) their sales are compared with what the days before them let
expect; how far such comparisons have wandered in the series' own past says how surprising that is. What is before the shift is
then multiplied by the factor, drawn to 1 by how little is known of it and by how improbable a shift is: below certainty evidence
acts softly. What was believed of a shift and is not certain is taken back after a week, the more, the less such deviations lasted
in the series' own past: where sales jump and return, as by promotions, a deviation says little of the weeks after next.
Nothing but the window is read, so a forecast with it can be computed again from version and data.

Shapes: B windows, M memory days, N = M + 1 running sums, D spans, E earlier ends of a span.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats

SPANS = (4, 6, 8, 10, 12, 14, 17, 20, 24, 28)
"""Numbers of newest days that may be of a new level. What is older than four weeks is the networks' own matter."""
REFERENCE_DAYS = 168
"""Days before the span that say what was usual."""
PROFILE_DAYS = 182
"""Days that say how weekdays differ."""
EARLIER_STEP = 7
PRIOR_SHIFT = 0.05
"""Prior odds of a shift at each of the spans. Together they give a third of a chance before anything was seen: levels drift all
the time, and a part of every drift is believed. On days when many series shifted they are higher (common_shifts.py)."""
LASTING_DAYS = 7
LASTING_SPAN = SPANS[-1]
"""A deviation of so many days is compared with what came of it: LASTING_DAYS … LASTING_SPAN days later."""
KEPT_IN_DOUBT = 0.6
"""Of the logarithm of a factor that is in doubt, after LASTING_DAYS, where a series' deviations have lasted."""
LASTING_WEIGHT = 1.0
"""Squared deviations that a series needs before its own past says half of how much they last."""
FACTOR_VARIANCE = 0.5
"""Of the logarithm of a factor: two shifts of three lie between a half and the double."""
LARGEST_LOG_FACTOR = 0.92
"""No factor beyond 0.4 … 2.5, whatever is seen: what lies beyond is more often a fault or a closure than a level."""
USUAL_VARIANCE = 0.04
USUAL_WEIGHT = 2.0
"""Of the logarithm of a ratio, where a series' own past says little; it counts as much as so many spans of its own."""
TAIL = 6.0
"""Degrees of freedom of the logarithms: jumps without a shift are more frequent than a normal distribution has them."""
SELDOM_ZERO = 5.0
"""A series that sells so many a day was closed or out of stock on a day without a sale: that says nothing of its level."""
FEWEST_REFERENCE = 0.3
FEWEST_SPAN = 0.25
"""Shares of the reference's days and of a span's that must have been observed."""

Doubles = NDArray[np.float64]


def level_shifts(memory_BM: Floats, odds: Doubles | float = PRIOR_SHIFT) -> tuple[Doubles, Doubles]:
    """For each window and span the probability that the level shifted then, and the logarithm of the factor, each (B, D). `odds`
    of a shift before anything was seen: one for all, or for each window and span."""
    return _shifts(_Sold.of(memory_BM), odds)


def bayes_factors(memory_BM: Floats) -> Doubles:
    """How many times more probable each span is with a shift than without, (B, D); 0 where too little was observed."""
    ratio_BD, variance_BD = _ratios(_Sold.of(memory_BM))
    return _bayes_factors(ratio_BD, variance_BD)


def at_present_level(memory_BM: Floats, odds: Doubles | float = PRIOR_SHIFT) -> tuple[Floats, Floats]:
    """The windows' past brought to the level of their newest days, each day by what is believed of shifts since (NaN stays), and
    the logarithm of what is to be taken back of it after LASTING_DAYS, (B,). `odds` as in `level_shifts`."""
    sold = _Sold.of(memory_BM)
    probability_BD, factor_BD = _shifts(sold, odds)
    believed_BD = probability_BD * factor_BD
    newer_BD = believed_BD.cumsum(axis=1)  # what is believed of the shifts that came after the days between two spans
    days_D = np.diff([*SPANS, memory_BM.shape[1]])
    factor_BD = np.exp(newer_BD).astype(np.float32)[:, ::-1]
    brought = memory_BM.copy()
    brought[:, : -SPANS[0]] *= np.repeat(factor_BD, days_D[::-1], axis=1)
    doubt_B = (1 - probability_BD.sum(axis=1)) * newer_BD[:, -1]
    return brought, (doubt_B * (1 - KEPT_IN_DOUBT * _lasting(sold))).astype(np.float32)


def eased(mean_BH: Floats, quantiles_BHQ: Floats, taken_back_B: Floats) -> tuple[Floats, Floats]:
    """A forecast from such a past, of which after LASTING_DAYS is taken back what `at_present_level` says: drifts return."""
    later_H = np.arange(mean_BH.shape[1]) >= LASTING_DAYS
    eased_BH = np.exp(-taken_back_B[:, None] * later_H).astype(np.float32)
    return mean_BH * eased_BH, quantiles_BHQ * eased_BH[..., None]


@dataclass(frozen=True)
class _Sold:
    """Running sums of what was sold and of what the weekday profile lets expect of the same days, each (B, N)."""

    sold_BN: Doubles
    usual_BN: Doubles

    @classmethod
    def of(cls, memory_BM: Floats) -> "_Sold":
        units_BM = memory_BM.astype(np.float64)
        level_B1 = _mean(units_BM[:, -364:])[:, None]
        seen_BM = np.isfinite(units_BM) & ~((units_BM == 0) & (level_B1 > SELDOM_ZERO))
        sold_BM = np.where(seen_BM, units_BM, 0.0)
        return cls(_running(sold_BM), _running(_weekday_profile(sold_BM, seen_BM) * seen_BM))

    def between(self, begin: slice, end: slice) -> tuple[Doubles, Doubles]:
        """What was sold from each of the first days to before each of the last ones, and what was usual, (B, E)."""
        return self.sold_BN[:, end] - self.sold_BN[:, begin], self.usual_BN[:, end] - self.usual_BN[:, begin]

    @cached_property
    def ratios(self) -> dict[int, tuple[Doubles, Doubles]]:
        """What is found of each of SPANS. Kept, since the longest is asked for twice."""
        return {span: _ratios_of_span(self, span) for span in SPANS}


def _shifts(sold: _Sold, odds: Doubles | float) -> tuple[Doubles, Doubles]:
    ratio_BD, variance_BD = _ratios(sold)
    odds_BD = odds * _bayes_factors(ratio_BD, variance_BD)
    factor_BD = np.nan_to_num(ratio_BD) * FACTOR_VARIANCE / (variance_BD + FACTOR_VARIANCE)
    factor_BD = np.clip(factor_BD, -LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR)
    return odds_BD / (1 + odds_BD.sum(axis=1, keepdims=True)), factor_BD


def _bayes_factors(ratio_BD: Doubles, variance_BD: Doubles) -> Doubles:
    log_BD = np.nan_to_num(ratio_BD)
    evidence_BD = _log_density(log_BD, variance_BD + FACTOR_VARIANCE) - _log_density(log_BD, variance_BD)
    return np.where(np.isfinite(ratio_BD), np.exp(np.minimum(evidence_BD, 50.0)), 0.0)


def _lasting(sold: _Sold) -> Doubles:
    """How much of a deviation was still there LASTING_DAYS … LASTING_SPAN days later in the series' own past, drawn to 1 where
    little has deviated, (B,)."""
    ratio_BE, level_BE = (x_BE[:, : -LASTING_SPAN // EARLIER_STEP] for x_BE in sold.ratios[LASTING_SPAN])
    end = _ends(sold, LASTING_SPAN)
    first, last = (
        slice(end.start + days, end.stop + days - LASTING_SPAN, EARLIER_STEP) for days in (LASTING_DAYS, LASTING_SPAN)
    )
    sold_BE, usual_BE = sold.between(first, last)
    later_BE = np.log((sold_BE + 1) / (level_BE * usual_BE + 1))
    known_BE = np.isfinite(ratio_BE) & (usual_BE > FEWEST_SPAN * (LASTING_SPAN - LASTING_DAYS))
    deviation_BE, later_BE = (np.clip(np.where(known_BE, x_BE, 0.0), -1, 1) for x_BE in (ratio_BE, later_BE))
    products_B, squares_B = (deviation_BE * later_BE).sum(axis=1), (deviation_BE**2).sum(axis=1)
    lasting_B: Doubles = (products_B + LASTING_WEIGHT) / (squares_B + LASTING_WEIGHT)
    return np.clip(lasting_B, 0.0, 1 / KEPT_IN_DOUBT)


def _log_density(value: Doubles, variance: Doubles) -> Doubles:
    """Of a Student's t around 0, but for what does not depend on the variance."""
    return -(TAIL + 1) / 2 * np.log1p(value**2 / (TAIL * variance)) - 0.5 * np.log(variance)


def _ratios(sold: _Sold) -> tuple[Doubles, Doubles]:
    """The logarithm of each span's ratio (B, D), NaN where too little was observed, and its variance when nothing shifts."""
    ratio_BD = np.empty((len(sold.sold_BN), len(SPANS)))
    variance_BD = np.empty_like(ratio_BD)
    for number, (span, (ratio_BE, level_BE)) in enumerate(sold.ratios.items()):
        ratio_BD[:, number] = ratio_BE[:, -1]
        shared = math.ceil(span / EARLIER_STEP)  # the newest itself, and those that share days with it
        apart_BE = ratio_BE[:, :-shared]
        count_B = np.isfinite(apart_BE).sum(axis=1)
        weight_B = count_B * EARLIER_STEP / max(span, EARLIER_STEP)
        square_B = np.nan_to_num(np.minimum(apart_BE**2, 1.0)).sum(axis=1) / np.maximum(count_B, 1)
        own_B = (weight_B * square_B + USUAL_WEIGHT * USUAL_VARIANCE) / (weight_B + USUAL_WEIGHT)
        expected_B = np.nan_to_num(level_BE[:, -1] * (sold.usual_BN[:, -1] - sold.usual_BN[:, -1 - span]))
        variance_BD[:, number] = own_B + 1 / np.maximum(expected_B + 1, 1)
    return ratio_BD, variance_BD


def _ratios_of_span(sold: _Sold, span: int) -> tuple[Doubles, Doubles]:
    """log((sold + 1) / (expected + 1)) of the span that ends with the newest day and with earlier ones, and the level of the days
    before each, (B, E), the newest last."""
    end = _ends(sold, span)
    begin, before = (slice(end.start - back, end.stop - back, EARLIER_STEP) for back in (span, span + REFERENCE_DAYS))
    sold_BE, usual_BE = sold.between(begin, end)
    sold_before_BE, usual_before_BE = sold.between(before, begin)
    level_BE = sold_before_BE / np.maximum(usual_before_BE, 1e-9)
    ratio_BE = np.log((sold_BE + 1) / (level_BE * usual_BE + 1))
    enough_BE = (usual_BE > FEWEST_SPAN * span) & (usual_before_BE > FEWEST_REFERENCE * REFERENCE_DAYS)
    return np.where(enough_BE, ratio_BE, np.nan), level_BE


def _ends(sold: _Sold, span: int) -> slice:
    """Where spans end in the running sums: with the newest day and every EARLIER_STEP days before it, as far as there is a
    reference before them."""
    newest = sold.sold_BN.shape[1] - 1
    return slice(newest - (newest - REFERENCE_DAYS - span) // EARLIER_STEP * EARLIER_STEP, newest + 1, EARLIER_STEP)


def _weekday_profile(sold_BM: Doubles, seen_BM: NDArray[np.bool_]) -> Doubles:
    """What each day sells against a mean day of its series, by weekday, a tenth drawn to 1."""
    days = sold_BM.shape[1]
    profile_BW = np.empty((len(sold_BM), 7))
    for weekday in range(7):
        column = np.arange(days - PROFILE_DAYS + weekday, days, 7)
        count_B = np.maximum(seen_BM[:, column].sum(axis=1), 1)
        profile_BW[:, (days - PROFILE_DAYS + weekday) % 7] = sold_BM[:, column].sum(axis=1) / count_B
    mean_B1 = np.maximum(profile_BW.mean(axis=1, keepdims=True), 1e-9)
    profile_BM: Doubles = (0.9 * profile_BW / mean_B1 + 0.1)[:, np.arange(days) % 7]
    return profile_BM


def _running(values_BM: Doubles) -> Doubles:
    """Sums of all days before each index, (B, M + 1)."""
    return np.concatenate([np.zeros((len(values_BM), 1)), values_BM.cumsum(axis=1)], axis=1)


def _mean(values_BM: Doubles) -> Doubles:
    seen_BM = np.isfinite(values_BM)
    mean_B: Doubles = np.where(seen_BM, values_BM, 0.0).sum(axis=1) / np.maximum(seen_BM.sum(axis=1), 1)
    return mean_B
