"""The second pass over posted sales: only the differences are written, in the caller's transaction.

The touched series are locked first, in id order, which settles deadlocks, counts and history at once. Then, bucket by bucket, the
rows that are stored for the posted days are read and compared here: new days go straight into `sales` by COPY, changed ones
are kept in `replaced_sales` and updated, unchanged ones are not written at all.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import begun
from app.quarantine.again import Again, Judged, days_again, judge_again, stored_again
from app.quarantine.posted import Posted
from app.quarantine.store import any_place_held, end_freed, end_replaced, renew, write_entries
from app.sales import store
from app.sales.complete import zeros_for_absent
from app.sales.reading import next_post_id
from app.sales.store import NO_DAY, Ints, SeriesState
from app.sales.validate import VALUES, CheckedSales, SalesRows, day_keys

_NEAR_DAYS = 7  # days between two posted ones that are read along rather than asked around
_BESIDE = 10_000  # rows from which comparing them is worth a thread


@dataclass(frozen=True)
class Counts:
    """What a post did, or would do: received = inserted + updated + unchanged. `held` of its rows are in quarantine."""

    inserted: int
    updated: int
    unchanged: int
    completed: int
    held: int


@dataclass
class _Touched:
    """Which series got how many rows, the days of all that changed, and those of them that are to be judged."""

    posted: Posted = field(default_factory=Posted)

    ids: list[Ints] = field(default_factory=list)
    added: list[Ints] = field(default_factory=list)
    first: list[Ints] = field(default_factory=list)
    last: list[Ints] = field(default_factory=list)

    def note_new(self, rows: NDArray[Any]) -> None:
        self._note(rows, new=True)
        self.posted.note(rows)

    def note_changed(self, old: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """`old` is what stood there. A quantity that stays is not judged again; returns the rows with another one."""
        self._note(rows, new=False)
        changed: NDArray[Any] = rows[old["quantity"] != rows["quantity"]]
        self.posted.note(changed)
        return changed

    def _note(self, rows: NDArray[Any], *, new: bool) -> None:
        if len(rows):
            ids, inverse, count = np.unique(rows["series"], return_inverse=True, return_counts=True)
            first, last = np.full(len(ids), 2**31), np.full(len(ids), NO_DAY)
            np.minimum.at(first, inverse, rows["day"])
            np.maximum.at(last, inverse, rows["day"])
            self.ids.append(ids.astype(np.int64))
            self.added.append(count if new else np.zeros_like(count))
            self.first.append(first)
            self.last.append(last)

    def summed(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Each series once: id, rows added, first and last changed day."""
        if not self.ids:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, nothing, nothing
        ids, inverse = np.unique(np.concatenate(self.ids), return_inverse=True)
        added, first, last = np.zeros(len(ids), np.int64), np.full(len(ids), 2**31), np.full(len(ids), NO_DAY)
        np.add.at(added, inverse, np.concatenate(self.added))
        np.minimum.at(first, inverse, np.concatenate(self.first))
        np.maximum.at(last, inverse, np.concatenate(self.last))
        return ids, added, first, last


async def write_sales(
    connection: AsyncConnection,
    checked: CheckedSales,
    *,
    key_id: int | None,
    content_type: str | None,
    complete: bool,
) -> tuple[int, Counts]:
    """Write a checked body; returns the post's id and its counts. `complete` adds the zeros of absent series."""
    driver = await begun(connection)
    await store.prepare_bulk(driver)
    days_of = checked.location_days() if complete else {}
    state, said_again = await _locked(driver, checked, [*days_of])
    await store.find_by_key(driver)
    again = await stored_again(driver, said_again)
    post_id = await next_post_id(driver)
    touched = _Touched()
    inserted = updated = completed = 0
    for rows in checked.buckets():
        new, old, changed = await _differences(driver, rows, state)
        if len(new):
            await store.insert_rows(driver, new, post_id)
        if len(changed):
            await store.replace_rows(driver, old, changed, post_id)
        touched.note_new(new)
        again.note(rows, touched.note_changed(old, changed))
        inserted, updated = inserted + len(new), updated + len(changed)
    if complete:
        again.note_complete()
    for place, days in days_of.items():
        async for zeros in zeros_for_absent(driver, place, days):
            await store.insert_rows(driver, zeros, post_id)
            touched.note_new(zeros)
            completed += len(zeros)
    judged = await _judged(driver, touched, again, post_id, changed=updated > 0)
    counts = Counts(inserted, updated, checked.received - inserted - updated, completed, len(judged.held))
    post = store.Post(
        post_id, key_id, content_type, complete, checked.received, inserted, updated, counts.unchanged, completed
    )
    await _conclude(driver, touched, post, judged)
    return post_id, counts


async def would_write(driver: asyncpg.Connection, checked: CheckedSales) -> Counts:
    """What a checked body would change now, without a lock or a write."""
    await store.prepare_bulk(driver)
    state = await store.series_state(driver, checked.keys)
    await store.find_by_key(driver)
    again = await stored_again(driver, await _said_again(driver, checked))
    touched = _Touched()
    inserted = updated = 0
    for rows in checked.buckets():
        new, old, changed = await _differences(driver, rows, state)
        touched.note_new(new[new["series"] >= 0])  # a series that is not there yet has nothing to be judged by
        again.note(rows, touched.note_changed(old, changed))
        inserted, updated = inserted + len(new), updated + len(changed)
    judged = await judge_again(driver, touched.posted, again)
    return Counts(inserted, updated, checked.received - inserted - updated, 0, len(judged.held))


async def _locked(
    driver: asyncpg.Connection, checked: CheckedSales, places: Sequence[str]
) -> tuple[store.SeriesState, dict[str, Ints]]:
    """The series of a body, locked with all those of some locations, and the days that it says again, with all those of theirs.

    Which these are is asked once more under the locks: a post that was waited for may have held what this one says. Where it did,
    all is let go and begun again.
    """
    said_again = await _said_again(driver, checked)
    while True:
        attempt = driver.transaction()
        await attempt.start()
        state = await store.locked_series(driver, checked.keys, [*places, *said_again])
        now = await _said_again(driver, checked)
        if now.keys() <= {*places, *said_again}:
            await attempt.commit()
            return state, now
        await attempt.rollback()
        said_again = now


async def _said_again(driver: asyncpg.Connection, checked: CheckedSales) -> dict[str, Ints]:
    """The days of the body on which something is held for what was said of the whole location; on most posts none."""
    return await days_again(driver, checked.location_days()) if await any_place_held(driver) else {}


async def _judged(
    driver: asyncpg.Connection, touched: _Touched, again: Again, post_id: int, *, changed: bool
) -> Judged:
    """End the entries of quantities that were replaced, and hold what cannot be true of the new ones."""
    ids, _, first, last = touched.summed()
    if changed:
        await end_replaced(driver, ids, int(first.min()), int(last.max()))
    judged = await judge_again(driver, touched.posted, again)
    await write_entries(driver, judged.held, [post_id] * len(judged.held))
    return judged


async def _conclude(driver: asyncpg.Connection, touched: _Touched, post: store.Post, judged: Judged) -> None:
    ids, added, first, last = touched.summed()
    await store.restate(driver, ids, added, first, last)
    bounds = (int(first.min()), int(last.max())) if len(ids) else (None, None)
    await store.record_post(driver, post, ids, *bounds)
    if len(judged.freed):
        await end_freed(driver, judged.freed.tolist(), post.post_id)
        await renew(driver, np.setdiff1d(judged.freed_series, ids).tolist())  # the others got theirs just now


async def _differences(
    driver: asyncpg.Connection, rows: SalesRows, state: SeriesState
) -> tuple[SalesRows, NDArray[Any], SalesRows]:
    """Of a bucket: the rows for new days, what is stored where values differ, and the rows that differ. `series` is the id."""
    number = rows["series"].astype(np.int64)
    rows["series"] = state.ids[number]
    may_be_there = (rows["day"] >= state.first[number]) & (rows["day"] <= state.last[number])
    if not may_be_there.any():
        return _in_key_order(rows), np.empty(0, store.STORED), rows[:0]
    stored = await store.stored_rows(driver, *_ranges(rows[may_be_there]))
    if len(rows) < _BESIDE:
        return _compared(rows, stored)
    return await asyncio.to_thread(_compared, rows, stored)


def _ranges(rows: SalesRows) -> tuple[Ints, Ints, Ints]:
    """Series id, first and last day of each run of days that lie near one another."""
    series, day = rows["series"].astype(np.int64), rows["day"].astype(np.int64)
    begins = np.flatnonzero(np.r_[True, (np.diff(series) != 0) | (np.diff(day) > _NEAR_DAYS)])
    ends = np.r_[begins[1:], len(rows)] - 1
    return series[begins], day[begins], day[ends]


def _compared(rows: SalesRows, stored: NDArray[Any]) -> tuple[SalesRows, NDArray[Any], SalesRows]:
    rows = _in_key_order(rows)
    if not len(stored):
        return rows, stored, rows[:0]
    posted_key, stored_key = day_keys(rows), day_keys(stored)
    at = np.minimum(np.searchsorted(stored_key, posted_key), len(stored) - 1)
    known = stored_key[at] == posted_key
    old, again = stored[at[known]], rows[known]
    differs = np.zeros(len(again), np.bool_)
    for name in VALUES:
        differs |= ~((old[name] == again[name]) | (np.isnan(old[name]) & np.isnan(again[name])))
    return rows[~known], old[differs], again[differs]


def _in_key_order(rows: SalesRows) -> SalesRows:
    """By series id and day: the order of the primary key, which COPY fills fastest."""
    key = day_keys(rows)
    return rows if (np.diff(key) > 0).all() else rows[np.argsort(key, kind="stable")]
