"""In which country each location lies: its own, else the default that the service was started with.

The default is kept in the database beside the calendar's revision, so that every process, and every snapshot, reads the same one.
"""

from collections.abc import Mapping
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from models.holidays import Place

COLUMNS = "l.country, l.subdivision, r.default_country"
JOINS = "LEFT JOIN locations l ON l.location = s.location JOIN revisions r ON r.name = 'calendar'"
"""What a query over `series s` needs for `place_of_row`."""


def place_of_row(row: Mapping[str, Any] | asyncpg.Record) -> Place | None:
    """The place of a series' row; None where its location has no country and there is no default."""
    if row["country"] is not None:
        return Place(row["country"], row["subdivision"])
    if row["default_country"] is None:
        return None
    country, _, subdivision = row["default_country"].partition("-")
    return Place(country, subdivision or None)


async def set_default_country(connection: AsyncConnection, code: str | None) -> None:
    """Make a code (IT, DE-BY or none) the default. A new one raises the calendar's revision: no stored forecast is fresh then."""
    await connection.execute(
        text(
            "UPDATE revisions SET default_country = :code, value = value + 1"
            " WHERE name = 'calendar' AND default_country IS DISTINCT FROM CAST(:code AS text)"
        ),
        {"code": code},
    )
