"""Days said again: what was held of a whole place is judged anew once a later post speaks of that place's day.

A right file need not differ from a wrong one in every row, and a wall of zeros ends with a single sale. So the day is judged as
it stands now, with the rows that the post did not write. What the rules no longer name is free: of zeros all, of another unit or
another date's file what the post says, since of the rest nothing new is known. The same file again is judged the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.quarantine import store
from app.quarantine.checks import Flags, Index
from app.quarantine.judging import judge
from app.quarantine.posted import Posted, candidates
from app.quarantine.store import STANDING, Entry
from app.sales.validate import day_keys

_DAY = np.dtype([("series", "<i8"), ("day", "<i8")])


@dataclass
class Again:
    """N rows that are stored on such days, which of them a post says, and to which it gives another quantity."""

    rows_N: NDArray[Any] = field(default_factory=lambda: np.empty(0, STANDING))
    said_N: Flags = field(init=False)
    changed_N: Flags = field(init=False)

    def __post_init__(self) -> None:
        self.said_N, self.changed_N = (np.zeros(len(self.rows_N), np.bool_) for _ in range(2))

    def note(self, rows: NDArray[Any], changed: NDArray[Any]) -> None:
        """Rows of the post, by their series' ids, and those of them whose quantity is another one."""
        if len(self.rows_N):
            self.said_N |= np.isin(day_keys(self.rows_N), day_keys(rows))
            self.changed_N |= np.isin(day_keys(self.rows_N), day_keys(changed))

    def note_complete(self) -> None:
        """The post names all that sold on its days: what is stored as zero is said by its absence."""
        self.said_N |= self.rows_N["quantity"] == 0


@dataclass(frozen=True)
class Judged:
    """What must be held of a post's own rows, and what may go free of those held before: entries and their series."""

    held: list[Entry]
    freed: Index
    freed_series: Index


async def days_again(driver: asyncpg.Connection, days_of: Mapping[str, Index]) -> dict[str, Index]:
    """Of the days of each of these locations those of which something is held for what was said of the whole location."""
    if not days_of:
        return {}
    first, last = (int(bound(bound(days) for days in days_of.values())) for bound in (min, max))
    found: dict[str, set[int]] = {}
    for location, day in await store.places_held(driver, [*days_of], first, last):
        found.setdefault(location, set()).add(day)
    said = {location: np.intersect1d(days_of[location], np.array([*days])) for location, days in found.items()}
    return {location: days for location, days in said.items() if len(days)}


async def stored_again(driver: asyncpg.Connection, days: Mapping[str, Index]) -> Again:
    """What is stored on these days of locations, whose series are locked."""
    parts = [await store.stored_of_place(driver, location, of.tolist()) for location, of in days.items()]
    return Again(np.concatenate(parts)) if parts else Again()


async def judge_again(driver: asyncpg.Connection, posted: Posted, again: Again) -> Judged:
    """Judge what a post wrote together with what stands beside it on days that it says again."""
    beside = ~again.changed_N
    posted.note(again.rows_N[beside])
    rows = await candidates(driver, posted)
    entries = await judge(driver, rows)
    named = day_keys(np.array([(entry.series_id, entry.day) for entry in entries], _DAY))
    stood = np.isin(named, day_keys(again.rows_N[beside]))
    free = again.rows_N[beside & (again.rows_N["entry"] >= 0) & (again.said_N | again.rows_N["zeros"])]
    if len(free):
        free = free[np.isin(day_keys(free), day_keys(rows.told_of_places())) & ~np.isin(day_keys(free), named)]
    held = [entry for entry, before in zip(entries, stood.tolist(), strict=True) if not before]
    return Judged(held, free["entry"], free["series"])
