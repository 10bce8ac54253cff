"""Items, locations and calendar rows listed in pages, in the form in which they are PUT."""

from datetime import date
from typing import Any

import asyncpg
import orjson

from app.catalog.fields import CALENDAR, ITEMS, LOCATIONS, Catalog
from app.database.filters import Filters
from app.database.pages import Page

Rows = tuple[list[dict[str, Any]], str | None]


async def items_page(
    connection: asyncpg.Connection,
    page: Page,
    *,
    sku: str | None = None,
    category: str | None = None,
    brand: str | None = None,
) -> Rows:
    """A page of items by SKU, and the token of the next page."""
    filters = Filters()
    filters.equal("sku", sku)
    filters.equal("category", category)
    filters.equal("brand", brand)
    after = page.after("items", str)
    if after is not None:
        filters.add("sku > ?", *after)
    limit = filters.numbered("?::bigint", page.limit)
    rows = await connection.fetch(
        f"SELECT {_columns(ITEMS)} FROM items WHERE {filters.where} ORDER BY sku LIMIT {limit}",
        *filters.values,
    )
    part, token = page.cut("items", rows, lambda row: (row["sku"],))
    return [{**row, "attributes": orjson.Fragment(row["attributes"])} for row in part], token


async def locations_page(
    connection: asyncpg.Connection, page: Page, *, location: str | None = None, country: str | None = None
) -> Rows:
    """A page of locations by name, and the token of the next page."""
    filters = Filters()
    filters.equal("location", location)
    filters.equal("country", country)
    after = page.after("locations", str)
    if after is not None:
        filters.add("location > ?", *after)
    limit = filters.numbered("?::bigint", page.limit)
    rows = await connection.fetch(
        f"SELECT {_columns(LOCATIONS)} FROM locations WHERE {filters.where} ORDER BY location LIMIT {limit}",
        *filters.values,
    )
    part, token = page.cut("locations", rows, lambda row: (row["location"],))
    return [dict(row) for row in part], token


async def calendar_page(
    connection: asyncpg.Connection,
    page: Page,
    *,
    sku: str | None = None,
    location: str | None = None,
    first: date | None = None,
    last: date | None = None,
) -> Rows:
    """A page of calendar rows by date, and the token of the next page. A SKU or location names rows that say just that."""
    filters = Filters()
    filters.equal("sku", sku)
    filters.equal("location", location)
    if first is not None:
        filters.add("date >= ?", first)
    if last is not None:
        filters.add("date <= ?", last)
    after = page.after("calendar", date, int)
    if after is not None:
        filters.add("(date, id) > (?, ?)", *after)
    limit = filters.numbered("?::bigint", page.limit)
    rows = await connection.fetch(
        f"SELECT id, {_columns(CALENDAR)} FROM calendar WHERE {filters.where} ORDER BY date, id LIMIT {limit}",
        *filters.values,
    )
    part, token = page.cut("calendar", rows, lambda row: (row["date"], row["id"]))
    return [_calendar_row(row) for row in part], token


def _calendar_row(row: asyncpg.Record) -> dict[str, Any]:
    return {name: row[name] for name in CALENDAR.columns} | {"covariates": orjson.Fragment(row["covariates"])}


def _columns(catalog: Catalog) -> str:
    """The columns as a select list, objects as their JSON text."""
    return ", ".join(f"{f.name}::text" if f.kind == "object" else f.name for f in catalog.fields)
