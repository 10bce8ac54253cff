"""The SQL of newcomers: what is known of items without a past, whom they replace, who is like them and what launches sold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
import numpy as np

from app.catalog.active import ACTIVE_DAYS
from app.quarantine.store import not_held
from app.sales.attributes import attributes_of
from models.newcomers import FIRST_WEEKS, MOST_SIBLINGS, SETTLED_DAYS, Doubles, Launch, OwnDays, likeness
from models.windows import MEMORY

MOST_CANDIDATES = 2_000
MOST_LAUNCHES = 20


@dataclass(frozen=True)
class Newcomer:
    """An item at a location, without enough sales for a network. `cutoff` is its last day, else the newest one there."""

    series_id: int | None
    sku: str
    location: str
    cutoff: date
    own: OwnDays
    attributes: dict[str, str]
    replaced: tuple[int, str, date] | None
    """Id, SKU and last day of the series that it replaces at its location, where that has sales."""

    @property
    def says_anything(self) -> bool:
        return bool(self.attributes) or self.replaced is not None


_COLUMNS = """
    i.category, i.brand, i.attributes::text AS attributes,
    o.id AS old_id, o.sku AS old_sku, o.last_day AS old_last_day
"""
_REPLACED = "LEFT JOIN series o ON o.sku = i.replaces AND o.location = {location} AND o.rows > 0"


async def unsold(connection: asyncpg.Connection, sku: str, location: str) -> Newcomer | None:
    """An item that has no sales anywhere, at a location that is known by sales of others or by PUT /v1/locations."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS}, coalesce((SELECT max(last_day) FROM series WHERE location = $2),
                                    (SELECT max(last_day) FROM series)) AS cutoff
        FROM items i {_REPLACED.format(location="$2")}
        WHERE i.sku = $1 AND NOT EXISTS (SELECT FROM series WHERE sku = $1 AND rows > 0)
          AND (EXISTS (SELECT FROM series WHERE location = $2 AND rows > 0)
               OR EXISTS (SELECT FROM locations WHERE location = $2))
        """,
        sku,
        location,
    )
    if row is None or row["cutoff"] is None:
        return None
    return _newcomer(row, None, sku, location, OwnDays(0, 0.0))


async def barely_sold(connection: asyncpg.Connection, series_ids: Sequence[int]) -> list[Newcomer]:
    """Of these series, those whose item is known by attributes or by what it replaces."""
    rows = await connection.fetch(
        f"""
        SELECT s.id, s.sku, s.location, s.last_day AS cutoff, {_COLUMNS}, own.days, own.sold
        FROM series s JOIN items i ON i.sku = s.sku {_REPLACED.format(location="s.location")}
        CROSS JOIN LATERAL (SELECT count(quantity) AS days, coalesce(sum(quantity), 0) AS sold FROM sales x
                            WHERE series_id = s.id AND day > s.last_day - $2::int AND {not_held("x")}) own
        WHERE s.id = ANY($1::int[]) AND s.rows > 0
        """,
        series_ids,
        MEMORY,
    )
    found = [
        _newcomer(row, row["id"], row["sku"], row["location"], OwnDays(row["days"], float(row["sold"]))) for row in rows
    ]
    return [one for one in found if one.says_anything]


def _newcomer(row: asyncpg.Record, series_id: int | None, sku: str, location: str, own: OwnDays) -> Newcomer:
    replaced = None if row["old_id"] is None else (row["old_id"], row["old_sku"], row["old_last_day"])
    return Newcomer(series_id, sku, location, row["cutoff"], own, attributes_of(row), replaced)


async def siblings_of(connection: asyncpg.Connection, newcomer: Newcomer) -> tuple[list[int], Doubles]:
    """The series most like a newcomer, up to MOST_SIBLINGS, and their weights; they have a past and are still sold.

    The same location counts as one more shared attribute.
    """
    rows = await connection.fetch(
        """
        SELECT s.id, s.location, i.category, i.brand, i.attributes::text AS attributes
        FROM items i JOIN series s ON s.sku = i.sku
        WHERE i.sku <> $1 AND s.rows >= $2 AND s.last_day >= $3::date - $4::int
          AND (i.category = $5 OR i.brand = $6 OR EXISTS (
              SELECT FROM items own, jsonb_each(own.attributes) said
              WHERE own.sku = $1 AND i.attributes -> said.key = said.value))
        ORDER BY s.location = $7 DESC, s.id LIMIT $8
        """,
        newcomer.sku,
        SETTLED_DAYS,
        newcomer.cutoff,
        ACTIVE_DAYS,
        newcomer.attributes.get("category"),
        newcomer.attributes.get("brand"),
        newcomer.location,
        MOST_CANDIDATES,
    )
    weight_S = likeness(
        newcomer.attributes,
        [attributes_of(row) for row in rows],
        [row["location"] == newcomer.location for row in rows],
    )
    best = [at for at in np.argsort(-weight_S, kind="stable")[:MOST_SIBLINGS].tolist() if weight_S[at] > 0]
    return [rows[at]["id"] for at in best], weight_S[best]


async def launches_among(connection: asyncpg.Connection, series_ids: Sequence[int], until: date) -> list[Launch]:
    """For the newest launches among siblings: sold in their first weeks, and by a settled sibling on average in the same days."""
    rows: list[Any] = await connection.fetch(
        f"""
        WITH siblings AS (SELECT id, sku, first_day FROM series WHERE id = ANY($1::int[]) AND rows > 0),
        launched AS (
            SELECT id, sku, first_day FROM siblings
            WHERE first_day >= (SELECT min(first_day) FROM siblings) + $3::int AND first_day + $4::int <= $2::date + 1
            ORDER BY first_day DESC, id LIMIT $5
        )
        SELECT l.sku, (SELECT coalesce(sum(quantity), 0) FROM sales
                WHERE series_id = l.id AND day >= l.first_day AND day < l.first_day + $4::int),
               (SELECT coalesce(sum(s.quantity), 0) / count(DISTINCT b.id)
                FROM siblings b LEFT JOIN sales s
                  ON s.series_id = b.id AND s.day >= l.first_day AND s.day < l.first_day + $4::int AND {not_held("s")}
                WHERE b.first_day + $3::int <= l.first_day)
        FROM launched l
        """,
        series_ids,
        until,
        SETTLED_DAYS,
        FIRST_WEEKS,
        MOST_LAUNCHES,
    )
    return [Launch(sku, float(sold), float(beside)) for sku, sold, beside in rows]
