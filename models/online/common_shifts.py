"""Shifts of many series at once: where the levels of many jumped on the same days, a jump of one more is less improbable (L1).

A price that changed for all, another supplier's units, a shop that opened next door: shifts.py sees each series alone, and half
believes what all of them tell together. So how probable a shift is at each of its spans is learned from all series, by
expectation-maximisation from its prior odds, which count as much as a share of the series. Only odds that come out at twice the
prior ones or more are kept, and nothing is ever less probable than they say: most days say nothing.

Part of the state of an update, so that a forecast of one series does not ask for all.

Shapes: S series, M memory days, D spans.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.days import take_days
from models.online.shifts import PRIOR_SHIFT, SPANS, Doubles, bayes_factors
from models.panel import Panel
from models.windows import MEMORY

PRIOR_SHARE = 0.1
"""Share of the series whose voices the prior odds are worth."""
DISTINCT = 2.0
"""Times the prior odds from which a day is one on which many shifted."""
MOST_ODDS = 1.0
"""Of all spans together, as far as they are learned: however many shifted, of a series itself a shift is about as probable as
none before it is seen. Without this, those that did not shift are moved too."""
FEWEST_SERIES = 50
"""Fewer say too little of all; each would hear little but its own evidence again."""
MOST_SERIES = 2_000
"""More say nothing new: so many are drawn, the same ones each time."""
_ROUNDS = 30


@dataclass(frozen=True)
class CommonShifts:
    """Odds (D of SPANS) of a shift that began so many days before the end of `day`."""

    day: np.datetime64
    odds: tuple[float, ...]

    @property
    def began(self) -> tuple[np.datetime64, np.datetime64]:
        """The first and the last of the days on one of which most of them began."""
        at = int(np.argmax(self.odds))
        return self.day - np.timedelta64(SPANS[at] - 1, "D"), self.day - np.timedelta64(SPANS[at - 1] if at else 0, "D")

    def odds_at(self, day_S: NDArray[np.datetime64]) -> Doubles:
        """The same for spans that end with other days, (S, D): what began then began longer before a later day, so what is said
        of a span beyond the prior odds is shared out among those that its days have come into. Nothing is known of what began
        after `day`, and at the end of earlier days."""
        later_S, inverse_S = np.unique((day_S - self.day).astype(np.int64), return_inverse=True)
        beyond_D = np.array(self.odds) - PRIOR_SHIFT
        shared = [_aged(later) @ beyond_D if later >= 0 else 0 * beyond_D for later in later_S.tolist()]
        return PRIOR_SHIFT + np.array(shared)[inverse_S]


def _aged(days: int) -> Doubles:
    """Which share of each span's days (a column) lies in each span (a row) so many days later."""
    ends_D = np.array(SPANS)
    begins_D = np.append(0, ends_D[:-1])
    first = np.maximum(begins_D[:, None], begins_D + days)
    last = np.minimum(ends_D[:, None], ends_D + days)
    shares: Doubles = np.maximum(last - first, 0) / (ends_D - begins_D)
    return shares


def odds_at(day: ArrayLike, common: CommonShifts | None) -> Doubles:
    """The odds of shifts for windows that end with a day, (D,), or one each, (S, D)."""
    day_S = np.atleast_1d(np.asarray(day, "datetime64[D]"))
    prior_SD = np.full((len(day_S), len(SPANS)), PRIOR_SHIFT)
    odds_SD = prior_SD if common is None else common.odds_at(day_S)
    return odds_SD.reshape(*np.shape(day), len(SPANS))


def common_shifts(panel: Panel, cutoff: int) -> CommonShifts | None:
    """What all series of a panel say together at a cutoff (day index); None where that is nothing out of the ordinary."""
    # Drawn, not every so-manieth: series stand by item and location, and that may be one location alone.
    chosen = np.sort(np.random.default_rng(0).permutation(panel.series)[:MOST_SERIES])
    first_S = np.full(len(chosen), cutoff - MEMORY + 1, np.int64)
    odds_D = _together(bayes_factors(take_days(panel.quantity_ST, chosen, first_S, MEMORY)))
    if odds_D is None:
        return None
    odds_D = odds_D * min(1.0, MOST_ODDS / odds_D.sum())
    if not (odds_D > DISTINCT * PRIOR_SHIFT).any():
        return None
    kept_D = np.where(odds_D > DISTINCT * PRIOR_SHIFT, odds_D, PRIOR_SHIFT)
    return CommonShifts(panel.start + np.timedelta64(cutoff, "D"), tuple(kept_D.tolist()))


def _together(factors_SD: Doubles) -> Doubles | None:
    """The odds of a shift at each span, against none, that explain all series best; None of too few."""
    factors_SD = factors_SD[(factors_SD > 0).any(axis=1)]
    count = len(factors_SD)
    if count < FEWEST_SERIES:
        return None
    prior_D = np.full(len(SPANS), PRIOR_SHIFT)
    voices = PRIOR_SHARE * count / (1 + prior_D.sum())
    odds_D = prior_D
    for _ in range(_ROUNDS):
        weighed_SD = odds_D * factors_SD
        none_S = 1 / (1 + weighed_SD.sum(axis=1))
        odds_D = (voices * prior_D + none_S @ weighed_SD) / (voices + none_S.sum())
    return odds_D
