"""Level shifts: a series that lately sells at another level than before, seen softly, and its past brought to that level (L1).

A network looks back for weeks and a year, so after a lasting jump (a new shelf, a price, a competitor gone) it takes it weeks to
believe it. For each of several numbers of newest days (SPANS) their sales are compared with what the days before them let
expect; how far such comparisons have wandered in the series' own past says how surprising that is. What is before the shift is
then multiplied by the factor, drawn to 1 by how little is known of it and by how improbable a shift is: below certainty evidence
acts softly. Nothing but the window is read, so a forecast with it can be computed again from version and data.

Shapes: B windows, M memory days, D spans, E earlier ends of a span.
"""

import math

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
PRIOR_SHIFT = 0.07
"""Prior odds of a shift at each of the spans. Together they give two fifths of a chance before anything was seen: levels
drift all the time, and a part of every drift is believed."""
LASTING_DAYS = 7
DOUBT_TAKEN_BACK = 0.4
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
"""Share of the reference's days that must have been observed."""

Doubles = NDArray[np.float64]


def level_shifts(memory_BM: Floats) -> tuple[Doubles, Doubles]:
    """For each window and span the probability that the level shifted then, and the logarithm of the factor, each (B, D)."""
    ratio_BD, variance_BD = _ratios(memory_BM.astype(np.float64))
    known_BD = np.isfinite(ratio_BD)
    log_BD, wider_BD = np.nan_to_num(ratio_BD), variance_BD + FACTOR_VARIANCE
    evidence_BD = _log_density(log_BD, wider_BD) - _log_density(log_BD, variance_BD)
    odds_BD = np.where(known_BD, PRIOR_SHIFT * np.exp(np.minimum(evidence_BD, 50.0)), 0.0)
    factor_BD = np.clip(log_BD * FACTOR_VARIANCE / wider_BD, -LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR)
    return odds_BD / (1 + odds_BD.sum(axis=1, keepdims=True)), factor_BD


def at_present_level(memory_BM: Floats) -> tuple[Floats, Floats]:
    """The windows' past brought to the level of their newest days, each day by what is believed of shifts since (NaN stays), and
    the logarithm of the part of it that is in doubt, (B,)."""
    probability_BD, factor_BD = level_shifts(memory_BM)
    believed_BD = probability_BD * factor_BD
    newer_BD = believed_BD.cumsum(axis=1)  # what is believed of the shifts that came after the days between two spans
    days_D = np.diff([*SPANS, memory_BM.shape[1]])
    factor_BD = np.exp(newer_BD).astype(np.float32)[:, ::-1]
    brought = memory_BM.copy()
    brought[:, : -SPANS[0]] *= np.repeat(factor_BD, days_D[::-1], axis=1)
    doubt_B = (1 - probability_BD.sum(axis=1)) * newer_BD[:, -1]
    return brought, doubt_B.astype(np.float32)


def eased(mean_BH: Floats, quantiles_BHQ: Floats, doubt_B: Floats) -> tuple[Floats, Floats]:
    """A forecast from such a past, of which a share of what is in doubt is taken back after LASTING_DAYS: drifts return."""
    later_H = np.arange(mean_BH.shape[1]) >= LASTING_DAYS
    eased_BH = np.exp(-np.float32(DOUBT_TAKEN_BACK) * doubt_B[:, None] * later_H).astype(np.float32)
    return mean_BH * eased_BH, quantiles_BHQ * eased_BH[..., None]


def _log_density(value: Doubles, variance: Doubles) -> Doubles:
    """Of a Student's t around 0, but for what does not depend on the variance."""
    return -(TAIL + 1) / 2 * np.log1p(value**2 / (TAIL * variance)) - 0.5 * np.log(variance)


def _ratios(memory_BM: Doubles) -> tuple[Doubles, Doubles]:
    """The logarithm of each span's ratio (B, D), NaN where too little was observed, and its variance when nothing shifts."""
    level_B1 = _mean(memory_BM[:, -364:])[:, None]
    seen_BM = np.isfinite(memory_BM) & ~((memory_BM == 0) & (level_B1 > SELDOM_ZERO))
    sold_BM = np.where(seen_BM, memory_BM, 0.0)
    usual_BM = _weekday_profile(sold_BM, seen_BM) * seen_BM
    sold_BN, usual_BN = _running(sold_BM), _running(usual_BM)
    ratio_BD = np.empty((len(memory_BM), len(SPANS)))
    variance_BD = np.empty_like(ratio_BD)
    for number, span in enumerate(SPANS):
        ratio_BE, expected_B = _ratios_of_span(sold_BN, usual_BN, span)
        ratio_BD[:, number] = ratio_BE[:, -1]
        shared = math.ceil(span / EARLIER_STEP)  # the newest itself, and those that share days with it
        apart_BE = ratio_BE[:, :-shared]
        count_B = np.isfinite(apart_BE).sum(axis=1)
        weight_B = count_B * EARLIER_STEP / max(span, EARLIER_STEP)
        square_B = np.nan_to_num(np.minimum(apart_BE**2, 1.0)).sum(axis=1) / np.maximum(count_B, 1)
        own_B = (weight_B * square_B + USUAL_WEIGHT * USUAL_VARIANCE) / (weight_B + USUAL_WEIGHT)
        variance_BD[:, number] = own_B + 1 / np.maximum(expected_B + 1, 1)
    return ratio_BD, variance_BD


def _ratios_of_span(sold_BN: Doubles, usual_BN: Doubles, span: int) -> tuple[Doubles, Doubles]:
    """log((sold + 1) / (expected + 1)) of the span that ends with the newest day and with earlier ones, (B, E), the newest last;
    and what was expected of the newest."""
    newest = sold_BN.shape[1] - 1
    oldest = newest - (newest - REFERENCE_DAYS - span) // EARLIER_STEP * EARLIER_STEP
    end, begin, before = (
        slice(oldest - back, newest - back + 1, EARLIER_STEP) for back in (0, span, span + REFERENCE_DAYS)
    )
    usual_BE, before_BE = usual_BN[:, end] - usual_BN[:, begin], usual_BN[:, begin] - usual_BN[:, before]
    level_BE = (sold_BN[:, begin] - sold_BN[:, before]) / np.maximum(before_BE, 1e-9)
    expected_BE = level_BE * usual_BE
    ratio_BE = np.log((sold_BN[:, end] - sold_BN[:, begin] + 1) / (expected_BE + 1))
    enough_BE = (usual_BE > 0.25 * span) & (before_BE > FEWEST_REFERENCE * REFERENCE_DAYS)
    return np.where(enough_BE, ratio_BE, np.nan), np.nan_to_num(expected_BE[:, -1])


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
