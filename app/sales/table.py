"""Sales as a dense table of series and days, before anything else is said of them: made of rows, cut to a span, joined.

Days are numbers, counted from 1970-01-01. Shapes: S series, T days, N rows.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.database.copy import Kind
from app.sales.covariates import Floats, single
from models.days import side_by_side

COLUMNS = ("quantity", "price", "promo", "in_stock")
VALUES = ", ".join(f"coalesce(s.{name}, 'NaN')" for name in COLUMNS)
KINDS: list[Kind] = ["int4", "date", "float8", "float8", "float8", "float8"]
"""Of the columns series_id, day and VALUES, as rows are read."""
LONGEST_GAP_DAYS = 366
"""A few rows before a longer gap are a mistyped date, not history."""
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """What `sales` holds of some series, whose ids ascend, from the day `first` on. `here_ST`: where there is a row; `columns` by
    name, NaN where a row says nothing. Covariates that no row tells are left out."""

    ids_S: Ids
    first: int
    here_ST: NDArray[np.bool_]
    columns: dict[str, Floats]

    @property
    def days(self) -> int:
        return int(self.here_ST.shape[1])

    @property
    def rows_T(self) -> Ids:
        """How many rows each day has."""
        counts: Ids = self.here_ST.sum(axis=0)
        return counts

    def span(self, first: int, days: int) -> "Table":
        """The table of these days; those that it does not hold have no rows. Where it holds all of them, it is a part of the
        same arrays."""
        series, shift = len(self.ids_S), first - self.first
        inside = slice(max(shift, 0), max(min(shift + days, self.days), 0))
        to = slice(inside.start - shift, inside.start - shift + max(inside.stop - inside.start, 0))

        def cut(values_ST: NDArray[Any], nothing: Any) -> NDArray[Any]:
            if inside.stop - inside.start == days:
                return values_ST[:, inside]
            out_ST = np.full((series, days), nothing, values_ST.dtype)
            out_ST[:, to] = values_ST[:, inside]
            return out_ST

        columns = {name: cut(values_ST, np.nan) for name, values_ST in self.columns.items()}
        return Table(self.ids_S, first, cut(self.here_ST, False), columns)

    def of(self, rows_S: Ids) -> "Table":
        """Some of its series; a part of the same arrays where they stand side by side."""
        rows = side_by_side(rows_S)
        columns = {name: values_ST[rows] for name, values_ST in self.columns.items()}
        return Table(self.ids_S[rows], self.first, self.here_ST[rows], columns)

    def with_rows(self) -> "Table | None":
        """Without series, days at both ends and covariates that no row tells of; None where nothing is left."""
        some_S, days = self.here_ST.any(axis=1), np.flatnonzero(self.here_ST.any(axis=0))
        if not len(days):
            return None
        table = self if some_S.all() else self.of(np.flatnonzero(some_S))
        table = table.span(self.first + int(days[0]), int(days[-1] - days[0]) + 1)
        told = {name: v for name, v in table.columns.items() if name == "quantity" or not np.isnan(v).all()}
        return replace(table, columns=told)


def table_of(series_N: NDArray[Any], day_N: NDArray[Any], values: list[NDArray[np.float64]]) -> Table:
    """Rows, at least one, as a table of the series and days that they span."""
    ids_S = np.unique(series_N).astype(np.int64)
    first, last = int(day_N.min()), int(day_N.max())
    shape = (len(ids_S), last - first + 1)
    at_N = np.searchsorted(ids_S, series_N) * shape[1] + (day_N.astype(np.int64) - first)
    here_ST = np.zeros(shape, np.bool_)
    here_ST.reshape(-1)[at_N] = True
    columns = {}
    for name, values_N in zip(COLUMNS, values, strict=True):
        if name == "quantity" or not np.isnan(values_N).all():
            columns[name] = np.full(shape, np.nan, np.float32)
            columns[name].reshape(-1)[at_N] = single(values_N)
    return Table(ids_S, first, here_ST, columns)
