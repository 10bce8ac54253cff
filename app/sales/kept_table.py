"""The table of all sales that an update read, kept in a file for the next one: that reads only what was posted since.

The file is a copy, never the truth. It is brought up to date by the posts that came since, whose series and days are read again.
Every post gives its series a new revision: where a series has another count of them than of such posts, all of it is read again.
A file that is damaged, of another database or of another time of this one (restored from a backup) is not used; the log says so.

Shapes: S series, T days.
"""

import hashlib
import io
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import structlog
from numpy.typing import NDArray

from app.database.copy import copy_out, int_array
from app.sales.table import COLUMNS, KINDS, LONGEST_GAP_DAYS, VALUES, Ids, Table, table_of

log = structlog.get_logger()

_FORMAT = 1
_DIGEST = hashlib.sha256().digest_size
_EPOCH = date(1970, 1, 1).toordinal()
Span = tuple[date, date]
"""First and last day."""
_LATE = timedelta(hours=1)
"""A post is recorded just before its commit: none becomes visible so long after."""
_SEEN_DAYS = 2
MOST_READ_AGAIN = 0.5
"""Above this share of series to be read again whole, everything is: that is one plain reading."""


@dataclass(frozen=True)
class Kept:
    """A table, the revision of each series in it, and which posts it holds: the newest ones by id and time (microseconds)."""

    table: Table
    revisions_S: Ids
    post_ids: Ids
    post_times: Ids


def load(file: Path) -> Kept | None:
    """What a file holds; None where there is none, or it is damaged."""
    try:
        whole = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("kept_sales_not_read", file=str(file), reason=str(error))
        return None
    digest, content = whole[:_DIGEST], memoryview(whole)[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        log.warning("kept_sales_damaged", file=str(file))
        return None
    with np.load(io.BytesIO(content)) as found:
        if int(found["format"]) != _FORMAT:
            return None
        shape = tuple(found["shape"].tolist())
        here_ST = np.unpackbits(found["here"], count=shape[0] * shape[1]).astype(np.bool_).reshape(shape)
        columns = {name: found[name] for name in COLUMNS if name in found}
        table = Table(found["ids"], int(found["first"]), here_ST, columns)
        return Kept(table, found["revisions"], found["post_ids"], found["post_times"])


def save(file: Path, kept: Kept) -> None:
    """Write it whole or not at all; a disk that is full costs the next update some seconds."""
    unfinished = file.with_suffix(".part")
    content = _content(kept)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as out:
            out.write(hashlib.sha256(content).digest())
            out.write(content)
        unfinished.replace(file)
    except OSError as error:
        log.warning("sales_not_kept", file=str(file), reason=str(error))
        if unfinished.exists():
            unfinished.unlink()


def _content(kept: Kept) -> memoryview:
    table = kept.table
    arrays: dict[str, Any] = {
        "format": _FORMAT,
        "ids": table.ids_S,
        "shape": np.array(table.here_ST.shape),
        "first": table.first,
        "here": np.packbits(table.here_ST),
        "revisions": kept.revisions_S,
        "post_ids": kept.post_ids,
        "post_times": kept.post_times,
    }
    out = io.BytesIO()
    np.savez(out, **(arrays | table.columns))
    return out.getbuffer()


async def newest_posts(driver: asyncpg.Connection) -> tuple[Ids, Ids]:
    """Ids and times of the posts that a snapshot sees, of the newest one's last days."""
    rows = await driver.fetch(
        "SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint AS time FROM posts"
        " WHERE created_at > (SELECT max(created_at) FROM posts) - make_interval(days => $1)",
        _SEEN_DAYS,
    )
    return np.array([row["id"] for row in rows], np.int64), np.array([row["time"] for row in rows], np.int64)


async def brought_up_to_date(driver: asyncpg.Connection, kept: Kept, revisions: dict[int, int]) -> Table | None:
    """The table as the snapshot's sales are; None where it cannot be had from what was kept.

    `revisions`: of all series, by id.
    """
    if not await _same_history(driver, kept):
        return None
    posts = await _posts_since(driver, kept)
    counted = _counted(posts)
    had = dict(zip(kept.table.ids_S.tolist(), kept.revisions_S.tolist(), strict=True))
    whole = [i for i, revision in revisions.items() if had.get(i, 0) + counted.get(i, 0) != revision]
    if len(whole) > MOST_READ_AGAIN * len(revisions):
        return None
    spans = _spans(posts) | dict.fromkeys(whole, (date.min, date.max))
    spans = {i: span for i, span in spans.items() if i in revisions}
    table = kept.table.of(np.flatnonzero(np.isin(kept.table.ids_S, np.array([*revisions], np.int64))))
    series_N, day_N, *values = await _read(driver, spans)
    if len(day_N) and int(day_N.min()) < table.first - LONGEST_GAP_DAYS:
        return None  # perhaps a mistyped date, and a table of a hundred years: a plain reading tells
    return _joined(table, table_of(series_N, day_N, values) if len(series_N) else None, spans)


async def _same_history(driver: asyncpg.Connection, kept: Kept) -> bool:
    """Whether the newest post that was seen is still what it was: not so in another database, or one that was set back."""
    if not len(kept.post_ids):
        return False
    newest = int(kept.post_times.argmax())
    found = await driver.fetchval(
        "SELECT (extract(epoch FROM created_at) * 1000000)::bigint FROM posts WHERE id = $1", int(kept.post_ids[newest])
    )
    return bool(found == int(kept.post_times[newest]))


async def _posts_since(driver: asyncpg.Connection, kept: Kept) -> list[asyncpg.Record]:
    newest = timedelta(microseconds=int(kept.post_times.max())) - _LATE
    rows = await driver.fetch(
        "SELECT id, series_ids, first_day, last_day FROM posts WHERE created_at > 'epoch'::timestamptz + $1::interval"
        " AND first_day IS NOT NULL",
        newest,
    )
    seen = set(kept.post_ids.tolist())
    return [row for row in rows if row["id"] not in seen]


def _counted(posts: list[asyncpg.Record]) -> dict[int, int]:
    """How many of the posts touched each series."""
    touched = [np.array(row["series_ids"], np.int64) for row in posts]
    ids, counts = np.unique(np.concatenate([*touched, np.empty(0, np.int64)]), return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


def _spans(posts: list[asyncpg.Record]) -> dict[int, Span]:
    """Which days of each series the posts may have touched."""
    spans: dict[int, Span] = {}
    for row in posts:
        span = (row["first_day"], row["last_day"])
        for series_id in row["series_ids"]:
            before = spans.get(series_id, span)
            spans[series_id] = (min(before[0], span[0]), max(before[1], span[1]))
    return spans


async def _read(driver: asyncpg.Connection, spans: dict[int, Span]) -> list[NDArray[Any]]:
    """The rows of `sales` in these spans, as columns."""
    low, high = (int_array([span[at].toordinal() - _EPOCH for span in spans.values()]) for at in (0, 1))
    # A plan that reads all sales to join them would cost more than everything that is saved here.
    await driver.execute("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
    query = (
        f"SELECT s.series_id, s.day, {VALUES} FROM unnest({int_array(spans)}, {low}, {high}) AS t (id, low, high)"
        " JOIN sales s ON s.series_id = t.id AND s.day BETWEEN DATE '1970-01-01' + t.low AND DATE '1970-01-01' + t.high"
    )
    rows = await copy_out(driver, query, KINDS)
    await driver.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
    return rows


def _joined(table: Table, read: Table | None, spans: dict[int, Span]) -> Table | None:
    """The kept table, its spans as they were read."""
    tables = [table] if read is None else [table, read]
    ids_S = np.unique(np.concatenate([one.ids_S for one in tables]))
    if not len(ids_S):
        return None
    first, last = min(one.first for one in tables), max(one.first + one.days for one in tables)
    days = last - first
    here_ST = np.zeros((len(ids_S), days), np.bool_)
    names = [name for name in COLUMNS if name in table.columns or (read is not None and name in read.columns)]
    columns = {name: np.full(here_ST.shape, np.nan, np.float32) for name in names}
    old = table.span(first, days)
    _put(here_ST, columns, old, np.searchsorted(ids_S, old.ids_S))
    for span, rows in _rows_by_span(spans, ids_S).items():
        days_read = slice(*(max(day - _EPOCH - first, 0) for day in (span[0].toordinal(), span[1].toordinal() + 1)))
        here_ST[rows, days_read] = False
        for values_ST in columns.values():
            values_ST[rows, days_read] = np.nan
    if read is not None:
        new = read.span(first, days)
        rows_S = np.searchsorted(ids_S, new.ids_S)
        at = np.nonzero(new.here_ST)
        here_ST[rows_S[at[0]], at[1]] = True
        for name, values_ST in new.columns.items():
            columns[name][rows_S[at[0]], at[1]] = values_ST[at]
    return Table(ids_S, first, here_ST, columns).with_rows()


def _rows_by_span(spans: dict[int, Span], ids_S: Ids) -> dict[Span, list[int]]:
    """Which rows of these series have each span: a day's post gives the same one to all of them."""
    ids = np.array([*spans], np.int64)
    at = np.searchsorted(ids_S, ids)
    known = ids_S[np.minimum(at, len(ids_S) - 1)] == ids
    rows: dict[Span, list[int]] = {}
    for span, row, is_known in zip(spans.values(), at.tolist(), known.tolist(), strict=True):
        if is_known:
            rows.setdefault(span, []).append(row)
    return rows


def _put(here_ST: Any, columns: dict[str, Any], table: Table, rows_S: Ids) -> None:
    here_ST[rows_S] = table.here_ST
    for name, values_ST in table.columns.items():
        columns[name][rows_S] = values_ST
