"""What a file's columns must be, and the list of what is wrong with a file."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import MAX_NAMED_ERRORS, Problem

Kind = Literal["text", "day", "number", "flag", "boolean", "object"]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Field:
    """One column: its kind and what its values may be.

    `text` is checked by `check` (what is wrong with it, or None) and may have a `default` for null; `day` lies from `low`
    to `high` (days since 1970-01-01); `number` is finite, from `low` to `high`; `flag` is true, false or a number from 0 to 1;
    `boolean` is true or false; `object` is a JSON object, handed on as JSON text.
    """

    name: str
    kind: Kind
    required: bool = False
    nullable: bool = True
    check: Callable[[str], str | None] | None = None
    default: str | None = None
    low: float | None = None
    high: float | None = None
    too_low: str = ""


class BadRows:
    """What is wrong with a body, row by row. At most 100 are named; reading stops once there are as many."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], dict[str, Any]] = {}
        self._columns: list[dict[str, Any]] = []

    @property
    def enough(self) -> bool:
        return len(self._found) >= MAX_NAMED_ERRORS or bool(self._columns)

    @property
    def any(self) -> bool:
        return bool(self._found or self._columns)

    def row(self, row: int, field: str | None, code: str, detail: str) -> None:
        """One bad value; of two things wrong with one the first stands."""
        error = {"row": int(row), "field": field, "code": code, "detail": detail}
        self._found.setdefault((int(row), field or ""), error)

    def where(
        self, bad: NDArray[np.bool_], rows: Rows, field: str, code: str, detail: Callable[[int], str] | str
    ) -> None:
        """A bad value wherever the mask says so; `detail` is given the position."""
        for position in np.flatnonzero(bad)[:MAX_NAMED_ERRORS]:
            self.row(rows[position], field, code, detail if isinstance(detail, str) else detail(int(position)))

    def column(self, field: str, code: str, detail: str) -> None:
        """Something wrong with a column as a whole."""
        self._columns.append({"row": None, "field": field, "code": code, "detail": detail})

    def refuse(self) -> None:
        """Raise the 422 that names them all, if there is anything to name."""
        if self._columns:
            raise Problem(
                "invalid_request", " ".join(e["detail"] for e in self._columns[:3]), errors=self._columns[:100]
            )
        if not self._found:
            return
        errors = sorted(self._found.values(), key=lambda error: (error["row"], error["field"] or ""))[:MAX_NAMED_ERRORS]
        first = errors[0]
        rows = len({error["row"] for error in errors})
        more = " or more" if self.enough else ""
        wrong = f"{rows}{more} row{' is' if rows == 1 and not more else 's are'} not valid; nothing was written."
        raise Problem("invalid_rows", f"{wrong} Row {first['row']}: {first['detail']}", errors=errors)


def check_names(names: Sequence[str], fields: Sequence[Field], bad: BadRows) -> None:
    """Note every unknown, repeated and missing column of a file."""
    known = {field.name: field for field in fields}
    for name in dict.fromkeys(names):
        if name not in known:
            shown = name[:200]
            bad.column(shown, "unknown_column", f"The column {shown!r} is not known{hint_for(name, fields, names)}.")
        elif list(names).count(name) > 1:
            bad.column(name, "repeated_column", f"The column {name!r} stands there more than once.")
    for field in fields:
        if field.required and field.name not in names:
            bad.column(field.name, "missing_column", f"The column {field.name!r} is missing.")


def hint_for(name: str, fields: Sequence[Field], names: Sequence[str]) -> str:
    """What the writer of an unknown name may have meant."""
    if name.startswith("__index_level_"):
        return "; write the file without the index (pandas: index=False)"
    for mark, what in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in name:
            return f"; columns must be separated by commas, not {what}"
    near = difflib.get_close_matches(name.strip().lower(), [field.name for field in fields], 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(field.name for field in fields)}"
