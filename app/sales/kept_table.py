"""The table of all sales that an update read, kept in a file for the next one: that reads only what was posted since.

The file is a copy, never the truth. It is brought up to date by the posts that came since, whose series and days are read again.
Every post gives its series a new revision: where a series has another count of them than of such posts, all of it is read again.
A file that is damaged, of another database or of another time of this one (restored from a backup) is not used; the log says so.

Shapes: S series, T days.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import orjson
import structlog
from numpy.typing import NDArray

from app.database.copy import copy_out, int_array
from app.sales.table import COLUMNS, KINDS, LONGEST_GAP_DAYS, VALUES, Ids, Table, table_of
from models.days import side_by_side

log = structlog.get_logger()

_FORMAT = b"sales 2:"
_DIGEST = hashlib.sha256().digest_size
_ALIGNED = 32
"""Arrays begin at multiples of so many bytes, as the content does."""
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
        whole = np.fromfile(file, np.uint8)  # once into memory: the arrays are parts of it
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("kept_sales_not_read", file=str(file), reason=str(error))
        return None
    content = whole[_DIGEST:]
    if hashlib.sha256(content.data).digest() != whole[:_DIGEST].tobytes():
        log.warning("kept_sales_damaged", file=str(file))
        return None
    if content[: len(_FORMAT)].tobytes() != _FORMAT:
        return None
    found = _arrays(content)
    first, series, days = found["table"].tolist()
    here_ST = np.unpackbits(found["here"], count=series * days).astype(np.bool_).reshape(series, days)
    columns = {name: found[name].reshape(series, days) for name in COLUMNS if name in found}
    table = Table(found["ids"], first, here_ST, columns)
    return Kept(table, found["revisions"], found["post_ids"], found["post_times"])


def save(file: Path, kept: Kept) -> None:
    """Write it whole or not at all; a disk that is full costs the next update some seconds."""
    unfinished = file.with_suffix(".part")
    pieces = _pieces(kept)
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as out:
            out.writelines([digest.digest(), *pieces])
        unfinished.replace(file)
        file.with_suffix(".npz").unlink(missing_ok=True)  # as it was kept formerly
    except OSError as error:
        log.warning("sales_not_kept", file=str(file), reason=str(error))
        if unfinished.exists():
            unfinished.unlink()


def _pieces(kept: Kept) -> list[Any]:
    """The content, as what is to be written in turn: the format, a line that names the arrays, and these, none of them copied."""
    table = kept.table
    arrays: dict[str, NDArray[Any]] = {
        "ids": table.ids_S,
        "table": np.array([table.first, *table.here_ST.shape], np.int64),
        "here": np.packbits(table.here_ST),
        "revisions": kept.revisions_S,
        "post_ids": kept.post_ids,
        "post_times": kept.post_times,
        **table.columns,
    }
    header = orjson.dumps([[name, values.dtype.str, values.size] for name, values in arrays.items()]) + b"\n"
    start = len(_FORMAT) + len(header)
    pieces: list[Any] = [_FORMAT, header]
    for values in arrays.values():
        pieces += [bytes(-start % _ALIGNED), np.ascontiguousarray(values).reshape(-1).view(np.uint8)]
        start += -start % _ALIGNED + values.nbytes
    return pieces


def _arrays(content: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The arrays of a content, as parts of it."""
    head = content[: 2**12].tobytes()
    start = head.index(b"\n") + 1
    arrays = {}
    for name, kind, size in orjson.loads(head[len(_FORMAT) : start]):
        start += -start % _ALIGNED
        end = start + size * np.dtype(kind).itemsize
        arrays[name] = content[start:end].view(kind)
        start = end
    return arrays


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
    old = slice(table.first - first, table.first - first + table.days)
    rows_S = side_by_side(np.searchsorted(ids_S, table.ids_S))
    here_ST[rows_S, old] = table.here_ST
    for name, values_ST in table.columns.items():
        columns[name][rows_S, old] = values_ST
    for span, rows in _rows_by_span(spans, ids_S).items():
        days_read = slice(*(max(day - _EPOCH - first, 0) for day in (span[0].toordinal(), span[1].toordinal() + 1)))
        here_ST[rows, days_read] = False
        for values_ST in columns.values():
            values_ST[rows, days_read] = np.nan
    if read is not None:
        at = np.nonzero(read.here_ST)
        rows_N, days_N = np.searchsorted(ids_S, read.ids_S)[at[0]], at[1] + read.first - first
        here_ST[rows_N, days_N] = True
        for name, values_ST in read.columns.items():
            columns[name][rows_N, days_N] = values_ST[at]
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
