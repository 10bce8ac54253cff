"""What is kept for each series and learned from every day that comes in: expert weights (L1) and shifts of quantiles (L2).

Two experts forecast: the champion as it was trained, and its lineage, which learns on (finetuning.py). How much the lineage
counts is learned for each series and stretch of the horizon by exponentiated gradients on the pinball loss of what was said of
the days that came in [1]. Then each level of the quantiles is shifted, in units of the series' seasonal error, until as many days
fall below it as should: online quantile tracking [2], with labels as late as their horizon. Both fade, so that what was learned
long ago lets go.

A day is learned from once, by what was said of it before it came in; nothing else is read, so the same days in the same order
give the same state. A day that was corrected afterwards is learned again, once, by what its true value changes.

[1] Kivinen, Warmuth: Exponentiated gradient versus gradient descent for linear predictors (1997).
[2] Gibbs, Candès: Adaptive conformal inference under distribution shift (2021); Angelopoulos, Candès, Tibshirani: Conformal PID
control for time series prediction (2023).

Shapes: S series, J days ahead of which a day was forecast, Q quantile levels, G stretches of the horizon, D days, H horizon.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.adjustment import AREA_Q, STRETCHES
from models.online.common_shifts import CommonShifts, odds_at
from models.online.shifts import Doubles
from models.panel import Floats
from models.training_config import LEVELS

RATE_G = np.array([0.02, 0.01, 0.005], np.float32)
"""Of the shifts of quantiles: a day's news says more of the days near it."""
HALF_LIFE = 180.0
LARGEST_SHIFT = 1.0
WEIGHT_RATE = 0.5
WEIGHT_HALF_LIFE = 90.0
LARGEST_GRADIENT = 1.0
"""Of the loss in units of the seasonal error by a weight: no single day moves a series' weights further."""
REMEMBERED_DAYS = 28
"""Days whose values as they were learned are kept, so that a correction of one of them can be learned."""
_LEVELS_Q = np.array(LEVELS, np.float32)
Key = tuple[str, str]


@dataclass(frozen=True)
class Tracking:
    """State of all series by `keys`. `lean_SG`: log odds of the lineage against the champion as trained. `shift_SGQ`: of the
    quantiles, in units of the seasonal error. `until`: the newest day learned from; `learned_SD` the values of the days up to it
    as they were learned (NaN: none was), `again_SD` which of them were learned a second time."""

    keys: list[Key]
    lean_SG: Floats
    shift_SGQ: Floats
    until: np.datetime64
    learned_SD: Floats
    again_SD: NDArray[np.bool_]
    levels: bool = True
    """Whether contexts are brought to a series' present level before networks read them (shifts.py)."""
    common: CommonShifts | None = None
    """The shifts that many series have had at once."""

    def odds_at(self, day: ArrayLike) -> Doubles | None:
        """The odds of shifts for windows that end with a day, (D,), or one each, (S, D); None where levels do not count."""
        return odds_at(day, self.common) if self.levels else None

    @cached_property
    def row_of(self) -> dict[Key, int]:
        """Where each series stands. Made once: a read of one series must not pay for all of them."""
        return {key: row for row, key in enumerate(self.keys)}

    def of(self, keys: Sequence[Key]) -> "Tracking":
        """The state of these series in their order; a series that is not known begins with nothing."""
        row_S = np.array([self.row_of.get(key, -1) for key in keys], np.int64)
        known_S = row_S >= 0
        fresh = replace(untracked(list(keys), self.until), levels=self.levels, common=self.common)
        for own, others in zip(fresh.arrays(), self.arrays(), strict=True):
            own[known_S] = others[row_S[known_S]]
        return fresh

    def rows(self, row_B: NDArray[np.int64]) -> "Tracking":
        """The state of some of the series."""
        return replace(
            self,
            keys=[self.keys[row] for row in row_B.tolist()],
            lean_SG=self.lean_SG[row_B],
            shift_SGQ=self.shift_SGQ[row_B],
            learned_SD=self.learned_SD[row_B],
            again_SD=self.again_SD[row_B],
        )

    def differing(self, came: "Matured") -> NDArray[np.int64]:
        """The series of which a day that was learned has got another value since, and that may learn it again."""
        age = int((self.until - came.day).astype(np.int64))
        if not 0 <= age < REMEMBERED_DAYS:
            return np.empty(0, np.int64)
        at = REMEMBERED_DAYS - 1 - age
        before_S = self.learned_SD[:, at]
        same_S = (before_S == came.y_S) | (np.isnan(before_S) & np.isnan(came.y_S))
        return np.flatnonzero(~same_S & ~self.again_SD[:, at])

    def arrays(self) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
        return self.lean_SG, self.shift_SGQ, self.learned_SD, self.again_SD


@dataclass(frozen=True)
class Matured:
    """A day that came in, of the same series as a tracking's: what was sold (NaN: not known) and the seasonal error, and what
    each expert had said of it 1 … J days before, not rounded (NaN: nothing). Without a lineage there is one expert."""

    day: np.datetime64
    y_S: Floats
    scale_S: Floats
    trained_SJQ: Floats
    lineage_SJQ: Floats | None


def untracked(keys: list[Key], until: np.datetime64) -> Tracking:
    """The state that has learned from no day: experts of one weight, no shift."""
    count, stretches = len(keys), len(STRETCHES)
    return Tracking(
        keys,
        np.zeros((count, stretches), np.float32),
        np.zeros((count, stretches, len(LEVELS)), np.float32),
        until,
        np.full((count, REMEMBERED_DAYS), np.nan, np.float32),
        np.zeros((count, REMEMBERED_DAYS), np.bool_),
    )


def learned(tracking: Tracking, came: Matured, *, weights: bool = True, quantiles: bool = True) -> Tracking:
    """The state after a day. Raises ValueError for a day that is not later than the newest one learned from."""
    passed = int((came.day - tracking.until).astype(np.int64))
    if passed < 1:
        raise ValueError(f"{came.day} is not after {tracking.until}, the newest day learned from.")
    mixed_SJQ, lean_SG, shift_SGQ = _faded(tracking, came, passed)
    seen_S = np.isfinite(came.y_S)
    if weights and came.lineage_SJQ is not None:
        lean_SG = lean_SG - WEIGHT_RATE * _weight_gradient(came, mixed_SJQ)
    if quantiles:
        shift_SGQ = _clamped(shift_SGQ + RATE_G[:, None] * _misses(tracking.shift_SGQ, came, mixed_SJQ, came.y_S))
    learned_SD = np.concatenate([tracking.learned_SD, np.full((len(seen_S), passed), np.nan, np.float32)], axis=1)
    learned_SD[:, -1] = np.where(seen_S, came.y_S, np.nan)
    again_SD = np.concatenate([tracking.again_SD, np.zeros((len(seen_S), passed), np.bool_)], axis=1)
    return replace(
        tracking,
        lean_SG=lean_SG,
        shift_SGQ=shift_SGQ,
        until=came.day,
        learned_SD=learned_SD[:, -REMEMBERED_DAYS:],
        again_SD=again_SD[:, -REMEMBERED_DAYS:],
    )


def corrected(tracking: Tracking, came: Matured, *, weights: bool = True, quantiles: bool = True) -> Tracking:
    """The state after a day that was learned before has got another value, `came.y_S`: weights and shifts move by what the true
    value says differently, faded by the days since. Series whose value is the one learned, or were corrected before, stay. A
    value that was taken back (NaN) is unlearned, and the true one may still come."""
    age = int((tracking.until - came.day).astype(np.int64))
    again = tracking.differing(came)
    if not again.size or not (weights or quantiles):
        return tracking
    at = REMEMBERED_DAYS - 1 - age
    learnt = replace(came, y_S=tracking.learned_SD[:, at])
    mixed_SJQ = mixed(came.trained_SJQ, came.lineage_SJQ, tracking.lean_SG, _stretch_of(came.trained_SJQ.shape[1]))
    lean_SG, shift_SGQ = tracking.lean_SG.copy(), tracking.shift_SGQ.copy()
    if weights and came.lineage_SJQ is not None:
        true_SG, before_SG = (_weight_gradient(day, mixed_SJQ) for day in (came, learnt))
        faded = np.float32(0.5 ** (age / WEIGHT_HALF_LIFE))
        lean_SG[again] -= faded * WEIGHT_RATE * (true_SG - before_SG)[again]
    if quantiles:
        true_SGQ, before_SGQ = (_misses(tracking.shift_SGQ, came, mixed_SJQ, day.y_S) for day in (came, learnt))
        moved_SGQ = np.float32(0.5 ** (age / HALF_LIFE)) * RATE_G[:, None] * (true_SGQ - before_SGQ)
        shift_SGQ[again] = _clamped(shift_SGQ[again] + moved_SGQ[again])
    learned_SD, again_SD = tracking.learned_SD.copy(), tracking.again_SD.copy()
    learned_SD[again, at], again_SD[again, at] = came.y_S[again], np.isfinite(came.y_S[again])
    return replace(tracking, lean_SG=lean_SG, shift_SGQ=shift_SGQ, learned_SD=learned_SD, again_SD=again_SD)


def mixed(trained_SHQ: Floats, lineage_SHQ: Floats | None, lean_SG: Floats, stretch_H: NDArray[np.int64]) -> Floats:
    """What both experts say together, (S, H, Q); one that says nothing (NaN) leaves it to the other."""
    if lineage_SHQ is None:
        return trained_SHQ
    share_SH1 = lineage_share(lean_SG)[:, stretch_H][..., None]
    together: Floats = (1 - share_SH1) * trained_SHQ + share_SH1 * lineage_SHQ
    return np.where(np.isnan(lineage_SHQ), trained_SHQ, np.where(np.isnan(trained_SHQ), lineage_SHQ, together))


def lineage_share(lean_SG: Floats) -> Floats:
    """The lineage's share of the forecast."""
    share_SG: Floats = np.reciprocal(np.float32(1) + np.exp(-lean_SG))
    return share_SG


def together(
    tracking: Tracking, trained: tuple[Floats, Floats], lineage: tuple[Floats, Floats] | None, scale_S: Floats
) -> tuple[Floats, Floats]:
    """Mean (S, H) and quantiles (S, H, Q) of both experts, each given as such a pair, with the shifts of quantiles; the mean
    moves with the area under them. Quantiles may lie below zero."""
    mean_SH, quantiles_SHQ = trained
    stretch_H = _stretch_of(mean_SH.shape[1])
    if lineage is not None:
        share_SH = lineage_share(tracking.lean_SG)[:, stretch_H]
        mean_SH = (1 - share_SH) * mean_SH + share_SH * lineage[0]
        quantiles_SHQ = mixed(quantiles_SHQ, lineage[1], tracking.lean_SG, stretch_H)
    area_SG = (tracking.shift_SGQ @ AREA_Q.astype(np.float32)) * scale_S[:, None]
    return np.maximum(mean_SH + area_SG[:, stretch_H], 0.0), shifted(quantiles_SHQ, tracking.shift_SGQ, scale_S)


def shifted(quantiles_SHQ: Floats, shift_SGQ: Floats, scale_S: Floats) -> Floats:
    """Quantiles with their shifts, in order. They may lie below zero."""
    stretch_H = _stretch_of(quantiles_SHQ.shape[1])
    moved_SHQ: Floats = quantiles_SHQ + shift_SGQ[:, stretch_H] * scale_S[:, None, None]
    return np.sort(moved_SHQ, axis=2)


def seasonal_error(memory_SM: Floats) -> Floats:
    """The mean absolute difference to the week before, of each series' past, (S,); 0 where there is none."""
    error_SM = np.abs(memory_SM[:, 7:] - memory_SM[:, :-7])
    count_S = np.maximum(np.isfinite(error_SM).sum(axis=1), 1)
    error_S: Floats = (np.nansum(error_SM, axis=1) / count_S).astype(np.float32)
    return error_S


def _faded(tracking: Tracking, came: Matured, passed: int) -> tuple[Floats, Floats, Floats]:
    """What was said together of the day, and the state, faded by the days passed."""
    stretch_J = _stretch_of(came.trained_SJQ.shape[1])
    mixed_SJQ = mixed(came.trained_SJQ, came.lineage_SJQ, tracking.lean_SG, stretch_J)
    lean_SG = tracking.lean_SG * np.float32(0.5 ** (passed / WEIGHT_HALF_LIFE))
    return mixed_SJQ, lean_SG, tracking.shift_SGQ * np.float32(0.5 ** (passed / HALF_LIFE))


def _weight_gradient(came: Matured, mixed_SJQ: Floats) -> Floats:
    """Of the pinball loss by the lineage's weight less that by the other's, in units of the seasonal error, (S, G)."""
    assert came.lineage_SJQ is not None
    below_SJQ = (came.y_S[:, None, None] <= mixed_SJQ).astype(np.float32)
    by_lineage_SJ = ((below_SJQ - _LEVELS_Q) * (came.lineage_SJQ - came.trained_SJQ)).mean(axis=2) * 2
    scale_S1 = np.where(came.scale_S > 0, came.scale_S, np.float32(np.inf))[:, None]
    gradient_SJ = np.clip(by_lineage_SJ / scale_S1, -LARGEST_GRADIENT, LARGEST_GRADIENT)
    return _mean_by_stretch(np.where(np.isfinite(came.y_S)[:, None], gradient_SJ, np.nan)[..., None])[..., 0]


def _misses(shift_SGQ: Floats, came: Matured, mixed_SJQ: Floats, y_S: Floats) -> Floats:
    """How many more days lay above each level than should, mean over days ahead, (S, G, Q): 1[y > q] - (1 - level); 0 where
    nothing is known. Days are counted: comparing and counting whole numbers takes a third of the time of means of numbers."""
    stretch_J = _stretch_of(mixed_SJQ.shape[1])
    y_S11 = y_S[:, None, None]
    misses_SGQ = np.zeros((len(y_S), len(STRETCHES), len(_LEVELS_Q)), np.float32)
    for stretch in np.unique(stretch_J):
        said_SDQ = mixed_SJQ[:, stretch_J == stretch]
        read_SDQ = said_SDQ + (shift_SGQ[:, stretch] * came.scale_S[:, None])[:, None]
        known_SQ = np.isfinite(said_SDQ).sum(axis=1) * np.isfinite(y_S)[:, None]
        above_SQ = (y_S11 > read_SDQ).sum(axis=1)  # nothing is above, or below, what is not known
        share_SQ = above_SQ / np.maximum(known_SQ, 1)
        misses_SGQ[:, stretch] = np.where(known_SQ > 0, share_SQ - (1 - _LEVELS_Q), 0)
    return misses_SGQ


def _mean_by_stretch(values_SJX: Floats) -> Floats:
    """Mean over the days ahead of each stretch, (S, G, X); 0 where nothing is known."""
    stretch_J = _stretch_of(values_SJX.shape[1])
    known_SJX = np.isfinite(values_SJX)
    filled_SJX = np.where(known_SJX, values_SJX, np.float32(0))
    means = np.zeros((len(values_SJX), len(STRETCHES), values_SJX.shape[2]), np.float32)
    for stretch in np.unique(stretch_J):
        days = stretch_J == stretch
        count = np.maximum(known_SJX[:, days].sum(axis=1), 1).astype(np.float32)
        means[:, stretch] = filled_SJX[:, days].sum(axis=1) / count
    return means


def _clamped(shift_SGQ: Floats) -> Floats:
    return np.clip(shift_SGQ, -LARGEST_SHIFT, LARGEST_SHIFT).astype(np.float32)


def _stretch_of(days: int) -> NDArray[np.int64]:
    """The stretch of each of so many days ahead."""
    return np.searchsorted(np.array(STRETCHES), np.arange(1, days + 1)).astype(np.int64)
