"""The panel: daily sales of many series as dense arrays, with covariates. Missing is NaN, never zero.

Here: building a panel from a table or from index columns, cutting it at a day, naming its content by a fingerprint.
Not here: anything that learns from it.

Shapes: S series, T days, A days ahead for which known covariates may be given, N rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]
_HASHED_AT_ONCE = 1024


@dataclass(frozen=True)
class Panel:
    """S series over T consecutive days; column 0 is `start`. Quantities are finite and not negative, or NaN (missing).

    `known` covariates may reach A days beyond the last day (promotion, price, open); `past` ones end with it
    (weather, in_stock) and are never read after a cutoff. `static` attributes (brand, category) are text; "" is unknown.
    """

    skus: list[str]
    locations: list[str]
    start: np.datetime64
    quantity_ST: Floats
    known: dict[str, Floats] = field(default_factory=dict)
    past: dict[str, Floats] = field(default_factory=dict)
    static: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        series, days = self.quantity_ST.shape
        if not len(self.skus) == len(self.locations) == series:
            raise ValueError(
                f"{series} rows of quantities need as many skus and locations, "
                f"not {len(self.skus)} and {len(self.locations)}."
            )
        for name, values in self.known.items():
            if values.shape[0] != series or values.shape[1] < days:
                raise ValueError(
                    f"The known covariate {name!r} has shape {values.shape}; {series} x at least {days} is needed."
                )
        for name, values in self.past.items():
            if values.shape != (series, days):
                raise ValueError(f"The past covariate {name!r} has shape {values.shape}; {series} x {days} is needed.")

        for name, texts in self.static.items():
            if len(texts) != series:
                raise ValueError(f"The static attribute {name!r} has {len(texts)} values; {series} are needed.")

    @property
    def series(self) -> int:
        return int(self.quantity_ST.shape[0])

    @property
    def days(self) -> int:
        return int(self.quantity_ST.shape[1])

    @property
    def end(self) -> np.datetime64:
        """The last day, inclusive."""
        return self.start + np.timedelta64(self.days - 1, "D")

    @property
    def keys(self) -> list[tuple[str, str]]:
        return list(zip(self.skus, self.locations, strict=True))

    def day_index(self, day: np.datetime64) -> int:
        """Column of a day; below 0 or past the last column when the panel does not hold it."""
        return int((day.astype("datetime64[D]") - self.start).astype(int))

    def attributes(self) -> dict[str, list[str]]:
        """The static attributes, and SKU and location as such where several series share one."""
        shared = {"sku": self.skus, "location": self.locations}
        own = {name: texts for name, texts in shared.items() if 1 < len(set(texts)) < self.series}
        return own | self.static

    def until(self, cutoff: np.datetime64) -> "Panel":
        """The panel as it was at the end of `cutoff` (inclusive). Known covariates keep their days ahead."""
        days = self.day_index(cutoff) + 1
        if days < 1:
            raise ValueError(f"The cutoff {cutoff} lies before the panel's first day {self.start}.")
        days = min(days, self.days)
        past = {name: np.ascontiguousarray(values[:, :days]) for name, values in self.past.items()}
        return replace(self, quantity_ST=np.ascontiguousarray(self.quantity_ST[:, :days]), past=past)

    def rows(self, series: Sequence[int] | NDArray[np.integer]) -> "Panel":
        """The panel of some series, in the order asked for."""
        index = np.asarray(series, dtype=np.int64)
        return replace(
            self,
            skus=[self.skus[i] for i in index],
            locations=[self.locations[i] for i in index],
            quantity_ST=self.quantity_ST[index],
            known={name: values[index] for name, values in self.known.items()},
            past={name: values[index] for name, values in self.past.items()},
            static={name: [texts[i] for i in index] for name, texts in self.static.items()},
        )

    def fingerprint(self) -> str:
        """SHA-256 over keys, days and values: two panels with one fingerprint hold the same data."""
        digest = hashlib.sha256()
        for sku, location in self.keys:
            for text in (sku, location):
                encoded = text.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(4, "little") + encoded)
        for name, texts in sorted(self.static.items()):
            digest.update("\x1f".join(["static", name, *texts]).encode("utf-8", "surrogatepass"))
        digest.update(f"{self.start}|{self.quantity_ST.shape}".encode())
        named = [("quantity", "", self.quantity_ST)]
        named += [("known", name, values) for name, values in sorted(self.known.items())]
        named += [("past", name, values) for name, values in sorted(self.past.items())]
        for role, name, values in named:
            digest.update(f"|{role}|{name}|{values.shape}|".encode())
            for first in range(0, len(values), _HASHED_AT_ONCE):
                some = values[first : first + _HASHED_AT_ONCE]
                digest.update(np.where(np.isnan(some), np.float32(np.nan), some).astype("<f4", copy=False).tobytes())
        return digest.hexdigest()


def known_ahead(panel: Panel, ahead: int) -> tuple[int, dict[str, Floats]]:
    """How many days all known covariates of a panel are to reach, at least `ahead` after its last one; and they, so far."""
    width = max([panel.days + ahead, *(values.shape[1] for values in panel.known.values())])
    return width, {name: widened(values, width) for name, values in panel.known.items()}


def widened(values_SP: Floats, width: int) -> Floats:
    """The values of a known covariate over so many days, NaN on those that it did not reach."""
    if values_SP.shape[1] == width:
        return values_SP
    out_SP = np.full((len(values_SP), width), np.nan, np.float32)
    out_SP[:, : values_SP.shape[1]] = values_SP
    return out_SP


def panel_from_columns(
    series_N: ArrayLike,
    day_N: ArrayLike,
    quantity_N: ArrayLike,
    *,
    keys: Sequence[tuple[str, str]],
    start: np.datetime64,
    days: int,
    known: Mapping[str, ArrayLike] | None = None,
    past: Mapping[str, ArrayLike] | None = None,
    ahead: int = 0,
) -> Panel:
    """A panel from N rows of (series index, day index from `start`, values), scattered as whole columns.

    Rows with a day index in T … T + ahead - 1 may carry known covariates only; their quantity is ignored when NaN.
    Of two rows for one series and day the later one stands.
    """
    row_N = np.asarray(series_N, dtype=np.int64)
    column_N = np.asarray(day_N, dtype=np.int64)
    series, width = len(keys), days + ahead
    if row_N.size:
        if int(row_N.min()) < 0 or int(row_N.max()) >= series:
            raise ValueError(f"A series index lies outside 0 … {series - 1}.")
        if int(column_N.min()) < 0 or int(column_N.max()) >= width:
            raise ValueError(f"A day index lies outside 0 … {width - 1}.")
    at_N = row_N * width + column_N

    def scatter(values: ArrayLike) -> Floats:
        out = np.full(series * width, np.nan, dtype=np.float32)
        out[at_N] = np.asarray(values, dtype=np.float32)
        return out.reshape(series, width)

    quantity = scatter(quantity_N)
    if np.isinf(quantity).any() or (quantity < 0).any():
        raise ValueError("A quantity is infinite or negative; quantities are finite and at least 0, or NaN.")
    if ahead and np.isfinite(quantity[:, days:]).any():
        raise ValueError(f"A quantity lies after the panel's last day ({days} days from {start}).")
    return Panel(
        skus=[sku for sku, _ in keys],
        locations=[location for _, location in keys],
        start=start.astype("datetime64[D]"),
        quantity_ST=np.ascontiguousarray(quantity[:, :days]),
        known={name: scatter(values) for name, values in (known or {}).items()},
        past={name: np.ascontiguousarray(scatter(v)[:, :days]) for name, v in (past or {}).items()},
    )


def panel_from_frame(
    frame: "pd.DataFrame | pa.Table",
    *,
    known: Sequence[str] = (),
    past: Sequence[str] = (),
    static: Sequence[str] = (),
) -> Panel:
    """A panel from a table with the columns `sku`, `date`, `quantity`, optionally `location`, and covariates.

    Series are sorted by SKU and location. The panel ends with the last day that has a quantity; rows after it
    give known covariates ahead. Two rows for one series and day are an error.
    """
    import pandas as pd  # the service builds its panels from columns: none of its processes pays for loading this

    table = frame.to_pandas() if isinstance(frame, pa.Table) else frame
    absent = [name for name in ("sku", "date", "quantity", *known, *past, *static) if name not in table.columns]
    if absent:
        raise ValueError(f"The table lacks the columns {absent}.")
    if table.empty:
        raise ValueError("The table has no rows.")
    sku = table["sku"].astype(str)
    location = table["location"].fillna("").astype(str) if "location" in table.columns else sku.str[:0]
    date_N = pd.to_datetime(table["date"]).to_numpy().astype("datetime64[D]")
    keys = pd.MultiIndex.from_arrays([sku, location])
    codes_N, unique = keys.factorize(sort=True)
    quantity_N = table["quantity"].to_numpy(np.float32, na_value=np.nan)
    if not np.isfinite(quantity_N).any():
        raise ValueError("The table has no day with a quantity.")
    start, end = date_N.min(), date_N[np.isfinite(quantity_N)].max()
    day_N = (date_N - start).astype(np.int64)
    days, width = int((end - start).astype(int)) + 1, int(day_N.max()) + 1
    if len(np.unique(codes_N.astype(np.int64) * width + day_N)) != len(day_N):
        raise ValueError("The table has two rows for one series and day.")
    panel = panel_from_columns(
        codes_N,
        day_N,
        quantity_N,
        keys=[(str(s), str(loc)) for s, loc in unique],
        start=start,
        days=days,
        known={name: table[name].to_numpy(np.float32, na_value=np.nan) for name in known},
        past={name: table[name].to_numpy(np.float32, na_value=np.nan) for name in past},
        ahead=width - days,
    )
    last_S = np.zeros(len(unique), np.int64)
    last_S[codes_N] = np.arange(len(codes_N))
    attributes = {name: table[name].fillna("").astype(str).to_numpy()[last_S].tolist() for name in static}
    return replace(panel, static=attributes)
