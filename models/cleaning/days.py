"""What the covariates say of single days, each day by itself: closed, out of stock, or one of its own kind.

Shapes: S series, T days.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.cleaning.outliers import Flags
from models.holidays import HOLIDAYS
from models.panel import Floats, Panel


@dataclass(frozen=True)
class Days:
    """Flags of each day, S x T; None where no covariate speaks of it.

    `special` days (promotion, event, holiday) are never outliers.
    """

    closed_ST: Flags | None = None
    out_of_stock_ST: Flags | None = None
    special_ST: Flags | None = None


def speaks(name: str) -> bool:
    """Whether a covariate of this name says anything that cleaning listens to. `event=Easter` is a flag of `event`."""
    return name in ("open", "in_stock") or _is_special(name)


def _is_special(name: str) -> bool:
    kind = name.partition("=")[0].lower()
    if kind in HOLIDAYS[1:]:  # weeks around a holiday, of which most days are like any other
        return False
    return kind == "promo" or kind.startswith("event") or "holiday" in kind


def days_of(covariates: Mapping[str, Floats]) -> Days:
    """What covariates (S x T each, NaN: nothing said) say. `open` at 0 is closed, `in_stock` below 1 is out of stock."""
    closed = covariates.get("open")
    stock = covariates.get("in_stock")
    special_ST: Flags | None = None
    with np.errstate(invalid="ignore"):
        for name, values_ST in covariates.items():
            if _is_special(name):
                special_ST = values_ST > 0 if special_ST is None else special_ST | (values_ST > 0)
        return Days(
            closed_ST=None if closed is None else closed <= 0,
            out_of_stock_ST=None if stock is None else stock < 1,
            special_ST=special_ST,
        )


def merged(covariates: Mapping[str, Floats]) -> dict[str, Floats]:
    """The same said by fewer columns: all covariates that make a day special become one, `event`. A window is cut from each."""
    special_ST = days_of(covariates).special_ST
    told = {name: values for name, values in covariates.items() if not _is_special(name)}
    return told if special_ST is None else told | {"event": special_ST.astype(np.float32)}


def covariates_of(panel: Panel, names: tuple[str, ...]) -> dict[str, Floats]:
    """Those of the panel's covariates named that cleaning listens to, on the panel's own days. Known ones go first."""
    given = {**panel.past, **{name: values[:, : panel.days] for name, values in panel.known.items()}}
    return {name: given[name] for name in names if speaks(name)}


def without(values_ST: Floats, flags_ST: Flags | None) -> Floats:
    """The values, NaN where flagged; the very same array where nothing is."""
    if flags_ST is None or not flags_ST.any():
        return values_ST
    return np.where(flags_ST, np.float32(np.nan), values_ST)
