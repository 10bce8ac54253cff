"""Judging the days of a post within its transaction: the days they are judged by, what is known of suspects, what is held.

Only what a post changed is judged, among the newest PAST_DAYS days of all data, and only in series that knew FEWEST_DAYS days
before: a first load of history is never judged. Rows are judged place by place. What costs more to read (the rest of a large
place, a year, the calendar) is read of suspects alone, and days further back only of series of which days are held, or that the
post changed long ago too.

Shapes: S series of a group, X days of which the last D may be judged (PAST_DAYS or YEAR_DAYS lie before these), W days of a year.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import asyncpg
import numpy as np

from app.database.copy import copy_out, int_array
from app.quarantine import explained
from app.quarantine.checks import (
    FEWEST_DAYS,
    PAST_DAYS,
    REPEATED_DAYS,
    YEAR_DAYS,
    Doubles,
    Facts,
    Flags,
    Group,
    Held,
    Index,
    held,
    newest_mean,
    suspected,
)
from app.quarantine.posted import Candidates
from app.quarantine.store import Entry, held_days

_BESIDE = 20_000  # cells from which judging is worth a thread


@dataclass(frozen=True)
class _Place:
    """A group with the series it is made of. `promo_SD`: what the posted rows themselves say."""

    of: Candidates
    group: Group
    promo_SD: Flags


async def judge(driver: asyncpg.Connection, rows: Candidates) -> list[Entry]:
    """What must be held of a post's rows, before they are counted in `series`. Whether they are written already makes no
    difference."""
    entries: list[Entry] = []
    for batch in rows.batches():
        whole = {int(batch.group_S[series[0]]): series for series in batch.groups()}
        for place in await _places(driver, batch.of(batch.looked_at())):
            entries += await _of_place(driver, place, batch, whole[int(place.of.group_S[0])])
    return entries


async def _of_place(driver: asyncpg.Connection, place: _Place, batch: Candidates, whole: Index) -> list[Entry]:
    """The entries of one group, `whole` being all its series."""
    suspects = await _beside(place.group, None)
    if len(whole) > len(place.of.ids) and any(reason != "factor" for reason in suspects.reason_N):
        [place] = await _places(driver, batch.of(whole))
        suspects = await _beside(place.group, None)
    if not suspects.series_N:
        return []
    facts = await _with_years(driver, place, await _facts(driver, place, suspects), _by_factor(suspects))
    found = await _beside(place.group, facts)
    late = _by_factor(found) - _by_factor(suspects)
    if late:  # of a day that was suspected as a whole, and is explained as such
        facts = await _with_years(driver, place, facts, late | _by_factor(suspects))
        found = await _beside(place.group, facts)
    return list(_entries(place, found))


async def _beside(group: Group, facts: Facts | None) -> Held:
    """What is suspected, or with facts what is held; in a thread where that takes time."""
    if group.quantity_SX.size < _BESIDE:
        return suspected(group) if facts is None else held(group, facts)
    return await (asyncio.to_thread(suspected, group) if facts is None else asyncio.to_thread(held, group, facts))


def _entries(place: _Place, found: Held) -> Iterator[Entry]:
    columns = (found.series_N, found.day_N, found.expected_N, found.reason_N, found.detail_N)
    for series, day, expected, reason, detail in zip(*columns, strict=True):
        quantity = float(place.group.quantity_SX[series, place.group.past + day])
        known = expected if np.isfinite(expected) else None
        yield Entry(int(place.of.ids[series]), place.group.first_day + day, quantity, known, reason, detail)


async def _places(driver: asyncpg.Connection, of: Candidates) -> list[_Place]:
    """The groups of some series, with the days that they are judged by."""
    low, high = int(of.rows_N["day"].min()), int(of.rows_N["day"].max())
    quantity_SX, held_SX = await quantities(driver, of.ids, low - PAST_DAYS, high + REPEATED_DAYS)
    longer_S: Flags = np.any(held_SX, axis=1)
    at_N, column_N = of.place_of_rows(), of.rows_N["day"] - low
    quantity_SX[at_N, PAST_DAYS + column_N], held_SX[at_N, PAST_DAYS + column_N] = of.rows_N["quantity"], False
    judged_SD, promo_SD = (np.zeros((len(of.ids), quantity_SX.shape[1] - PAST_DAYS), np.bool_) for _ in range(2))
    judged_SD[at_N, column_N] = True
    promo_SD[at_N, column_N] = np.nan_to_num(of.rows_N["promo"]) > 0
    day_X = np.arange(quantity_SX.shape[1]) + low - PAST_DAYS
    before_SX = day_X < of.changed_from_S[:, np.newaxis]
    settled_S = (np.isfinite(quantity_SX) & before_SX).sum(axis=1) >= FEWEST_DAYS
    longer_S |= ~settled_S & (of.changed_from_S < low)
    places = []
    for at in of.groups():
        group = Group(quantity_SX[at], judged_SD[at], settled_S[at], low, held_SX[at])
        place = _Place(of.of(at), group, promo_SD[at])
        places.append(await _with_earlier(driver, place, longer_S[at], high) if longer_S[at].any() else place)
    return places


async def _with_earlier(driver: asyncpg.Connection, place: _Place, longer_S: Flags, high: int) -> _Place:
    """The place with a year before its first judged day, of these series; `high` is the last judged day.

    They are settled by days of that year, if they sell most days: as many as half of those that are not held.
    """
    group, rows = place.group, np.flatnonzero(longer_S)
    first, last = group.first_day - YEAR_DAYS, group.first_day - PAST_DAYS - 1
    earlier_SX = np.full((len(longer_S), last - first + 1), np.nan)
    held_SX = np.zeros(earlier_SX.shape, np.bool_)
    earlier_SX[rows], held_SX[rows] = await quantities(driver, place.of.ids[rows], first, last)
    of_post = slice(high - group.first_day + 1 + PAST_DAYS)
    assert group.held_SX is not None
    seen_S = np.isfinite(group.quantity_SX[:, of_post]).sum(axis=1)
    dense_S = seen_S >= (~group.held_SX[:, of_post]).sum(axis=1) * FEWEST_DAYS / PAST_DAYS
    quantity_SX = np.hstack([earlier_SX, group.quantity_SX])
    before_SX = np.arange(first, first + quantity_SX.shape[1]) < place.of.changed_from_S[:, np.newaxis]
    known_S = (np.isfinite(quantity_SX) & before_SX).sum(axis=1) >= FEWEST_DAYS
    settled_S = group.settled_S | (longer_S & dense_S & known_S)
    held_SX = np.hstack([held_SX, group.held_SX])
    return replace(place, group=replace(group, quantity_SX=quantity_SX, settled_S=settled_S, held_SX=held_SX))


def _by_factor(rows: Held) -> set[int]:
    """The series whose year is to be read: whole days of places are not judged by it."""
    return {series for series, reason in zip(rows.series_N, rows.reason_N, strict=True) if reason == "factor"}


async def _facts(driver: asyncpg.Connection, place: _Place, suspects: Held) -> Facts:
    """What the calendar, holidays, the rest of the place and decisions say of the suspects' days."""
    special_SD, closed_SD = await explained.by_calendar(driver, place.of.places, place.group, suspects)
    quiet_D = await explained.by_others(driver, place.of.places, place.group, suspects)
    confirmed = await explained.by_confirmed(driver, place.of.ids, place.group, suspects)
    none_S = np.zeros(len(place.of.ids))
    return Facts(none_S.astype(np.int64), none_S, none_S, special_SD | place.promo_SD, closed_SD | quiet_D, confirmed)


async def _with_years(driver: asyncpg.Connection, place: _Place, facts: Facts, wanted: set[int]) -> Facts:
    """The facts with the year of these series, up to the post's first change of each."""
    if not wanted:
        return facts
    series, first = np.array(sorted(wanted), np.int64), place.group.first_day
    year_SW, _ = await quantities(driver, place.of.ids[series], first - YEAR_DAYS, first - 1)
    year_SW[np.arange(first - YEAR_DAYS, first) >= place.of.changed_from_S[series, np.newaxis]] = np.nan
    seen_S, level_S, peak_S = facts.seen_S.copy(), facts.level_S.copy(), facts.peak_S.copy()
    seen_S[series] = np.isfinite(year_SW).sum(axis=1)
    level_S[series] = [newest_mean(row) for row in year_SW]
    peak_S[series] = np.max(year_SW, axis=1, initial=0.0, where=np.isfinite(year_SW))
    return replace(facts, seen_S=seen_S, level_S=level_S, peak_S=peak_S)


async def quantities(driver: asyncpg.Connection, ids: Index, first: int, last: int) -> tuple[Doubles, Flags]:
    """What some series sold from `first` to `last`, S x days; NaN where it is missing, or held, and which is held."""
    order = np.argsort(ids)
    quantity_SX = np.full((len(ids), last - first + 1), np.nan)
    series_N, day_N, quantity_N = await copy_out(
        driver,
        f"SELECT s.series_id, s.day, coalesce(s.quantity, 'NaN') FROM unnest({int_array(ids[order])}) AS r (id)"
        f" JOIN sales s ON s.series_id = r.id AND s.day BETWEEN DATE '1970-01-01' + {first} AND DATE '1970-01-01' + {last}",
        ["int4", "date", "float8"],
    )
    quantity_SX[order[np.searchsorted(ids, series_N, sorter=order)], day_N - first] = quantity_N
    held_SX = np.zeros(quantity_SX.shape, np.bool_)
    series_N, day_N = await held_days(driver, ids, first, last)
    held_SX[order[np.searchsorted(ids, series_N, sorter=order)], day_N - first] = True
    quantity_SX[held_SX] = np.nan
    return quantity_SX, held_SX
