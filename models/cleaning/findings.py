"""What cleaning found in a panel, as columns: which days, of what kind, what was seen, what was usual, what was done.

Consecutive days of one series, kind and treatment are one finding. Nothing is changed here.

Shapes: S series, T days, N days found, F findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.cleaning.outliers import Flags, Index, usual
from models.panel import Floats, Panel

Kind = Literal["gap", "closed", "outlier", "out_of_stock", "stray"]
Done = Literal["kept", "masked", "filled", "input_only", "left_out"]
KINDS: tuple[Kind, ...] = ("gap", "closed", "outlier", "out_of_stock", "stray")
DONE: tuple[Done, ...] = ("kept", "masked", "filled", "input_only", "left_out")

USUAL_DAYS = 28
FEWEST_SERIES = 3
UNLIKELY = 0.01
SCHEMA = pa.schema(
    [
        ("sku", pa.string()),
        ("location", pa.string()),
        ("first_day", pa.date32()),
        ("last_day", pa.date32()),
        ("kind", pa.string()),
        ("observed", pa.float32()),
        ("expected", pa.float32()),
        ("done", pa.string()),
    ]
)


@dataclass(frozen=True)
class Findings:
    """F findings, by series and first day. Days are indices of the panel's; `kind_F` and `done_F` index KINDS and DONE.

    `observed_F` is the mean of the days' quantities (NaN: none was recorded), `expected_F` what the first of them would usually
    have sold (NaN: not known, or asked for nothing).
    """

    series_F: Index
    first_F: Index
    last_F: Index
    kind_F: Index
    observed_F: Floats
    expected_F: Floats
    done_F: Index

    def __len__(self) -> int:
        return len(self.series_F)

    def of_kind(self, kind: Kind) -> "Findings":
        index = np.flatnonzero(self.kind_F == KINDS.index(kind))
        return Findings(*(getattr(self, field.name)[index] for field in fields(self)))

    def table(self, panel: Panel) -> pa.Table:
        """As an Arrow table of SCHEMA, sorted by SKU, location, first day and kind. NaN becomes null."""
        columns = [
            pa.array(panel.skus, pa.string()).take(pa.array(self.series_F)),
            pa.array(panel.locations, pa.string()).take(pa.array(self.series_F)),
            pa.array(panel.start + self.first_F, pa.date32()),
            pa.array(panel.start + self.last_F, pa.date32()),
            pa.array(KINDS, pa.string()).take(pa.array(self.kind_F)),
            pa.array(self.observed_F, from_pandas=True),
            pa.array(self.expected_F, from_pandas=True),
            pa.array(DONE, pa.string()).take(pa.array(self.done_F)),
        ]
        return ordered(pa.Table.from_arrays(columns, schema=SCHEMA))


def ordered(table: pa.Table) -> pa.Table:
    """Rows of SCHEMA in the order in which they are kept and read."""
    return table.sort_by([(name, "ascending") for name in ("sku", "location", "first_day", "kind")])


def nothing_found() -> Findings:
    empty, none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    return Findings(empty, empty, empty, empty, none, none, empty)


def runs(
    flags_ST: Flags, done_ST: NDArray[np.int8] | Done, kind: Kind, quantity_ST: Floats, base_ST: Floats
) -> Findings:
    """The flagged days of one kind as findings: consecutive days of one series for which the same was done are one.

    What the first of the days would usually have sold is taken from `base_ST`; of closed days nothing is expected.
    """
    row_N, day_N = np.nonzero(flags_ST)
    if not row_N.size:
        return nothing_found()
    done_N = np.full(row_N.shape, DONE.index(done_ST)) if isinstance(done_ST, str) else done_ST[row_N, day_N]
    goes_on_N = (np.diff(row_N) == 0) & (np.diff(day_N) == 1) & (np.diff(done_N) == 0)
    first_F = np.flatnonzero(np.concatenate([[True], ~goes_on_N]))
    last_F = np.concatenate([first_F[1:], [len(row_N)]]) - 1
    value_N = quantity_ST[row_N, day_N].astype(np.float64)
    total_F = np.add.reduceat(np.nan_to_num(value_N), first_F)
    count_F = np.add.reduceat(np.isfinite(value_N).astype(np.int64), first_F)
    observed_F = np.where(count_F > 0, total_F / np.maximum(count_F, 1), np.nan).astype(np.float32)
    if kind == "closed":
        expected_F = np.full(len(first_F), np.nan, dtype=np.float32)
    else:
        expected_F = usual(base_ST, row_N[first_F], day_N[first_F])
    kind_F = np.full(len(first_F), KINDS.index(kind))
    return Findings(
        row_N[first_F], day_N[first_F], day_N[last_F], kind_F, observed_F, expected_F, done_N[first_F].astype(np.int64)
    )


def joined(parts: Sequence[Findings]) -> Findings:
    """Findings of all kinds together, by series and first day."""
    columns = [np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Findings)]
    order = np.lexsort((columns[3], columns[1], columns[0]))
    return Findings(*(column[order] for column in columns))


def between(quantity_ST: Floats) -> Flags:
    """The days from each series' first observed day to its last."""
    seen_ST = np.isfinite(quantity_ST)
    begun_ST = np.logical_or.accumulate(seen_ST, axis=1)
    begun_ST &= np.logical_or.accumulate(seen_ST[:, ::-1], axis=1)[:, ::-1]
    return begun_ST


def closed_together(quantity_ST: Floats, locations: Sequence[str]) -> Flags:
    """Days on which a location that usually sells sold nothing at all, zeros and missing days alike.

    Usually selling is a series with a sale on at least half of the observed ones of the USUAL_DAYS days before. At least
    FEWEST_SERIES of them are needed, so many that all of them selling nothing by chance is UNLIKELY.
    """
    closed_ST = np.zeros(quantity_ST.shape, dtype=np.bool_)
    _, place_S = np.unique(np.asarray(locations, dtype=object).astype(str), return_inverse=True)
    order_S = np.argsort(place_S, kind="stable")
    for rows in np.split(order_S, np.flatnonzero(np.diff(place_S[order_S])) + 1):
        if len(rows) >= FEWEST_SERIES:
            closed_T = _location_closed(quantity_ST[rows])
            closed_ST[np.ix_(rows, np.flatnonzero(closed_T))] = True
    with np.errstate(invalid="ignore"):
        closed_ST &= ~(quantity_ST > 0)
    return closed_ST


def _location_closed(quantity_ST: Floats) -> Flags:
    """The days on which the series of one location, which usually sell, all sold nothing."""
    with np.errstate(invalid="ignore"):
        sold_ST = quantity_ST > 0
    selling_ST, observed_ST = _counts_before(sold_ST), _counts_before(np.isfinite(quantity_ST))
    share_ST = selling_ST / np.maximum(observed_ST, 1)
    usual_ST = (observed_ST >= USUAL_DAYS // 2) & (share_ST >= 0.5)
    chance_T = np.where(usual_ST, np.log1p(-np.minimum(share_ST, 0.95)), 0.0).sum(axis=0)
    closed_T: Flags = ~sold_ST.any(axis=0) & (usual_ST.sum(axis=0) >= FEWEST_SERIES) & (chance_T <= np.log(UNLIKELY))
    return closed_T


def _counts_before(flags_ST: Flags) -> NDArray[np.int32]:
    """How many of the USUAL_DAYS days before each day are flagged."""
    running_ST = np.zeros((flags_ST.shape[0], flags_ST.shape[1] + 1), dtype=np.int32)
    np.cumsum(flags_ST, axis=1, out=running_ST[:, 1:])
    count_ST = running_ST[:, :-1].copy()
    count_ST[:, USUAL_DAYS:] -= running_ST[:, : -USUAL_DAYS - 1]
    return count_ST
