"""Cleaning a whole panel for learning, and a window's memory for forecasting, by the same rules.

Shapes: S series, T days, B windows, M memory days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.cleaning.days import Days, covariates_of, days_of, without
from models.cleaning.findings import DONE, Findings, between, closed_together, joined, nothing_found, runs
from models.cleaning.outliers import HISTORY, Flags, Index, acquitted, suspects, usual
from models.cleaning.treatments import FILL_DAYS, filled
from models.panel import Floats, Panel

Treatment = Literal["mask", "linear", "mean", "seasonal", "model"]
FILLING = ("linear", "mean", "seasonal")
"""Treatments that put numbers in the place of missing days; `model` leaves that to the network."""

REACH = HISTORY + FILL_DAYS
"""Days before a day that its cleaned value may depend on. Further back a window's memory does not reach for its oldest days."""
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Cleaned:
    """A panel for learning. `inputs` is what contexts are cut from, `targets_ST` what the loss looks at (NaN: not at all).

    `alone_ST` stands in for the inputs on the oldest REACH days of a window: what each day tells by itself.
    """

    inputs: Panel
    alone_ST: Floats
    targets_ST: Floats
    findings: Findings


def clean(panel: Panel, treatment: Treatment = "mask", *, covariates: Sequence[str] | None = None) -> Cleaned:
    """Clean a panel. What is decided about a day looks at that day and those before it; the panel itself is not changed.

    `covariates` names those that may be listened to (by default all of the panel's). With `model` missing days stay missing
    here: the network fills them when it reads a window. Raises ValueError for an unknown treatment.
    """
    if treatment not in get_args(Treatment):
        raise ValueError(f"The treatment must be one of {', '.join(get_args(Treatment))}, not {treatment!r}.")
    names = tuple(covariates) if covariates is not None else (*panel.known, *panel.past)
    days = days_of(covariates_of(panel, names))
    parts = [
        _judged(panel.quantity_ST[first : first + ROWS_AT_ONCE], _rows(days, first), treatment)
        for first in range(0, panel.series, ROWS_AT_ONCE)
    ]
    inputs_ST = np.concatenate([part.inputs_ST for part in parts])
    targets_ST, alone_ST = inputs_ST, panel.quantity_ST  # two arrays less where nothing tells them apart
    if any(part.targets_ST is not part.inputs_ST for part in parts):
        targets_ST = np.concatenate([part.targets_ST for part in parts])
    if days.out_of_stock_ST is not None:
        alone_ST = np.concatenate([part.alone_ST for part in parts])
    inputs = replace(panel, quantity_ST=inputs_ST)
    findings = _report(panel, days, inputs.quantity_ST, targets_ST)
    return Cleaned(inputs, alone_ST, targets_ST, findings)


def clean_memory(quantity_BM: Floats, covariates: Mapping[str, Floats], treatment: Treatment) -> Floats:
    """The memory of windows, cleaned as the same days of a whole panel are: what was trained on is what is forecast from.

    The oldest REACH days lack some of the history that they would be judged by, so each speaks for itself alone there and
    in training: days out of stock are missing, nothing else is touched.
    """
    judged = _judged(quantity_BM, days_of(covariates), treatment, first=HISTORY)
    memory_BM = judged.inputs_ST if judged.inputs_ST is not quantity_BM else quantity_BM.copy()
    memory_BM[:, :REACH] = judged.alone_ST[:, :REACH]
    return memory_BM


@dataclass(frozen=True)
class _Judged:
    inputs_ST: Floats
    alone_ST: Floats
    targets_ST: Floats


def _judged(quantity_ST: Floats, days: Days, treatment: Treatment, *, first: int = 0) -> _Judged:
    """Some rows, cleaned. Arrays that turn out equal may be one and the same.

    Days before the index `first` speak for themselves alone; with it, days are not looked at for learning.
    """
    alone_ST = without(quantity_ST, days.out_of_stock_ST)
    base_ST = without(alone_ST, days.closed_ST)
    kept_ST = _with_sales_despite(alone_ST, quantity_ST, base_ST, days.out_of_stock_ST, first)
    may_ST = np.isfinite(kept_ST) if days.special_ST is None else np.isfinite(kept_ST) & ~days.special_ST
    may_ST[:, :first] = False
    row_N, day_N = suspects(kept_ST, base_ST, may_ST)
    inputs_ST = targets_ST = _with_missing(kept_ST, row_N, day_N)
    if not first and row_N.size:
        guilty_N = ~acquitted(quantity_ST, base_ST, row_N, day_N)
        targets_ST = _with_missing(kept_ST, row_N[guilty_N], day_N[guilty_N])
    if treatment in FILLING:
        inputs_ST = filled(inputs_ST, without(inputs_ST, days.closed_ST), days.closed_ST, treatment)
    return _Judged(inputs_ST, alone_ST, targets_ST)


def _with_sales_despite(
    alone_ST: Floats, quantity_ST: Floats, base_ST: Floats, out_ST: Flags | None, first: int
) -> Floats:
    """Days out of stock that sold the usual all the same are given back: demand was at least that."""
    if out_ST is None:
        return alone_ST
    row_N, day_N = np.nonzero(out_ST[:, first:] & np.isfinite(quantity_ST[:, first:]))
    if not row_N.size:
        return alone_ST
    day_N = day_N + first
    enough_N = quantity_ST[row_N, day_N] >= usual(base_ST, row_N, day_N)
    row_N, day_N = row_N[enough_N], day_N[enough_N]
    kept_ST = alone_ST.copy()
    kept_ST[row_N, day_N] = quantity_ST[row_N, day_N]
    return kept_ST


def _with_missing(values_ST: Floats, row_N: Index, day_N: Index) -> Floats:
    if not row_N.size:
        return values_ST
    masked_ST = values_ST.copy()
    masked_ST[row_N, day_N] = np.nan
    return masked_ST


def _rows(days: Days, first: int) -> Days:
    """What is said of the rows from `first` on, ROWS_AT_ONCE of them."""

    def part(flags_ST: Flags | None) -> Flags | None:
        return None if flags_ST is None else flags_ST[first : first + ROWS_AT_ONCE]

    return Days(part(days.closed_ST), part(days.out_of_stock_ST), part(days.special_ST))


def _report(panel: Panel, days: Days, inputs_ST: Floats, targets_ST: Floats) -> Findings:
    """Everything that was found, and what was done about it."""
    quantity_ST = panel.quantity_ST
    base_ST = without(without(quantity_ST, days.out_of_stock_ST), days.closed_ST)
    missing_ST = np.isnan(quantity_ST)
    inside_ST = between(quantity_ST)
    closed_ST = closed_together(quantity_ST, panel.locations)
    if days.closed_ST is not None:
        with np.errstate(invalid="ignore"):
            closed_ST |= days.closed_ST & ~(quantity_ST > 0)
    closed_ST &= inside_ST
    out_ST = np.zeros_like(missing_ST) if days.out_of_stock_ST is None else days.out_of_stock_ST & ~missing_ST
    done_ST = _done(quantity_ST, inputs_ST, targets_ST)
    masked_ST = ~missing_ST & ~out_ST & (done_ST != DONE.index("kept"))
    parts = [
        runs(missing_ST & inside_ST & ~closed_ST, done_ST, "gap", quantity_ST, base_ST),
        runs(closed_ST & ~out_ST, done_ST, "closed", quantity_ST, base_ST),
        runs(out_ST, done_ST, "out_of_stock", quantity_ST, base_ST),
        runs(masked_ST, done_ST, "outlier", quantity_ST, base_ST),
    ]
    found = [part for part in parts if len(part)]
    return joined(found) if found else nothing_found()


def _done(quantity_ST: Floats, inputs_ST: Floats, targets_ST: Floats) -> NDArray[np.int8]:
    """What was done about each day, as an index of DONE."""
    missing_ST = np.isnan(quantity_ST)
    done_ST: NDArray[np.int8] = np.full(quantity_ST.shape, DONE.index("kept"), dtype=np.int8)
    untold_ST = np.isnan(targets_ST)
    done_ST[untold_ST] = DONE.index("masked")
    done_ST[untold_ST & np.isfinite(inputs_ST)] = DONE.index("filled")
    with np.errstate(invalid="ignore"):
        done_ST[~missing_ST & ~untold_ST & ~(inputs_ST == quantity_ST)] = DONE.index("input_only")
    return done_ST
