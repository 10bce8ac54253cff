"""What items, locations and the calendar may hold: the columns of each, their checks, and which of them name a row.

How bodies become columns is in app/tabular/, what an attribute or covariate may be in objects.py, how rows are written in
writing.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from zoneinfo import available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.catalog.countries import COUNTRIES
from app.catalog.objects import Normaliser, normal_attributes, normal_covariates, normal_objects
from app.names import wrong_with_location, wrong_with_name, wrong_with_sku
from app.tabular.fields import BadRows, Field
from app.tabular.reading import Piece

MAX_DESCRIPTION = 10_000
FIRST_DAY = (date(1900, 1, 1) - date(1970, 1, 1)).days
LAST_DAY = (date(2199, 12, 31) - date(1970, 1, 1)).days


@dataclass(frozen=True)
class Catalog:
    """One of the three tables: its name (also the list's name in JSON), its columns and those that name a row."""

    name: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    across: Callable[[Piece, BadRows], None] = lambda _piece, _bad: None  # checks that look at two columns
    objects: tuple[tuple[str, Normaliser], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)


def checked(catalog: Catalog, piece: Piece, bad: BadRows) -> Piece:
    """A piece with what only this catalog knows checked too, its objects in one normal form."""
    catalog.across(piece, bad)
    columns = dict(piece.columns)
    for name, normaliser in catalog.objects:
        columns[name] = normal_objects(columns[name], name, normaliser, piece.rows, bad)
    return Piece(columns, piece.rows)


def wrong_with_text(text: str) -> str | None:
    """What is wrong with a text of several lines."""
    return wrong_with_name(text.translate({ord("\n"): " ", ord("\r"): " ", ord("\t"): " "}), max_length=MAX_DESCRIPTION)


def wrong_with_country(code: str) -> str | None:
    if code in COUNTRIES:
        return None
    hint = f" (did you mean {code.upper()!r}?)" if code.upper() in COUNTRIES else ""
    return f"must be an ISO 3166-1 code of two letters, such as 'DE', not {code[:40]!r}{hint}"


def wrong_with_timezone(name: str) -> str | None:
    if name in timezones():
        return None
    return f"must be a time zone of the IANA database, such as 'Europe/Berlin', not {name[:40]!r}"


@cache
def timezones() -> frozenset[str]:
    found = frozenset(available_timezones())
    assert found, "no time zone database is installed"
    return found


def _check_items(piece: Piece, bad: BadRows) -> None:
    launched, discontinued = piece.columns["launched_on"], piece.columns["discontinued_on"]
    told = "discontinued_on must not be before launched_on."
    bad.where(_true(pc.less(discontinued, launched)), piece.rows, "discontinued_on", "days_reversed", told)
    sku, replaces = (piece.columns[name].cast(pa.string()) for name in ("sku", "replaces"))
    told = "replaces must name another SKU than the item's own."
    bad.where(_true(pc.equal(sku, replaces)), piece.rows, "replaces", "replaces_itself", told)


def _true(mask: pa.BooleanArray) -> NDArray[np.bool_]:
    """Where a comparison holds; an unknown value (null) makes it not hold."""
    found: NDArray[np.bool_] = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
    return found


def _day(name: str, *, required: bool = False) -> Field:
    return Field(name, "day", required=required, nullable=not required, low=FIRST_DAY, high=LAST_DAY)


ITEMS = Catalog(
    name="items",
    fields=(
        Field("sku", "text", required=True, nullable=False, check=wrong_with_sku),
        Field("name", "text", check=wrong_with_name),
        Field("description", "text", check=wrong_with_text),
        Field("category", "text", check=wrong_with_name),
        Field("brand", "text", check=wrong_with_name),
        _day("launched_on"),
        _day("discontinued_on"),
        Field("replaces", "text", check=wrong_with_sku),
        Field("attributes", "object"),
    ),
    key=("sku",),
    across=_check_items,
    objects=(("attributes", normal_attributes),),
)
LOCATIONS = Catalog(
    name="locations",
    fields=(
        Field("location", "text", default="", check=wrong_with_location),
        Field("name", "text", check=wrong_with_name),
        Field("country", "text", check=wrong_with_country),
        Field("subdivision", "text", check=wrong_with_name),
        Field("timezone", "text", check=wrong_with_timezone),
    ),
    key=("location",),
)
CALENDAR = Catalog(
    name="calendar",
    fields=(
        Field("sku", "text", check=wrong_with_sku),
        Field("location", "text", check=wrong_with_location),
        _day("date", required=True),
        Field("price", "number", low=0),
        Field("promo", "flag", low=0, high=1),
        Field("event", "text", check=wrong_with_name),
        Field("open", "boolean"),
        Field("covariates", "object"),
    ),
    key=("date", "sku", "location"),
    objects=(("covariates", normal_covariates),),
)
