"""The four rules on arrays made by hand. Shapes: S series, W past days, D judged days."""

import numpy as np
import pytest

from app.quarantine.checks import (
    FEWEST_DAYS,
    FEWEST_UNITS,
    PAST_DAYS,
    Doubles,
    Facts,
    Group,
    held,
    newest_days,
    newest_mean,
    suspected,
    usual,
)

WEEK = np.array([10.0, 11.0, 9.0, 10.0, 14.0, 18.0, 6.0])


def past(series: int = 10) -> Doubles:
    """Eight equal weeks, a level for each series and a small unrest so that no two days are equal."""
    unrest_W = np.arange(PAST_DAYS) // 7 % 2 * 0.5
    return np.resize(WEEK, PAST_DAYS) * (1 + np.arange(series))[:, np.newaxis] + unrest_W


def group(*days: Doubles, past_SW: Doubles | None = None, settled: bool = True) -> Group:
    past_SW = past() if past_SW is None else past_SW
    quantity_SX = np.column_stack([past_SW, *days])
    judged_SD = np.isfinite(quantity_SX[:, PAST_DAYS:])
    return Group(quantity_SX, judged_SD, np.full(len(past_SW), settled), 20_000)


def facts(of: Group, **known: float) -> Facts:
    """Nothing is known but what is named: peak, seen, level of all; special or explained days."""
    series, days = of.judged_SD.shape
    return Facts(
        np.full(series, int(known.get("seen", 0))),
        np.full(series, known.get("level", np.nan)),
        np.full(series, known.get("peak", 0.0)),
        np.full((series, days), bool(known.get("special", False))),
        np.full((series, days), bool(known.get("explained", False))),
    )


def reasons(of: Group, **known: float) -> list[tuple[int, int, str]]:
    found = held(of, facts(of, **known))
    return sorted(zip(found.series_N, found.day_N, found.reason_N, strict=True))


def a_day(times: float = 1.0) -> Doubles:
    """The Monday that comes next."""
    return times * (WEEK[0] * (1 + np.arange(10)) + 0.75)


def test_a_usual_day_is_not_held_and_its_expectation_is_its_weekdays_mean() -> None:
    assert reasons(group(a_day())) == []
    np.testing.assert_allclose(usual(past()), WEEK[0] * (1 + np.arange(10)) + 0.25)


def test_what_is_usual_needs_three_days_of_the_weekday() -> None:
    past_SW = past(1)
    past_SW[0, -7::-7][2:] = np.nan
    assert usual(past_SW)[0] == pytest.approx(np.nanmean(past_SW))
    assert np.isnan(usual(np.full((1, PAST_DAYS), np.nan))[0])


@pytest.mark.parametrize(("quantity", "known", "expected"), [
    (120, {}, True),
    (100, {}, False),  # not ten times the mean of 11.4
    (120, {"peak": 70}, False),  # the year knows days more than half as good
    (120, {"special": True}, False),
    (240, {"special": True}, True),
])  # fmt: skip
def test_one_row_is_held_beyond_ten_times_its_level_and_twice_its_year(
    quantity: float, known: dict[str, float], expected: bool
) -> None:
    day = a_day()
    day[0] = quantity
    assert (reasons(group(day), **known) == [(0, 0, "factor")]) is expected


def test_few_units_are_never_a_factor() -> None:
    past_SW = past()
    past_SW[0] = np.arange(PAST_DAYS) % 20 == 0
    day = a_day()
    day[0] = FEWEST_UNITS
    assert reasons(group(day, past_SW=past_SW)) == []
    day[0] += 1
    assert reasons(group(day, past_SW=past_SW)) == [(0, 0, "factor")]


def test_a_series_with_few_days_is_judged_by_a_year_or_not_at_all() -> None:
    past_SW = np.full((1, PAST_DAYS), np.nan)
    of = group(np.array([60.0]), past_SW=past_SW, settled=False)
    assert suspected(of).reason_N == ["factor"]
    assert reasons(of, seen=FEWEST_DAYS - 1, level=2, peak=4) == []
    assert reasons(of, seen=FEWEST_DAYS, level=2, peak=4) == [(0, 0, "factor")]
    assert reasons(of, seen=FEWEST_DAYS, level=6, peak=8) == []


@pytest.mark.parametrize("times", [12, 6, 1 / 6, 1 / 12])
def test_a_whole_day_in_another_unit_is_held(times: float) -> None:
    assert {reason for _, _, reason in reasons(group(a_day(times)))} == {"units"}
    assert len(reasons(group(a_day(times)))) == 10


def test_a_rush_and_a_quiet_day_are_true() -> None:
    for times in (3.5, 1 / 3.5):
        assert reasons(group(a_day(times))) == []
    assert reasons(group(a_day(6)), special=True) == []
    assert reasons(group(a_day(1 / 6)), explained=True) == []


def test_a_few_series_many_times_as_much_are_no_other_unit() -> None:
    day = a_day()
    day[-3:] *= 30
    assert {reason for _, _, reason in reasons(group(day))} == {"factor"}
    assert {series for series, _, _ in reasons(group(day))} == {7, 8, 9}


def test_seven_series_say_nothing_of_their_place() -> None:
    assert reasons(group(a_day(6)[:7], past_SW=past(7))) == []
    assert reasons(group(0 * a_day()[:7], past_SW=past(7))) == []
    assert reasons(group(a_day()[:7], a_day()[:7], past_SW=past(7))) == []


def test_the_later_of_two_equal_days_is_held() -> None:
    assert {(day, reason) for _, day, reason in reasons(group(a_day(), a_day()))} == {(1, "repeated")}
    assert {(day, reason) for _, day, reason in reasons(group(a_day(), a_day(), a_day()))} == {
        (1, "repeated"),
        (2, "repeated"),
    }


def test_a_day_equal_to_a_later_one_that_stood_before_is_held() -> None:
    of = group(a_day(), a_day())
    of.judged_SD[:, 1] = False
    assert {(day, reason) for _, day, reason in reasons(of)} == {(0, "repeated")}


def test_one_quantity_that_differs_makes_days_different() -> None:
    other = a_day()
    other[4] += 1
    assert reasons(group(a_day(), other)) == []


def test_days_equal_to_more_than_one_are_equal_as_a_rule() -> None:
    past_SW = past()
    past_SW[:, [-7, -14]] = a_day()[:, np.newaxis]
    assert reasons(group(a_day(), past_SW=past_SW)) == []


def test_four_different_quantities_may_come_again_by_chance() -> None:
    day = np.resize([1.0, 2.0, 3.0, 4.0], 10)
    past_SW = np.tile([[1.0, 3.0, 2.0, 4.0, 1.0, 5.0, 2.0]], (10, 8))
    assert reasons(group(day, day, past_SW=past_SW)) == []


def test_a_wall_of_zeros_is_held_unless_something_explains_it() -> None:
    assert {reason for _, _, reason in reasons(group(0 * a_day()))} == {"zeros"}
    assert reasons(group(0 * a_day()), explained=True) == []
    one_sale = 0 * a_day()
    one_sale[3] = 1
    assert reasons(group(one_sale)) == []


def test_a_weekday_that_once_sold_nothing_may_do_so_again() -> None:
    past_SW = past()
    past_SW[:, -21] = 0
    assert reasons(group(0 * a_day(), past_SW=past_SW)) == []


def test_what_is_held_tells_nothing_of_the_days_after_it() -> None:
    high = a_day()
    high[0] = 120
    later = a_day(1.1)
    later[0] = 130
    assert reasons(group(high, later)) == [(0, 0, "factor"), (0, 1, "factor")]


def test_held_days_give_way_to_the_same_weekdays_before_them() -> None:
    days_SX = np.tile(np.arange(2.0 * PAST_DAYS), (2, 1))
    held_SX = np.zeros(days_SX.shape, np.bool_)
    np.testing.assert_array_equal(newest_days(days_SX, held_SX), days_SX[:, -PAST_DAYS:])
    held_SX[0, [-1, -8, -2]] = True
    newest_SW = newest_days(np.where(held_SX, np.nan, days_SX), held_SX)
    np.testing.assert_array_equal(newest_SW[1], days_SX[1, -PAST_DAYS:])
    assert newest_SW[0, -7::-7].tolist() == days_SX[0, -7::-7][:8].tolist()
    assert newest_SW[0, -1::-7].tolist() == days_SX[0, -1::-7][2:10].tolist()
    assert newest_SW[0, -2::-7].tolist() == days_SX[0, -2::-7][1:9].tolist()
    held_SX[0] = True
    assert np.isnan(newest_days(np.where(held_SX, np.nan, days_SX), held_SX)[0]).all()


def test_a_place_is_held_for_as_long_as_it_is_wrong() -> None:
    true = [a_day(WEEK[day % 7] / WEEK[0]) + day / 8 for day in range(PAST_DAYS)]
    for times, reason in ((12, "units"), (1 / 12, "units"), (0, "zeros")):
        found = reasons(group(*(times * day for day in true)))
        assert [reason for _, _, reason in found] == [reason] * 10 * PAST_DAYS
    assert reasons(group(*(12 * day for day in true[:-1]), true[-1]))[-1][1] == PAST_DAYS - 2


def test_rows_that_the_post_did_not_write_are_not_held() -> None:
    of = group(a_day(12))
    of.judged_SD[:2] = False
    assert {series for series, _, _ in reasons(of)} == set(range(2, 10))


def test_a_mean_of_the_newest_days_with_sales() -> None:
    year = np.r_[np.full(100, 50.0), np.full(PAST_DAYS - 2, np.nan), np.zeros(PAST_DAYS - 2), 4.0, 6.0]
    assert newest_mean(year) == 5.0
    assert np.isnan(newest_mean(np.zeros(5)))
