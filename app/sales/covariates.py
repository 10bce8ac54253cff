"""What is known of the days themselves: calendar rows merged into series x days arrays.

A calendar row speaks of one item at one location, of an item, of a location, or of all; the more specific row wins, value by
value: a row that gives only a price leaves the event of a more general row standing.

Shapes: S series, P days (past and ahead).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.database.copy import Kind, copy_out, int_array, text_literal

Floats = NDArray[np.float32]
BUILT_IN = ("price", "promo", "open", "event")
MOST_COVARIATES = 50
MOST_EVENTS = 20
EVENT = "event="
"""How the flag of one event begins: `event=Easter` is 1 on the days of that name."""

# From general to specific, so that what is written later wins. `code` is one series that stands for all it speaks of.
_LEVELS = (
    ("c.sku IS NULL AND c.location IS NULL", "(SELECT min(id) AS code FROM wanted)"),
    ("c.sku IS NULL AND c.location = w.location", "(SELECT location, min(id) AS code FROM wanted GROUP BY location)"),
    ("c.sku = w.sku AND c.location IS NULL", "(SELECT sku, min(id) AS code FROM wanted GROUP BY sku)"),
    ("c.sku = w.sku AND c.location = w.location", "(SELECT sku, location, id AS code FROM wanted)"),
)


@dataclass(frozen=True)
class Places:
    """The series that are asked about, in the order of the arrays' rows."""

    ids: NDArray[np.int64]
    skus: Sequence[str]
    locations: Sequence[str]


async def covariate_names(driver: asyncpg.Connection) -> list[str]:
    """The names in the calendar's `covariates`, the 50 most frequent, sorted. One that begins as an event's flag is not heard."""
    rows = await driver.fetch(
        "SELECT name FROM calendar, jsonb_object_keys(covariates) AS name WHERE covariates <> '{}'"
        " AND name <> ALL($2::text[]) AND NOT starts_with(name, $3)"
        " GROUP BY name ORDER BY count(*) DESC, name LIMIT $1",
        MOST_COVARIATES,
        [*BUILT_IN, "in_stock"],
        EVENT,
    )
    return sorted(row["name"] for row in rows)


async def event_flags(driver: asyncpg.Connection, last_day: date) -> list[str]:
    """Flags of the calendar's events, the 20 on most days, sorted: those that have been by `last_day` and come more than once.

    Of one that has not been yet nothing can be learned; what comes once only is one of all events (`event`).
    """
    rows = await driver.fetch(
        "SELECT event FROM calendar WHERE event IS NOT NULL GROUP BY event"
        " HAVING count(DISTINCT date) > 1 AND min(date) <= $2 ORDER BY count(DISTINCT date) DESC, event LIMIT $1",
        MOST_EVENTS,
        last_day,
    )
    return sorted(EVENT + row["event"] for row in rows)


async def calendar_values(
    driver: asyncpg.Connection, places: Places, first: int, days: int, *, names: Sequence[str] = ()
) -> dict[str, Floats]:
    """price, promo, open, event and the covariates `names` of `days` days from `first`; S x P, NaN where nothing is said.

    `event` is 1 where the calendar names one, a name such as `event=Easter` 1 where it is this one and 0 where it is another;
    `open` is 1 or 0 where it says so.
    """
    columns = [*BUILT_IN, *names]
    found = {name: np.full((len(places.ids), days), np.nan, np.float32) for name in columns}
    kinds: list[Kind] = ["int4", "int4", "date", *(["float8"] * len(columns))]  # type: ignore[list-item]
    level_N, code_N, day_N, *values = await copy_out(driver, _query(places, first, days, names), kinds)
    spoken_of = _spoken_of(places)
    for level in range(len(_LEVELS)):
        rows_N = np.flatnonzero(level_N == level)
        rows_N = rows_N[np.argsort(code_N[rows_N], kind="stable")]
        for part in np.split(rows_N, np.flatnonzero(np.diff(code_N[rows_N])) + 1):
            if not len(part):
                continue
            series = spoken_of[level][int(code_N[part[0]])]
            for name, values_N in zip(columns, values, strict=True):
                said = part[~np.isnan(values_N[part])]
                found[name][series[:, np.newaxis], day_N[said] - first] = single(values_N[said])
    return found


def tells_events(name: str) -> bool:
    """Whether a covariate is `event`, or the flag of one by name."""
    return name == "event" or name.startswith(EVENT)


def hold(known: dict[str, Floats]) -> None:
    """Fill what is known ahead where nobody said anything: a price holds until another is told, no word is no promotion.

    Most sales rows come with a price, and days without a sale without one. Left open, the days of a horizon whose price is
    missing would tell a network that nothing was sold on them: it would learn to read the answer, and forecast zeros ahead.
    """
    if "promo" in known:
        known["promo"] = np.nan_to_num(known["promo"], nan=0.0)
    if "price" in known:
        told = ~np.isnan(known["price"])
        last_told = np.maximum.accumulate(np.where(told, np.arange(told.shape[1]), 0), axis=1)
        known["price"] = np.take_along_axis(known["price"], last_told, axis=1)


def single(values: NDArray[np.float64]) -> Floats:
    """Single precision; what lies beyond it becomes the largest number it has, not infinity."""
    limit = np.finfo(np.float32).max
    return np.clip(values, -limit, limit).astype(np.float32)


def _query(places: Places, first: int, days: int, names: Sequence[str]) -> str:
    values = [
        "coalesce(c.price, 'NaN')",
        "coalesce(c.promo, 'NaN')",
        "coalesce(c.open::int::float8, 'NaN')",
        "CASE WHEN c.event IS NULL THEN 'NaN' ELSE 1::float8 END",
        *map(_value_of, names),
    ]
    between = f"c.date BETWEEN DATE '1970-01-01' + {first} AND DATE '1970-01-01' + {first + days - 1}"
    parts = [
        f"SELECT {level}, w.code, c.date, {', '.join(values)} FROM {codes} w JOIN calendar c ON {matches} AND {between}"
        for level, (matches, codes) in enumerate(_LEVELS)
    ]
    wanted = f"SELECT id, sku, location FROM series WHERE id = ANY({int_array(places.ids)})"
    return f"WITH wanted AS MATERIALIZED ({wanted}) {' UNION ALL '.join(parts)}"


def _value_of(name: str) -> str:
    """What a calendar row `c` says of a covariate by name, or of the flag of an event."""
    if name.startswith(EVENT):
        return f"coalesce((c.event = {text_literal(name.removeprefix(EVENT))})::int::float8, 'NaN')"
    literal = text_literal(name)
    number = f"(c.covariates ->> {literal})::float8"
    return f"coalesce(CASE jsonb_typeof(c.covariates -> {literal}) WHEN 'number' THEN {number} END, 'NaN')"


def _spoken_of(places: Places) -> list[dict[int, NDArray[np.int64]]]:
    """For each level the array rows that a code stands for."""
    groups: list[Sequence[object]] = [
        [None] * len(places.ids),
        places.locations,
        places.skus,
        list(zip(places.skus, places.locations, strict=True)),
    ]
    found = []
    for group in groups:
        members: dict[object, list[int]] = {}
        for row, value in enumerate(group):
            members.setdefault(value, []).append(row)
        found.append({int(places.ids[rows].min()): np.array(rows, np.int64) for rows in members.values()})
    return found
