"""Shifts of many series at once: found on the day they have in common, forgotten as it ages, and silent on all other days."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.online.common_shifts import (
    DISTINCT,
    FEWEST_SERIES,
    MOST_ODDS,
    MOST_SERIES,
    PRIOR_SHARE,
    CommonShifts,
    common_shifts,
    odds_at,
)  # fmt: skip
from models.online.shifts import PRIOR_SHIFT, SPANS, at_present_level, bayes_factors, level_shifts
from models.panel import Panel
from models.windows import MEMORY
from tests.models.panels import START
from tests.models.test_shifts import sold

CUTOFF = MEMORY + 20


def panel_of(series: int = 120, *, shifted: float = 0.5, days: int = 14, mean: float = 8, factor: float = 1.7) -> Panel:
    """Series that sell whole units, of which a share shifted so many days before the cutoff."""
    units = np.concatenate([sold(series, mean=mean), sold(series, mean=mean, seed=1)], axis=1)[:, : CUTOFF + 30]
    begin = CUTOFF + 1 - days
    units[: int(series * shifted), begin:] = np.rint(units[: int(series * shifted), begin:] * factor)
    return Panel([f"A-{n}" for n in range(series)], [""] * series, START, units)


def test_where_half_of_all_shifted_the_day_is_found() -> None:
    common = common_shifts(panel_of(), CUTOFF)
    assert common is not None
    odds = dict(zip(SPANS, common.odds, strict=True))
    assert max(odds, key=lambda span: odds[span]) == 14
    assert odds[14] > 4 * PRIOR_SHIFT
    assert {odds[4], odds[28]} == {PRIOR_SHIFT}  # no day is less probable than before
    assert common.day == panel_of().start + np.timedelta64(CUTOFF, "D")


@pytest.mark.parametrize("shifted", [0.0, 0.04])
def test_where_few_shift_nothing_is_said(shifted: float) -> None:
    assert common_shifts(panel_of(shifted=shifted), CUTOFF) is None


def test_few_series_say_nothing_of_one_another() -> None:
    assert common_shifts(panel_of(FEWEST_SERIES - 1, shifted=1), CUTOFF) is None
    assert common_shifts(panel_of(FEWEST_SERIES, shifted=1), CUTOFF) is not None


def test_of_very_many_series_a_part_is_asked_and_says_the_same() -> None:
    some = panel_of(400)
    many = Panel(some.skus * 6, some.locations * 6, START, np.repeat(some.quantity_ST, 6, axis=0))
    assert many.series > MOST_SERIES
    one, other = common_shifts(some, CUTOFF), common_shifts(many, CUTOFF)
    assert one is not None and other is not None
    np.testing.assert_allclose(other.odds, one.odds, rtol=0.2)


def test_days_after_the_cutoff_change_nothing() -> None:
    panel = panel_of()
    after = replace(panel, quantity_ST=panel.quantity_ST.copy())
    after.quantity_ST[:, CUTOFF + 1 :] = 1_000
    assert common_shifts(panel, CUTOFF) == common_shifts(after, CUTOFF)


def test_the_odds_are_the_most_probable_ones() -> None:
    """Against the posterior itself, written down anew: no odds nearby explain the series better."""
    panel = panel_of()
    memory = panel.quantity_ST[:, CUTOFF + 1 - MEMORY : CUTOFF + 1]
    factors, common = bayes_factors(memory), common_shifts(panel, CUTOFF)
    assert common is not None
    prior = np.append(np.full(len(SPANS), PRIOR_SHIFT), 1.0)
    voices = PRIOR_SHARE * len(factors) * prior / prior.sum()

    def posterior(odds: np.ndarray) -> float:
        share = np.append(odds, 1.0) / (1 + odds.sum())
        return float(np.log(factors @ share[:-1] + share[-1]).sum() + voices @ np.log(share))

    found = odds_by_ascent(posterior)
    assert found.sum() > MOST_ODDS
    found *= MOST_ODDS / found.sum()
    np.testing.assert_allclose(common.odds, np.where(found > DISTINCT * PRIOR_SHIFT, found, PRIOR_SHIFT), rtol=0.02)


def odds_by_ascent(posterior: Callable[[np.ndarray], float]) -> np.ndarray:
    """The highest point of a function of odds: one of them at a time is tried larger and smaller, by ever smaller steps."""
    odds, step = np.full(len(SPANS), 0.1), 2.0
    while step > 1.0005:
        before = posterior(odds)
        for at in range(len(odds)):
            tries = [odds * np.where(np.arange(len(odds)) == at, times, 1.0) for times in (step, 1.0, 1 / step)]
            odds = max(tries, key=posterior)
        if posterior(odds) <= before + 1e-12:
            step = step**0.5
    return odds


def test_more_is_believed_of_a_series_where_others_shifted_too() -> None:
    panel = panel_of(mean=3)
    memory = panel.quantity_ST[:60, CUTOFF + 1 - MEMORY : CUTOFF + 1]
    common = common_shifts(panel, CUTOFF)
    odds = odds_at(panel.start + np.timedelta64(CUTOFF, "D"), common)
    alone, together = (level_shifts(memory, one)[0].sum(axis=1) for one in (PRIOR_SHIFT, odds))
    assert (together > alone).all()
    past = np.s_[:, : -SPANS[-1]]
    brought = [at_present_level(memory, one)[0][past].sum() for one in (PRIOR_SHIFT, odds)]
    assert memory[past].sum() < brought[0] < brought[1]


def test_a_common_shift_ages_and_is_unknown_before_its_day() -> None:
    day = np.datetime64("2026-03-10")
    rising = CommonShifts(day, tuple(float(n) for n in range(1, len(SPANS) + 1)))  # 4: 1, 6: 2, 8: 3 … 28: 10
    of = dict(zip(SPANS, range(len(SPANS)), strict=True))
    np.testing.assert_array_equal(odds_at(day, rising), rising.odds)
    two_later = odds_at(day + 2, rising)
    assert two_later[of[6]] == 1  # what began six days ago began four days before `day`'s end
    assert two_later[of[4]] == 1  # two days: in the span of four
    assert two_later[of[17]] == 7  # fifteen days: in the span of 17
    assert two_later[of[28]] == 10
    week_later = odds_at(day + 7, rising)
    assert week_later[of[6]] == PRIOR_SHIFT  # began after `day`
    assert week_later[of[8]] == 1
    np.testing.assert_array_equal(odds_at([day - 1, day], rising), [[PRIOR_SHIFT] * len(SPANS), rising.odds])
    np.testing.assert_array_equal(odds_at(day, None), [PRIOR_SHIFT] * len(SPANS))
