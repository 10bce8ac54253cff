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
)
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
    assert common.began == (common.day - np.timedelta64(13, "D"), common.day - np.timedelta64(12, "D"))


def test_one_that_began_lately_may_be_of_today() -> None:
    common = common_shifts(panel_of(days=3, factor=3), CUTOFF)
    assert common is not None
    assert common.began == (common.day - np.timedelta64(3, "D"), common.day)


@pytest.mark.parametrize("shifted", [0.0, 0.04])
def test_where_few_shift_nothing_is_said(shifted: float) -> None:
    assert common_shifts(panel_of(shifted=shifted), CUTOFF) is None


def test_few_series_say_nothing_of_one_another() -> None:
    assert common_shifts(panel_of(FEWEST_SERIES - 1, shifted=1), CUTOFF) is None
    assert common_shifts(panel_of(FEWEST_SERIES, shifted=1), CUTOFF) is not None


def test_of_very_many_series_some_are_asked_of_all_kinds() -> None:
    """Series stand by item and location: here every tenth, those of one shop, did not shift."""
    few, count = panel_of(200, shifted=1), 10 * MOST_SERIES
    shop = np.arange(count) % 10
    quiet = panel_of(200, shifted=0).quantity_ST
    units = np.where((shop == 0)[:, None], quiet[np.arange(count) % 200], few.quantity_ST[np.arange(count) % 200])
    common = common_shifts(Panel(["A"] * count, [str(n) for n in shop], START, units), CUTOFF)
    assert common is not None
    all_of_few = common_shifts(few, CUTOFF)
    assert all_of_few is not None
    np.testing.assert_allclose(common.odds, all_of_few.odds, rtol=0.25)


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
    common = CommonShifts(day, tuple(PRIOR_SHIFT + (0.6 if span == 14 else 0.0) for span in SPANS))  # 13 or 14 days ago
    of = dict(zip(SPANS, range(len(SPANS)), strict=True))

    def beyond(days: int) -> dict[int, float]:
        found = odds_at(day + days, common) - PRIOR_SHIFT
        return {span: round(float(found[at]), 6) for span, at in of.items() if found[at] > 1e-9}

    assert beyond(0) == {14: 0.6}
    assert beyond(1) == {14: 0.3, 17: 0.3}  # 14 or 15 days ago
    assert beyond(3) == {17: 0.6}  # 16 or 17
    assert beyond(4) == {17: 0.3, 20: 0.3}
    assert beyond(14) == {28: 0.6}
    assert beyond(15) == {28: 0.3}  # or longer ago than the longest span
    assert beyond(-1) == beyond(16) == {}
    both = odds_at([day - 1, day], common)
    np.testing.assert_allclose(both, [[PRIOR_SHIFT] * len(SPANS), common.odds])
    np.testing.assert_array_equal(odds_at(day, None), [PRIOR_SHIFT] * len(SPANS))


def test_a_prior_that_ages_stays_the_prior() -> None:
    day = np.datetime64("2026-03-10")
    for days in range(30):
        np.testing.assert_array_equal(
            odds_at(day + days, CommonShifts(day, (PRIOR_SHIFT,) * len(SPANS))), odds_at(day, None)
        )
