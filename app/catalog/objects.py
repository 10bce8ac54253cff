"""The JSON objects of the catalog, attributes of items and covariates of days, brought to one normal form that Postgres can hold.

Attributes are any JSON of bounded size; covariates are finite numbers by name. Files carry them as JSON text, structs or maps.
"""

from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa

from app.names import wrong_with_name
from app.tabular.fields import BadRows, Rows

MAX_OBJECT_BYTES = 65_536
MAX_DEPTH = 20

Normaliser = Callable[[dict[str, Any]], dict[str, Any]]


class NotNormal(ValueError):
    """Says what is wrong with an object, as the end of a sentence about it."""


def normal_objects(column: pa.Array, name: str, normaliser: Normaliser, rows: Rows, bad: BadRows) -> pa.Array:
    """JSON text of every object in normal form, `{}` where there is none. Each distinct text is read once."""
    known: dict[str | None, str] = {None: "{}"}
    wrong: dict[str | None, str] = {}
    texts: list[str | None] = column.to_pylist()
    for position, text in enumerate(texts):
        if text not in known and text not in wrong:
            try:
                known[text] = _normal(text, normaliser)
            except NotNormal as error:
                wrong[text] = str(error)
        if text in wrong:
            bad.row(int(rows[position]), name, "invalid_object", f"{name} {wrong[text]}.")
            if bad.enough:
                break
    return pa.array([known.get(text, "{}") for text in texts], pa.string())


def normal_attributes(value: dict[str, Any]) -> dict[str, Any]:
    """Attributes as they are, once they are known to be storable."""
    _check_storable(value, MAX_DEPTH)
    return value


def normal_covariates(value: dict[str, Any]) -> dict[str, float]:
    """Covariates as numbers by name; those that are null are not known and left out."""
    for name, number in value.items():
        wrong = "must not have a blank name" if not name.strip() else wrong_with_name(name)
        if wrong is not None:
            raise NotNormal(f"may not have the name {name[:40]!r}: a name {wrong}")
        if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise NotNormal(f"must be numbers by name, but {name[:40]!r} is {orjson.dumps(number)[:40].decode()}")
    return {name: float(number) for name, number in value.items() if number is not None}


def _normal(text: str | None, normaliser: Normaliser) -> str:
    assert text is not None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotNormal(f"must be a JSON object ({error})") from error
    if not isinstance(value, dict):
        raise NotNormal("must be a JSON object")
    if len(text.encode()) > MAX_OBJECT_BYTES:
        raise NotNormal(f"may have {MAX_OBJECT_BYTES} bytes of JSON, not {len(text.encode())}")
    return orjson.dumps(normaliser(value), option=orjson.OPT_SORT_KEYS).decode()


def _check_storable(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise NotNormal("must not have NUL characters")
    elif isinstance(value, (dict, list)):
        if depth == 0:
            raise NotNormal(f"may be nested {MAX_DEPTH} levels deep")
        for child in value if isinstance(value, list) else [*value, *value.values()]:
            _check_storable(child, depth - 1)
