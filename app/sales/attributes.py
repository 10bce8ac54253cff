"""What is known of items for good, as text by name: category, brand and the short entries of `attributes`.

Training takes the names that can teach something, a forecast those that its version was trained with; both read the values
through this one file, so that they are the same to the letter.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import orjson

MOST_NAMES = 20
"""Entries of `attributes` that a network is told of: the most frequent ones. Each costs eight inputs."""
LONGEST_VALUE = 200
"""Characters; longer texts are descriptions, not kinds."""
PREFIX = "attributes."


async def read_attributes(driver: asyncpg.Connection) -> dict[str, dict[str, str]]:
    """By SKU, the attributes of every item that has sales; of entries only those that `_worth_knowing` names.

    Read through a cursor: a row's entries may have 64 KiB, and only what is short is kept. Needs a transaction.
    """
    told: dict[str, dict[str, str]] = {}
    async for row in driver.cursor(
        "SELECT sku, category, brand, attributes::text AS attributes FROM items i"
        " WHERE EXISTS (SELECT FROM series s WHERE s.sku = i.sku AND s.rows > 0)"
    ):
        told[row["sku"]] = attributes_of(row)
    kept = _worth_knowing(told)
    return {sku: {name: value for name, value in own.items() if name in kept} for sku, own in told.items()}


def attributes_of(row: Mapping[str, Any] | asyncpg.Record) -> dict[str, str]:
    """The attributes that an item's row tells: `category`, `brand` and `attributes.NAME`; what is empty is not known."""
    entries = orjson.loads(row["attributes"]) if row["attributes"] else {}
    told = {name: row[name] for name in ("category", "brand") if row[name]}
    for name, value in entries.items():
        text = _text(value)
        if text and len(text) <= LONGEST_VALUE:
            told[PREFIX + name] = text
    return told


def as_static(told: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Series' attributes as the columns of a panel, in the order of their names; "" where one is not known."""
    names = sorted({name for own in told for name in own})
    return {name: [own.get(name, "") for own in told] for name in names}


def _worth_knowing(told: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Category, brand and the entries most items have, less those that differ from item to item: they name it, no more."""
    items = Counter(name for own in told.values() for name in own)
    values = Counter(name for name, _ in {pair for own in told.values() for pair in own.items()})
    entries = [name for name in items if name.startswith(PREFIX) and values[name] < items[name]]
    most = sorted(entries, key=lambda name: (-items[name], name))[:MOST_NAMES]
    return {"category", "brand", *most}


def _text(value: object) -> str:
    """A text, number or flag as text, the same for 1 and 1.0; "" for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value) if isinstance(value, (str, int)) else ""
