"""Which posted days cannot be true: four rules on arrays, without SQL. They look for mistakes of files, not for surprises.

A series is judged by the PAST_DAYS days before a day that are not held, its place by all series posted there (a *group*). A
mistake moves what it touches by a factor of ten or more, or makes days equal that never are; true days, also those of a sale or a
storm, stay within a small multiple of what the year before knew. So every limit lies far from both, and none is learned.

Shapes: S series of a group, X consecutive days of which the last D may be judged (PAST_DAYS or more lie before these), W
PAST_DAYS days, N rows that are held.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reason = Literal["factor", "units", "repeated", "zeros"]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Index = NDArray[np.int64]

PAST_DAYS = 56
"""Days before a day that it is judged by: eight of each weekday."""
YEAR_DAYS = 392
"""Days before a suspect day whose highest counts: a year and the four weeks that a feast may move by."""
FEWEST_DAYS = 28
"""Observed days before a post, below which nothing is known of a series and nothing is judged."""

FACTOR = 10.0
"""Times the mean of its days with sales. A mistake by 50 on a day a fifth as good as usual is still one."""
PEAK = 2.0
"""Times the highest day of the year. 11 of 346,000 true days are beyond both (benchmarks/results/quarantine.md)."""
FEWEST_UNITS = 30.0
"""A day that sold no more is never a `factor`: 30 of a thing that sells one now and then are one customer."""
WIDENED = 2.0
"""What a promotion or an event does to both limits."""

FEWEST_SERIES = 8
"""Rows of a place's day below which nothing is said of the place."""
UNITS = 4.0
"""A place's day that is so many times as much, or as little, as usual: cases hold six units and more."""
FEWEST_USUAL = 1.0
"""Usual units of a series below which its ratio is mostly chance."""
LARGEST_CASE = 48.0
"""A place's day below this part of the usual one is not told in cases: almost nothing sold."""
SPREAD = 1.5
"""Times the usual spread of the ratios (and half a unit of the logarithm, for cases of several sizes)."""
SPREAD_OF_CASES = 0.5
ALIKE = 0.9
"""Share of series that must lie low where all together do."""
REPEATED_DAYS = 27
"""Days around a day with which it may be equal; what returns every four weeks is a rule, not a mistake."""
DISTINCT = 5
"""Different quantities above zero that make it impossible that two days are equal by chance."""
SOLD_AT_LEAST = 20.0
"""Units that each of the last eight same weekdays must have sold for a day without a sale to be impossible."""
SELLING_AT_LEAST = 4
WEEKDAYS_AT_LEAST = 6
LIKE_DAYS = 7
"""Days of a place, the newest since one that was confirmed, near any of which a day is true: a week knows all weekdays."""
CONFIRMED_FOR_DAYS = 2 * PAST_DAYS
"""Days for which a confirmed day counts so. What it begins is usual after PAST_DAYS, and, if it ends by then, unusual after
as many."""


@dataclass(frozen=True)
class Group:
    """Series of one place with what is stored of them, and which of their days a post wrote.

    `quantity_SX` has the post's values in it; NaN is missing, or held before (`held_SX`; None: nothing is). `judged_SD` are the
    rows that may be held. The place is judged by series in `settled_S` alone, which had FEWEST_DAYS known days before the post.
    """

    quantity_SX: Doubles
    judged_SD: Flags
    settled_S: Flags
    first_day: int = 0
    """Day number of the first judged day."""
    held_SX: Flags | None = None

    @property
    def past(self) -> int:
        """How many days lie before the first judged day."""
        days: int = self.quantity_SX.shape[1] - self.judged_SD.shape[1]
        return days


@dataclass(frozen=True)
class Confirmed:
    """The newest day of the place, before each judged one, that was held as a whole and confirmed; the shapes are a group's."""

    column_D: Index  # of quantity_SX, 0 if it lies before; -1: there is none
    usual_SD: Doubles  # what was usual on that day


@dataclass(frozen=True)
class Facts:
    """What is asked of suspects alone, since it costs more to read; the shapes are a group's."""

    seen_S: Index  # observed days in the year before, up to the post
    level_S: Doubles  # mean of those with sales among the newest PAST_DAYS of them
    peak_S: Doubles  # the highest of them
    special_SD: Flags  # a promotion or an event
    explained_SD: Flags  # the place is closed, has a holiday, or others sold there: few sales prove nothing
    confirmed: Confirmed | None = None


@dataclass(frozen=True)
class Held:
    """N rows that are held: indices of series and judged day, what was usual, and why, with a sentence for each."""

    series_N: list[int] = field(default_factory=list)
    day_N: list[int] = field(default_factory=list)
    expected_N: list[float] = field(default_factory=list)
    reason_N: list[Reason] = field(default_factory=list)
    detail_N: list[str] = field(default_factory=list)

    def add(self, rows: Index, day: int, expected_S: Doubles, reason: Reason, detail: Callable[[int], str]) -> None:
        for row in rows.tolist():
            self.series_N.append(row)
            self.day_N.append(day)
            self.expected_N.append(round(float(expected_S[row]), 4))
            self.reason_N.append(reason)
            self.detail_N.append(detail(row))


def suspected(group: Group) -> Held:
    """What would be held if nothing more were known than these days: the rows of which `Facts` are to be read."""
    return _judged(group, None)


def held(group: Group, facts: Facts) -> Held:
    """The rows that cannot be true. A day that is held tells nothing of the days after it."""
    return _judged(group, facts)


def usual(past_SW: Doubles) -> Doubles:
    """What a day should sell: the mean of its weekday, three of which must be known, else of all days; NaN without any."""
    weekday_SK = past_SW[:, -7::-7]
    seen_S = np.isfinite(weekday_SK).sum(axis=1)
    return np.where(seen_S >= 3, _mean(weekday_SK), _mean(past_SW))


def newest_days(quantity_SX: Doubles, held_SX: Flags) -> Doubles:
    """The last PAST_DAYS days, S x W. In the place of days that are held lie days of the same weekday before them: what is held
    tells nothing, and who is held for months is still judged by what was known before."""
    newest_SW = quantity_SX[:, -PAST_DAYS:]
    rows = np.flatnonzero(held_SX[:, -PAST_DAYS:].any(axis=1))
    if not len(rows):
        return newest_SW
    newest_SW = newest_SW.copy()
    for weekday in range(PAST_DAYS - 7, PAST_DAYS):
        days_K = np.arange(weekday - PAST_DAYS, -quantity_SX.shape[1] - 1, -7)  # the newest first
        order_RK = np.argsort(held_SX[np.ix_(rows, days_K)], axis=1, kind="stable")[:, : PAST_DAYS // 7]
        found_RK = np.take_along_axis(quantity_SX[np.ix_(rows, days_K)], order_RK, axis=1)
        newest_SW[np.ix_(rows, np.arange(weekday, -1, -7))] = found_RK
    return newest_SW


def newest_mean(year_W: Doubles) -> float:
    """The mean of the days with sales among the newest PAST_DAYS observed ones; NaN without any."""
    newest = year_W[np.isfinite(year_W)][-PAST_DAYS:]
    sold = newest[newest > 0]
    return float(sold.mean()) if len(sold) else np.nan


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # quantities go up to the largest number there is
def _judged(group: Group, facts: Facts | None) -> Held:
    found = Held()
    known_SX = group.quantity_SX.copy()
    held_SX = np.zeros(known_SX.shape, np.bool_) if group.held_SX is None else group.held_SX.copy()
    for day in range(group.judged_SD.shape[1]):
        if not group.judged_SD[:, day].any():
            continue
        before = len(found.series_N)
        one = _Day(replace(group, quantity_SX=known_SX), day, facts, held_SX)
        for rule in (_zeros, _repeated, _units):
            if rule(one, found):
                break
        else:
            _factor(one, found)
        known_SX[found.series_N[before:], one.column] = np.nan
        held_SX[found.series_N[before:], one.column] = True
    return found


class _Day:
    """One judged day of a group, with what the rules share."""

    def __init__(self, group: Group, day: int, facts: Facts | None, held_SX: Flags) -> None:
        self.group, self.day, self.facts = group, day, facts
        self.column = group.past + day
        self.past_SW = newest_days(group.quantity_SX[:, : self.column], held_SX[:, : self.column])
        self.quantity_S = group.quantity_SX[:, self.column]
        self.judged_S = group.judged_SD[:, day] & np.isfinite(self.quantity_S)
        self.usual_S = usual(self.past_SW)
        self.times = 1.0  # how many times as much as usual the place sells, where that is true
        none = np.zeros(len(self.quantity_S), np.bool_)
        self.special_S = none if facts is None else facts.special_SD[:, day]
        self.explained_S = none if facts is None else facts.explained_SD[:, day]

    def rows(self, also: Flags | None = None) -> Index:
        """The rows by which the place is judged; few ones judge nothing."""
        flags_S = self.judged_S & self.group.settled_S
        return np.flatnonzero(flags_S if also is None else flags_S & also)

    def since_confirmed(self, rows: Index) -> tuple[Doubles, Doubles]:
        """The newest days since one that was confirmed, R x K, and what was usual before it; no column where none was.

        Of a day that is held, or that half of the rows do not know, nothing is told.
        """
        confirmed = None if self.facts is None else self.facts.confirmed
        column = -1 if confirmed is None else int(confirmed.column_D[self.day])
        if confirmed is None or column < 0:
            return np.empty((len(rows), 0)), np.empty((len(rows), 0))
        since_RK = self.group.quantity_SX[rows, column : self.column]
        since_RK = since_RK[:, np.isfinite(since_RK).mean(axis=0) >= 0.5][:, -LIKE_DAYS:]
        return since_RK, confirmed.usual_SD[rows, self.day : self.day + 1]

    def name(self, column: int) -> str:
        return str(np.datetime64(self.group.first_day + column - self.group.past, "D"))

    def hold_all(self, found: Held, reason: Reason, detail: str) -> bool:
        found.add(np.flatnonzero(self.judged_S), self.day, self.usual_S, reason, lambda _: detail)
        return True


def _zeros(one: _Day, found: Held) -> bool:
    """No sale at all where every same weekday of eight weeks sold."""
    rows = one.rows(~one.explained_S)
    if len(rows) < FEWEST_SERIES or (one.quantity_S[one.judged_S & ~one.explained_S] > 0).any():
        return False
    weekday_RK = one.past_SW[rows, -7::-7]
    told_K = np.isfinite(weekday_RK).mean(axis=0) >= 0.5
    sold_K = np.nansum(weekday_RK, axis=0)[told_K]
    selling_K = (weekday_RK > 0).sum(axis=0)[told_K]
    if len(sold_K) < WEEKDAYS_AT_LEAST or sold_K.min() < SOLD_AT_LEAST or selling_K.min() < SELLING_AT_LEAST:
        return False
    since_RK, _ = one.since_confirmed(rows)
    if since_RK.shape[1] and not np.nansum(since_RK):  # somebody has said that the place sells nothing
        return False
    detail = (
        f"None of {len(rows)} series sold anything; on each of the last {len(sold_K)} same weekdays they sold"
        f" {sold_K.min():g} or more, and nothing says that the place was closed."
    )
    held_rows = np.flatnonzero(one.judged_S & ~one.explained_S)
    found.add(held_rows, one.day, one.usual_S, "zeros", lambda _: detail)
    return True


def _repeated(one: _Day, found: Held) -> bool:
    """The very quantities of another day. Days that are equal to more than one other are equal as a rule."""
    rows = one.rows()
    value_R = one.quantity_S[rows]
    if len(rows) < FEWEST_SERIES or len(np.unique(value_R[value_R > 0])) < DISTINCT:
        return False
    equal = [column for column in _other_days(one, rows) if _equal(one.group.quantity_SX[rows, column], value_R)]
    if len(equal) != 1:
        return False
    return one.hold_all(
        found,
        "repeated",
        f"The quantities of all {len(rows)} series are those of {one.name(equal[0])}: one file under two dates.",
    )


def _other_days(one: _Day, rows: Index) -> Iterator[int]:
    """Columns of the days before, and of those after that this post did not write."""
    yield from range(max(one.column - REPEATED_DAYS, 0), one.column)
    for column in range(one.column + 1, min(one.column + REPEATED_DAYS + 1, one.group.quantity_SX.shape[1])):
        if not one.group.judged_SD[rows, column - one.group.past].any():
            yield column


def _equal(other_R: Doubles, value_R: Doubles) -> bool:
    return bool(((other_R == value_R) | ((value_R == 0) & np.isnan(other_R))).all())


def _units(one: _Day, found: Held) -> bool:
    """All together many times as much, or as little, and each of them alike."""
    rows = one.rows()
    usual_R, value_R = one.usual_S[rows], one.quantity_S[rows]
    told_R = usual_R >= FEWEST_USUAL
    if told_R.sum() < FEWEST_SERIES or value_R.sum() == 0:
        return False
    total = float(np.log(value_R.sum() / np.nansum(usual_R)))
    if not (_all_more if total > 0 else _all_less)(one, rows, told_R, total):
        return False
    if _near_confirmed(one, rows):
        one.times = max(float(np.exp(total)), 1.0)
        return False
    times = f"{np.exp(total):.1f} times" if total > 0 else f"1/{np.exp(-total):.1f} of"
    detail = (
        f"All {len(rows)} series together are {times} what is usual, each of them alike: another unit, such as cases."
    )
    return one.hold_all(found, "units", detail)


def _all_more(one: _Day, rows: Index, told_R: Flags, total: float) -> bool:
    """Whether those that sold lie about one factor above what is usual, nearer together than a rush would leave them."""
    ratio_R = _logs(one.quantity_S[rows[told_R]], one.usual_S[rows[told_R]])
    ratio_R = ratio_R[np.isfinite(ratio_R)]
    limit = np.log(UNITS * (WIDENED if one.special_S[rows].mean() > 0.5 else 1.0))
    if len(ratio_R) < FEWEST_SERIES or min(total, float(np.median(ratio_R))) < limit:
        return False
    return _spread(ratio_R) <= SPREAD * _usual_spread(one.past_SW[rows, -28:], one.usual_S[rows]) + SPREAD_OF_CASES


def _all_less(one: _Day, rows: Index, told_R: Flags, total: float) -> bool:
    """Whether almost none sold even half of what is usual. In cases many sell nothing, so ratios tell less than they do above."""
    if one.explained_S[rows].any() or not -np.log(LARGEST_CASE) <= total <= -np.log(UNITS):
        return False
    low_R = one.quantity_S[rows] <= one.usual_S[rows] / 2
    return bool(low_R[told_R].mean() >= ALIKE)


def _near_confirmed(one: _Day, rows: Index) -> bool:
    """Whether the day is like one since somebody confirmed such a day, or like those before it: what was true may end, too."""
    for other_R in np.hstack(one.since_confirmed(rows)).T:
        known_R = np.isfinite(other_R)
        ratio = one.quantity_S[rows[known_R]].sum() / other_R[known_R].sum()
        if abs(np.log(ratio)) < np.log(UNITS):
            return True
    return False


def _factor(one: _Day, found: Held) -> None:
    """One row many times as much as its series ever sold."""
    usual_S, level_S = one.usual_S, _mean(np.where(one.past_SW > 0, one.past_SW, np.nan))
    peak_S = np.max(one.past_SW, axis=1, initial=0.0, where=np.isfinite(one.past_SW))
    if one.facts is None:
        unknown_S = ~one.group.settled_S  # what is left out of here is judged by a year, once that is read
        level_S, peak_S = np.where(unknown_S, 0.0, level_S), np.where(unknown_S, 0.0, peak_S)
    else:
        peak_S = np.fmax(peak_S, one.facts.peak_S)
        level_S = np.where(one.group.settled_S, level_S, one.facts.level_S)
        usual_S = np.where(np.isnan(usual_S), level_S, usual_S)
    widened_S = np.where(one.special_S, WIDENED, 1.0)
    limit_S = widened_S * np.maximum(FACTOR * one.times * np.nan_to_num(level_S), PEAK * peak_S)
    beyond_S = one.judged_S & (one.quantity_S > np.maximum(limit_S, FEWEST_UNITS))
    if one.facts is not None:
        beyond_S &= one.group.settled_S | (one.facts.seen_S >= FEWEST_DAYS)

    def detail(row: int) -> str:
        return (
            f"{one.quantity_S[row]:g} is {one.quantity_S[row] / max(level_S[row], 1e-9):.3g} times the mean of days with"
            f" sales, {level_S[row]:.3g}; the most of a day in the year before is {peak_S[row]:g}."
        )

    found.add(np.flatnonzero(beyond_S), one.day, usual_S, "factor", detail)


def _logs(value_R: Doubles, usual_R: Doubles) -> Doubles:
    """Logarithms of what sold by what is usual; NaN where nothing sold, or too little is usual to tell."""
    ratio_R: Doubles = np.log(value_R / usual_R)
    return np.where((value_R > 0) & (usual_R >= FEWEST_USUAL), ratio_R, np.nan)


def _spread(ratio_R: Doubles) -> float:
    """The median distance from the median."""
    return float(np.median(np.abs(ratio_R - np.median(ratio_R))))


def _usual_spread(past_RW: Doubles, usual_R: Doubles) -> float:
    """The same on a usual day: the median of four weeks' days."""
    ratio_RW = _logs(past_RW, usual_R[:, np.newaxis])
    days = [column[np.isfinite(column)] for column in ratio_RW.T]
    spreads = [_spread(day) for day in days if len(day) >= FEWEST_SERIES // 2]
    return float(np.median(spreads)) if spreads else 0.0


def _mean(values_SK: Doubles) -> Doubles:
    """Mean of each row's known values; NaN without any."""
    seen_S = np.isfinite(values_SK).sum(axis=1)
    total_S = np.where(np.isfinite(values_SK), values_SK, 0.0).sum(axis=1)
    return np.where(seen_S > 0, total_S / np.maximum(seen_S, 1), np.nan)
