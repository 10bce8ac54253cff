"""What a peer gets to see: a file of daily sales as a panel, texts as numbered categories, holidays as a code a day.

The same files, columns and cutoffs as `benchmarks.accuracy`. Not here: features, which only LightGBM needs, and models.

Shapes: S series, T days, A days ahead.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.runs import repeated
from models.panel import Panel, panel_from_frame

ROLES = ("known", "past", "static")


@dataclass(frozen=True)
class Data:
    """A panel whose covariates of text are codes from 1 on (0: none), and what the panel has no place for.

    `static` holds one code a series; `texts` names the covariates that are codes. `holiday_T` numbers the public
    holidays of the days from the panel's start on, 0 for none, and reaches at least as far ahead as a horizon.
    """

    panel: Panel
    known: tuple[str, ...]
    past: tuple[str, ...]
    static: dict[str, NDArray[np.int64]]
    texts: frozenset[str]
    holiday_T: NDArray[np.int64]

    def until(self, day: np.datetime64) -> "Data":
        """The data as they were at the end of `day` (inclusive)."""
        return replace(self, panel=self.panel.until(day))

    def repeated(self, series: int | None) -> "Data":
        """The same series again and again, until there are so many (see `runs.repeated`)."""
        if series is None:
            return self
        rows = np.arange(series) % self.panel.series
        static = {name: code_S[rows] for name, code_S in self.static.items()}
        return replace(self, panel=repeated(self.panel, series), static=static)


def read_data(path: Path, covariates: str, *, holidays: dict[np.datetime64, str], ahead: int) -> Data:
    """A file's data. `covariates` as on the command line: known:promo,past:rain,static:brand."""
    frame = pd.read_parquet(path).sort_values("date", kind="stable", ignore_index=True)
    names: dict[str, list[str]] = {role: [] for role in ROLES}
    for item in filter(None, covariates.split(",")):
        role, _, column = item.partition(":")
        if role not in names or column not in frame.columns:
            raise SystemExit(f"--covariates {item}: known:, past: or static: and a column of the file are needed.")
        names[role].append(column)
    texts = {c for c in names["known"] + names["past"] if not pd.api.types.is_numeric_dtype(frame[c])}
    for column in texts:
        frame[column] = number_texts(frame[column])
    panel = panel_from_frame(frame, known=names["known"], past=names["past"])
    return Data(
        panel=panel,
        known=tuple(names["known"]),
        past=tuple(names["past"]),
        static={name: _one_a_series(frame, name, panel) for name in names["static"]},
        texts=frozenset(texts),
        holiday_T=number_holidays(holidays, panel.start, panel.days + ahead),
    )


def number_texts(values: pd.Series) -> pd.Series:
    """Each text's number in the order of its first appearance, so that later rows renumber nothing; 0 for none."""
    text = values.astype(object).where(values.notna() & (values.astype(str) != ""), None)
    codes, _ = pd.factorize(text)
    return pd.Series(codes + 1, index=values.index, dtype=np.float32)


def number_holidays(holidays: dict[np.datetime64, str], start: np.datetime64, days: int) -> NDArray[np.int64]:
    """A code a day: the number of the holiday's name, the same every year; 0 on other days."""
    names = sorted(set(holidays.values()))
    codes_T = np.zeros(days, dtype=np.int64)
    for day, name in holidays.items():
        at = int((day.astype("datetime64[D]") - start).astype(int))
        if 0 <= at < days:
            codes_T[at] = 1 + names.index(name)
    return codes_T


def public_holidays(country: str | None, first: int, last: int) -> dict[np.datetime64, str]:
    """Public holidays of the years `first` … `last`, of a country or of a part of it (DE-BY); none without a country."""
    if country is None:
        return {}
    import holidays

    code, _, part = country.partition("-")
    found = holidays.country_holidays(code, subdiv=part or None, years=range(first, last + 1), language="en_US")
    return {np.datetime64(day): str(name) for day, name in found.items()}


def _one_a_series(frame: pd.DataFrame, column: str, panel: Panel) -> NDArray[np.int64]:
    """The code of each series' first row, in the panel's order."""
    location = frame["location"].fillna("").astype(str) if "location" in frame.columns else ""
    keyed = pd.DataFrame({"sku": frame["sku"].astype(str), "location": location, "code": number_texts(frame[column])})
    first = keyed.drop_duplicates(["sku", "location"]).set_index(["sku", "location"])["code"]
    return first.reindex(pd.MultiIndex.from_tuples(panel.keys)).to_numpy(np.int64)
