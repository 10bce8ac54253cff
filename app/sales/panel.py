"""Sales read out of Postgres as the arrays that the engine learns and forecasts from, each from one snapshot.

`read_panel` is all of it, for training; `read_context` the newest days of some series, for forecasts. Both merge what the
calendar says of past days and of those ahead, and give holidays and the attributes of the items. The one rule for a covariate:
what a day's own row says wins over the calendar, and that over holidays. The quantity of a day in quarantine is missing; what its
row says besides stands.

Shapes: S series, T days, N rows.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import orjson
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.copy import Kind, copy_out, int_array
from app.database.engine import begun
from app.database.engine import driver as driver_of
from app.quarantine.store import HELD_OUT_JOIN, held_days
from app.sales.attributes import as_static, attributes_of, read_attributes
from app.sales.covariates import (
    BUILT_IN,
    Floats,
    Places,
    calendar_values,
    covariate_names,
    event_flags,
    hold,
    single,
    tells_events,
)
from app.sales.kept_table import Kept, brought_up_to_date, newest_posts
from app.sales.kept_table import load as load_kept
from app.sales.places import COLUMNS as PLACE_COLUMNS
from app.sales.places import JOINS as PLACE_JOINS
from app.sales.places import place_of_row
from app.sales.table import COLUMNS, KINDS, LONGEST_GAP_DAYS, VALUES, Table, table_of
from models.ages import AGE, with_ages
from models.holidays import HOLIDAYS, with_holidays
from models.panel import Panel, panel_from_columns

log = structlog.get_logger()

STRAY_SHARE = 0.01
AHEAD_DAYS = 400  # days after the last sale for which a training panel carries what is already known
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class StrayRows:
    """N rows of sales that a panel leaves out: long before all others, so probably mistyped dates."""

    keys: list[tuple[str, str]]
    day_N: NDArray[np.datetime64]
    quantity_N: Floats


NO_STRAY = StrayRows([], np.empty(0, "datetime64[D]"), np.empty(0, np.float32))


@dataclass(frozen=True)
class TrainingData:
    """A panel and what it stands for: cutoff (inclusive), rows, and the revisions of the snapshot it was read from."""

    panel: Panel
    series_ids: NDArray[np.int64]
    cutoff: date
    rows: int
    revisions: NDArray[np.int64]
    calendar_revision: int
    stray: StrayRows
    to_keep: Kept | None = None
    """What a file for the next reading should hold, where one was given."""


@dataclass(frozen=True)
class Context:
    """S series, each with its own cutoff (an index of the panel's days) and the revision it was read at."""

    series_ids: list[int]
    revisions: list[int]
    last_days: list[date]
    calendar_revision: int
    panel: Panel
    cutoff_S: NDArray[np.int64]
    held_out: list[list[dict[str, Any]]]
    """Of each series the days in quarantine among those read: date, quantity, reason."""


async def read_panel(
    connection: AsyncConnection,
    *,
    series_ids: Sequence[int] | None = None,
    since: date | None = None,
    until: date | None = None,
    ahead: int = AHEAD_DAYS,
    kept: Path | None = None,
) -> TrainingData | None:
    """All sales, or those of some series, from a day on or up to one; None when there are none. Give it a snapshot's connection.

    Stray days long before all others (`first_day_of_use`) and covariates that nobody has ever given are left out. Known ahead
    are open, event and its names, holidays where any location has a country, age where any item has a day of
    launch, and whatever else the calendar gives a value after the last day
    of sales (price and promo too: a price that only sales rows tell is known when the sale is). All others are past ones.

    `kept`: the file of an earlier reading of everything (kept_table.py), which makes this one shorter and changes nothing in it;
    what the file should hold from now on is then `to_keep` of the answer.
    """
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL jit = off")
    loading = (
        None if kept is None or series_ids is not None else asyncio.create_task(asyncio.to_thread(load_kept, kept))
    )
    series = await _series(driver, series_ids)
    calendar_revision = await _calendar_revision(driver)
    to_keep: Kept | None = None
    if loading is not None:
        to_keep, found = await _with_kept(driver, series, await loading, since)
    else:
        found = await _from_rows(driver, series, series_ids, since)
    if found is None:
        return None
    table, stray = found
    if until is not None and _number(until) < table.first + table.days - 1:
        cut = table.span(table.first, max(_number(until) - table.first + 1, 0)).with_rows()
        if cut is None:
            return None
        table = cut
    with_rows = set(table.ids_S.tolist())
    rows = [row for row in series if row["id"] in with_rows]
    panel = await _panel(driver, table, rows, ahead=ahead, calendar=calendar_revision > 0)
    revisions = np.array([row["revision"] for row in rows], np.int64)
    last, count = table.first + table.days - 1, int(table.here_ST.sum())
    return TrainingData(panel, table.ids_S, _day(last), count, revisions, calendar_revision, stray, to_keep)


async def _with_kept(
    driver: asyncpg.Connection, series: list[asyncpg.Record], before: Kept | None, since: date | None
) -> tuple[Kept | None, tuple[Table, StrayRows] | None]:
    """What to keep from now on, and the sales from a day on: what was kept, brought up to date, or else all read anew. Nothing is
    kept where there are stray days."""
    revision_of = {row["id"]: row["revision"] for row in series}
    table = None if before is None else await brought_up_to_date(driver, before, revision_of)
    stray = NO_STRAY
    if table is not None and first_in_use(table.rows_T) > 0:
        table = None
    if table is None:
        log.info("all_sales_read", kept=before is not None)
        found = await _from_rows(driver, series, None, None)
        if found is None:
            return None, None
        table, stray = found
    revisions = np.array([revision_of[i] for i in table.ids_S.tolist()], np.int64)
    to_keep = None if stray.keys else Kept(table, revisions, *await newest_posts(driver))
    if since is not None:
        shift = _number(since) - table.first
        cut = table.span(_number(since), table.days - shift).with_rows() if 0 < shift < table.days else table
        return to_keep, None if shift >= table.days or cut is None else (cut, stray)
    return to_keep, (table, stray)


async def _from_rows(
    driver: asyncpg.Connection, series: list[asyncpg.Record], ids: Sequence[int] | None, since: date | None
) -> tuple[Table, StrayRows] | None:
    series_N, day_N, *values = await copy_out(driver, _sales_query(ids, since), KINDS)
    if not len(series_N):
        return None
    kept_N = day_N >= first_day_of_use(day_N)
    stray = _stray(series, series_N[~kept_N], day_N[~kept_N], values[0][~kept_N])
    if not kept_N.all():
        log.warning(
            "stray_days_left_out", rows=int((~kept_N).sum()), first_day_used=str(_day(int(day_N[kept_N].min())))
        )
        series_N, day_N, values = series_N[kept_N], day_N[kept_N], [column[kept_N] for column in values]
    return table_of(series_N, day_N, values), stray


async def _panel(
    driver: asyncpg.Connection, table: Table, rows: list[asyncpg.Record], *, ahead: int, calendar: bool
) -> Panel:
    """The table with what the calendar, items and locations say of its days and those ahead; `rows` are its series."""
    quantity_ST = table.columns["quantity"].copy()
    if np.isinf(quantity_ST).any() or (quantity_ST < 0).any():
        raise ValueError("A quantity is infinite or negative; quantities are finite and at least 0, or NaN.")
    panel = Panel(
        skus=[row["sku"] for row in rows],
        locations=[row["location"] for row in rows],
        start=np.datetime64(table.first, "D"),
        quantity_ST=quantity_ST,
        known={},
        past={name: values_ST.copy() for name, values_ST in table.columns.items() if name != "quantity"},
    )
    last = table.first + table.days - 1
    held_N, held_day_N = await held_days(driver, table.ids_S, table.first, last)
    panel.quantity_ST[np.searchsorted(table.ids_S, held_N), held_day_N - table.first] = np.nan
    if calendar:
        names, flags = await covariate_names(driver), await event_flags(driver, _day(last))
        said = await calendar_values(driver, _places(rows), table.first, panel.days + ahead, names=[*names, *flags])
        panel = _with_calendar(panel, said, names, flags)
        attributes = await read_attributes(driver)
        panel = replace(panel, static=as_static([attributes.get(sku, {}) for sku in panel.skus]))
    places, launched_S = [place_of_row(row) for row in rows], _launched(rows)
    if any(places):
        panel = with_holidays(panel, places, ahead=ahead)
    if not np.isnat(launched_S).all():
        panel = with_ages(panel, launched_S, ahead=ahead)
    return panel


def first_day_of_use(day_N: NDArray[np.int32]) -> int:
    """The first day to learn from, of the days of rows."""
    first = int(day_N.min())
    return first + first_in_use(np.bincount(day_N - first))


def first_in_use(rows_T: NDArray[np.int64]) -> int:
    """The same as an index into days of so many rows each: a few rows (below 1 %) before a gap of more than a year are a mistyped
    date, not history.

    One such row would stretch the panel, which is dense, over all the years between, and put every true day after the split.
    """
    days = np.flatnonzero(rows_T)
    after_gap = days[1:][np.diff(days) > LONGEST_GAP_DAYS]
    stray = after_gap[rows_T.cumsum()[after_gap - 1] < STRAY_SHARE * rows_T.sum()]
    return int(stray.max(initial=0))


def _stray(
    series: list[asyncpg.Record], series_N: NDArray[np.int32], day_N: NDArray[np.int32], quantity_N: NDArray[np.float64]
) -> StrayRows:
    key_of = {row["id"]: (row["sku"], row["location"]) for row in series} if len(series_N) else {}
    keys = [key_of[int(series_id)] for series_id in series_N]
    return StrayRows(keys, day_N.astype("datetime64[D]"), single(quantity_N))


async def read_context(
    connection: AsyncConnection,
    series_ids: Sequence[int],
    *,
    days: int,
    ahead: int,
    known: Sequence[str] = (),
    past: Sequence[str] = (),
) -> Context | None:
    """The last `days` days of each series up to its own last day, and the covariates that a forecaster asks for by name.

    Series without rows are left out; None when all are. A covariate without a value is there as NaN. All attributes of the items
    are told; a forecaster knows its own by name. Give it a snapshot's connection: three statements that must see one state.
    """
    driver = await driver_of(connection)
    rows = await driver.fetch(
        "SELECT s.id, s.sku, s.location, s.revision, s.last_day, i.category, i.brand, i.attributes::text AS attributes,"
        f" {PLACE_COLUMNS}, i.launched_on, r.value AS calendar_revision, h.held_out FROM series s"
        f" LEFT JOIN items i ON i.sku = s.sku {PLACE_JOINS} {HELD_OUT_JOIN}"
        " WHERE s.id = ANY($1::int[]) AND s.rows > 0 ORDER BY s.id",
        series_ids,
    )
    if not rows:
        return None
    calendar_revision: int = rows[0]["calendar_revision"]
    last_S = np.array([row["last_day"].toordinal() - _EPOCH for row in rows], np.int64)
    first, width = int(last_S.min()) - days + 1, int(last_S.max() - last_S.min()) + days
    ids = np.array([row["id"] for row in rows], np.int64)
    series_N, day_N, *values = await _newest(driver, ids, days)
    columns = dict(zip(COLUMNS, map(single, values), strict=True))
    nothing = np.full(len(series_N), np.nan, np.float32)
    panel = panel_from_columns(
        np.searchsorted(ids, series_N),
        day_N - first,
        columns["quantity"],
        keys=[(row["sku"], row["location"]) for row in rows],
        start=np.datetime64(first, "D"),
        days=width,
        known={name: columns[name] if name in ("price", "promo") else nothing for name in known},
        past={name: columns.get(name, nothing) for name in past},
        ahead=ahead,
    )
    held = [_held_among(row, days) for row in rows]
    for row, entries in enumerate(held):
        for entry in entries:
            panel.quantity_ST[row, panel.day_index(np.datetime64(entry["date"]))] = np.nan
    if calendar_revision and (known or past):
        names = [name for name in (*known, *past) if name not in (*BUILT_IN, "in_stock")]
        said = await calendar_values(driver, _places(rows), first, width + ahead, names=names)
    else:
        unsaid = ("open", *filter(tells_events, known))
        said = {name: np.full((len(rows), width + ahead), np.nan, np.float32) for name in unsaid}
    _merge(panel, said)
    holidays = [name for name in HOLIDAYS if name in known]
    if holidays:
        panel = with_holidays(panel, [place_of_row(row) for row in rows], names=holidays, ahead=ahead)
    if AGE in known:
        panel = with_ages(panel, _launched(rows), ahead=ahead)
    return Context(
        ids.tolist(),
        [row["revision"] for row in rows],
        [row["last_day"] for row in rows],
        calendar_revision,
        replace(panel, static=as_static([attributes_of(row) for row in rows])),
        last_S - first,
        held,
    )


def _held_among(row: asyncpg.Record, days: int) -> list[dict[str, Any]]:
    """The days held among the newest `days` of a series."""
    if row["held_out"] is None:
        return []
    first, last = str(row["last_day"] - timedelta(days=days - 1)), str(row["last_day"])
    return [entry for entry in orjson.loads(row["held_out"]) if first <= entry["date"] <= last]


async def _series(driver: asyncpg.Connection, ids: Sequence[int] | None) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await driver.fetch(
        f"SELECT s.id, s.sku, s.location, s.revision, i.launched_on, {PLACE_COLUMNS}"
        f" FROM series s LEFT JOIN items i ON i.sku = s.sku {PLACE_JOINS}"
        " WHERE $1::int[] IS NULL OR s.id = ANY($1) ORDER BY s.id",
        ids,
    )
    return rows


async def _calendar_revision(driver: asyncpg.Connection) -> int:
    """0 until the calendar, an item or a location was first written: then there is nothing to merge."""
    return int(await driver.fetchval("SELECT coalesce(max(value), 0) FROM revisions WHERE name = 'calendar'"))


def _sales_query(ids: Sequence[int] | None, since: date | None) -> str:
    """All sales of some series, or of all, from a day on."""
    wanted = [f"s.series_id = ANY({int_array(ids)})"] if ids is not None else []
    wanted += [f"s.day >= DATE '{since.isoformat()}'"] if since is not None else []
    return f"SELECT s.series_id, s.day, {VALUES} FROM sales s WHERE {' AND '.join(wanted) or 'true'}"


async def _newest(driver: asyncpg.Connection, ids: NDArray[np.int64], days: int) -> list[NDArray[Any]]:
    """The newest days of each series. One series is fetched by a prepared statement, which beats a COPY that is planned anew."""
    newest = (
        f"SELECT s.series_id, s.day - DATE '1970-01-01', {VALUES} FROM series x JOIN sales s ON s.series_id = x.id"
        " AND s.day > x.last_day - {days} AND s.day <= x.last_day WHERE x.id {ids}"
    )
    if len(ids) == 1:
        rows = await driver.fetch(newest.format(days="$2::int", ids="= $1::int"), int(ids[0]), days)
        columns = np.array([tuple(row) for row in rows], np.float64).reshape(len(rows), len(KINDS))
        return [columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), *columns[:, 2:].T]
    kinds: list[Kind] = ["int4", "int4", *KINDS[2:]]
    return await copy_out(driver, newest.format(days=int(days), ids=f"= ANY({int_array(ids)})"), kinds)


def _with_calendar(panel: Panel, said: dict[str, Floats], names: Sequence[str], flags: Sequence[str]) -> Panel:
    """The panel with what the calendar says; covariates that it never mentions stay out."""
    for name in ("open", "event", *flags):
        if _any(said[name]):
            panel.known[name] = np.full(said[name].shape, np.nan, np.float32)
    for name in ("price", "promo", *names):
        told = panel.past.pop(name, np.full(panel.quantity_ST.shape, np.nan, np.float32))
        if _any(said[name][:, panel.days :]):
            panel.known[name] = np.full(said[name].shape, np.nan, np.float32)
            panel.known[name][:, : panel.days] = told
        elif _any(said[name]) or _any(told):
            panel.past[name] = told
    _merge(panel, said)
    return panel


def _merge(panel: Panel, said: dict[str, Floats]) -> None:
    """Fill what sales rows left open with what the calendar says. A day is open, and without event, unless it says otherwise."""
    if "open" in panel.known:
        said["open"] = np.nan_to_num(said["open"], nan=1.0)
    for name in panel.known:
        if tells_events(name):
            said[name] = np.nan_to_num(said[name], nan=0.0)
    for covariates in (panel.known, panel.past):
        for name, values in covariates.items():
            if name in said:
                open_ = np.isnan(values)
                values[open_] = said[name][:, : values.shape[1]][open_]
    hold(panel.known)


def _launched(rows: Sequence[asyncpg.Record]) -> NDArray[np.datetime64]:
    """The day on which each row's item was launched, NaT where nobody has said so."""
    return np.array([row["launched_on"] for row in rows], "datetime64[D]")


def _places(rows: Sequence[asyncpg.Record]) -> Places:
    ids = np.array([row["id"] for row in rows], np.int64)
    return Places(ids, [row["sku"] for row in rows], [row["location"] for row in rows])


def _any(values: NDArray[Any]) -> bool:
    return bool((~np.isnan(values)).any())


def _number(day: date) -> int:
    return day.toordinal() - _EPOCH


def _day(number: int) -> date:
    return date.fromordinal(number + _EPOCH)
