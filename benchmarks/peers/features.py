"""What LightGBM sees of one series, one cutoff and one day ahead of it: a row of numbers, in units of the series' level.

All series of a file share one model, so everything in units is divided by the level at the cutoff: the same weekday's
past and its quantiles, recent means, the same weeks a year ago, how the SKU, the location and all series together are
moving, covariates on the day and around it, and what sales were in the past on days with the same covariates.
Nothing after the cutoff is read but covariates known ahead, holidays and the calendar. NumPy only.

Shapes: S series, T days, A days ahead for which covariates are known, N rows, F features, G groups of series,
W same weekdays of the past year, K days around the target.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.data import Data
from benchmarks.peers.sums import Group, RunningSums, State, expected_sales
from models.days import take_days
from models.panel import Floats
from models.quantiles import empirical_quantiles

Index = NDArray[np.int64]
Doubles = NDArray[np.float64]

MEANS = (7, 14, 28, 56, 91, 182, 364)
WEEKDAYS = (2, 4, 8, 13, 26, 52)
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
YEAR = 364
AROUND = (-3, -2, -1, 1, 2, 3)
MOST_VALUES = 64
"""A numeric covariate of more distinct values than this is a quantity, not a state that days share."""
SMALLEST_LEVEL = 0.05


@dataclass(frozen=True)
class Rows:
    """N rows of F features; `level_N` is what a prediction is multiplied by to be in units."""

    x_NF: Floats
    level_N: Floats
    names: list[str]
    categories: list[str]


class Features:
    """The features of a file. Building it prepares running sums; `rows` reads any (series, cutoff, day ahead)."""

    def __init__(self, data: Data) -> None:
        panel = data.panel
        self.data = data
        self.quantity_ST = panel.quantity_ST
        self.sales = RunningSums(self.quantity_ST)
        self.squares = RunningSums(self.quantity_ST**2)
        self.zeros = RunningSums(np.where(np.isfinite(self.quantity_ST), self.quantity_ST == 0, np.nan))
        self.expected_ST = expected_sales(self.quantity_ST)
        seen_ST = np.isfinite(self.quantity_ST)
        self.first_S = np.where(seen_ST.any(axis=1), seen_ST.argmax(axis=1), panel.days)
        self.last_sale_ST = _newest_day(self.quantity_ST > 0)
        self.groups = {
            name: Group(member_S, self.quantity_ST, self.sales)
            for name, member_S in (
                ("sku", _codes(panel.skus)), ("location", _codes(panel.locations)), ("all", np.zeros(panel.series, int))
            )
        }  # fmt: skip
        self.states = self._states()
        self.past = {name: RunningSums(panel.past[name]) for name in data.past}

    def rows(self, series_N: Index, cutoff_N: Index, ahead_N: Index) -> Rows:
        """Features of the day `cutoff + ahead`, seen from the end of the day `cutoff`."""
        target_N = cutoff_N + ahead_N
        level_N = self.level(series_N, cutoff_N)
        columns: dict[str, NDArray[np.floating]] = {"ahead": ahead_N.astype(np.float32), "level": np.log(level_N)}
        columns |= self._recent(series_N, cutoff_N, level_N)
        columns |= self._same_weekday(series_N, cutoff_N, target_N, level_N)
        columns |= self._last_year(series_N, cutoff_N, target_N, level_N)
        columns |= self._movement(series_N, cutoff_N, target_N)
        columns |= self._calendar(target_N)
        columns |= self._covariates(series_N, cutoff_N, target_N)
        columns |= self._attributes(series_N)
        categories = [*self.data.static]
        categories += [f"{name} today" for name in self.data.known if name in self.data.texts]
        categories += ["holiday today"] if self.data.holiday_T.any() else []
        return Rows(
            np.column_stack([np.asarray(c, dtype=np.float32) for c in columns.values()]),
            level_N.astype(np.float32), list(columns), categories,
        )  # fmt: skip

    def level(self, series_N: Index, cutoff_N: Index) -> Doubles:
        """The mean of the last 28 days, shrunk by as many days to the mean of the last year; above zero."""
        near, count = self.sales.total(series_N, cutoff_N - 27, cutoff_N)
        year_N = np.nan_to_num(self.sales.mean(series_N, cutoff_N - YEAR + 1, cutoff_N))
        return np.maximum((near + 28 * year_N) / (count + 28), SMALLEST_LEVEL)

    def _recent(self, series_N: Index, cutoff_N: Index, level_N: Doubles) -> dict[str, Doubles]:
        columns = {f"mean {n}": self.sales.mean(series_N, cutoff_N - n + 1, cutoff_N) / level_N for n in MEANS}
        columns["month before"] = self.sales.mean(series_N, cutoff_N - 55, cutoff_N - 28) / level_N
        for n in (28, 91):
            mean_N = self.sales.mean(series_N, cutoff_N - n + 1, cutoff_N)
            square_N = self.squares.mean(series_N, cutoff_N - n + 1, cutoff_N)
            columns[f"deviation {n}"] = np.sqrt(np.maximum(square_N - mean_N**2, 0)) / level_N
            columns[f"zeros {n}"] = self.zeros.mean(series_N, cutoff_N - n + 1, cutoff_N)
        columns["zeros 364"] = self.zeros.mean(series_N, cutoff_N - YEAR + 1, cutoff_N)
        window_NT = take_days(self.quantity_ST, series_N, cutoff_N - 55, 56)
        quantiles_NQ = empirical_quantiles(window_NT, QUANTILES)
        columns |= {f"quantile {q} of 56": quantiles_NQ[:, i] / level_N for i, q in enumerate(QUANTILES)}
        columns["newest"] = window_NT[:, -1] / level_N
        columns["days since a sale"] = np.minimum(cutoff_N - self.last_sale_ST[series_N, cutoff_N], YEAR).astype(float)
        columns["age"] = np.clip(cutoff_N - self.first_S[series_N], -1, 3 * YEAR).astype(float)
        return columns

    def _same_weekday(
        self, series_N: Index, cutoff_N: Index, target_N: Index, level_N: Doubles
    ) -> dict[str, NDArray[np.floating]]:
        """The newest 52 days of the target's weekday that the cutoff has seen, newest first."""
        newest_N = target_N - 7 * -(-(target_N - cutoff_N) // 7)
        past_NW = np.stack([_days(self.quantity_ST, series_N, newest_N - 7 * w) for w in range(52)], axis=1)
        past_NW /= level_N[:, None].astype(np.float32)
        columns = {f"weekday's newest {w}": past_NW[:, w] for w in range(3)}
        columns |= {f"weekday's mean {w}": _mean(past_NW[:, :w]) for w in WEEKDAYS}
        quantiles_NQ = empirical_quantiles(past_NW, QUANTILES)
        columns |= {f"weekday's quantile {q}": quantiles_NQ[:, i] for i, q in enumerate(QUANTILES)}
        columns["weekday's zeros"] = _mean(np.where(np.isfinite(past_NW), past_NW == 0, np.nan))
        return columns

    def _last_year(
        self, series_N: Index, cutoff_N: Index, target_N: Index, level_N: Doubles
    ) -> dict[str, NDArray[np.floating]]:
        columns: dict[str, NDArray[np.floating]] = {}
        for years in (1, 2):
            then_N = target_N - years * YEAR
            for days in (0, 3, 10):
                last_N = np.minimum(then_N + days, cutoff_N)
                columns[f"{years} years ago ±{days}"] = self.sales.mean(series_N, then_N - days, last_N) / level_N
            before_N = self.sales.mean(series_N, cutoff_N - years * YEAR - 27, cutoff_N - years * YEAR)
            season_N = self.sales.mean(series_N, then_N - 10, np.minimum(then_N + 10, cutoff_N))
            columns[f"season {years} years ago"] = _ratio(season_N, before_N)
        return columns

    def _movement(self, series_N: Index, cutoff_N: Index, target_N: Index) -> dict[str, NDArray[np.floating]]:
        """Of the SKU, the location and all series together: sales against the year before, and last year's season."""
        columns: dict[str, NDArray[np.floating]] = {}
        for name, group in self.groups.items():
            if group.groups == self.data.panel.series or (name != "all" and group.groups == 1):
                continue
            member_N = group.member_S[series_N]
            for days in (7, 28, 91):
                columns[f"{name} against its year, {days}"] = group.movement(member_N, cutoff_N - days + 1, cutoff_N)
            then_N = target_N - YEAR
            for days in (0, 3, 10):
                season_N = group.movement(member_N, then_N - days, np.minimum(then_N + days, cutoff_N))
                before_N = group.movement(member_N, cutoff_N - YEAR - 27, cutoff_N - YEAR)
                columns[f"{name}'s season a year ago ±{days}"] = _ratio(season_N, before_N)
        return columns

    def _calendar(self, target_N: Index) -> dict[str, NDArray[np.floating]]:
        day_N = self.data.panel.start.astype("datetime64[D]") + target_N
        month_N = day_N.astype("datetime64[M]")
        columns = {
            "weekday": ((day_N.astype(np.int64) + 3) % 7).astype(np.float32),
            "day of month": (day_N - month_N.astype("datetime64[D]")).astype(np.float32),
            "day of year": (day_N - day_N.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float32),
        }
        holiday_T = self.data.holiday_T
        if not holiday_T.any():
            return columns
        columns["holiday today"] = holiday_T[target_N].astype(np.float32)
        festive_1T = (holiday_T > 0)[None]
        since_T = np.arange(len(holiday_T)) - _newest_day(festive_1T)[0]
        until_T = (np.arange(len(holiday_T)) - _newest_day(festive_1T[:, ::-1])[0])[::-1]
        columns["days since a holiday"] = np.minimum(since_T[target_N], 15).astype(np.float32)
        columns["days until a holiday"] = np.minimum(until_T[target_N], 15).astype(np.float32)
        return columns

    def _covariates(self, series_N: Index, cutoff_N: Index, target_N: Index) -> dict[str, NDArray[np.floating]]:
        columns: dict[str, NDArray[np.floating]] = {}
        for name in self.data.known:
            values_SA = self.data.panel.known[name]
            columns[f"{name} today"] = _days(values_SA, series_N, target_N)
            around_NK = np.stack([_days(values_SA, series_N, target_N + k) for k in AROUND], axis=1)
            columns |= {f"{name} {k:+}": around_NK[:, i] for i, k in enumerate(AROUND)}
            if name not in self.data.texts:
                columns[f"{name} around"] = _mean(around_NK)
        for name, state in self.states.items():
            columns |= state.columns(name, series_N, cutoff_N, target_N)
        for name, sums in self.past.items():
            held_N = sums.mean(series_N, cutoff_N - 6, cutoff_N)
            year_N = sums.mean(series_N, cutoff_N - YEAR + 1, cutoff_N)
            columns[f"{name} of the week"] = held_N
            columns[f"{name} of the month"] = sums.mean(series_N, cutoff_N - 27, cutoff_N)
            columns[f"{name} against its year"] = _ratio(held_N, year_N)
        return columns

    def _attributes(self, series_N: Index) -> dict[str, NDArray[np.floating]]:
        """Static attributes as categories. The SKU and the location are none: their own past says more than their name."""
        return {name: code_S[series_N].astype(np.float32) for name, code_S in self.data.static.items()}

    def _states(self) -> dict[str, "State"]:
        """Each covariate that days share a value of, all of them together with the weekday, and holidays."""
        panel = self.data.panel
        values = {name: panel.known[name] for name in self.data.known if _few(panel.known[name][:, : panel.days])}
        if self.data.holiday_T.any():
            holiday_T = self.data.holiday_T.astype(np.float32)
            values["holiday"] = np.broadcast_to(holiday_T, (panel.series, len(holiday_T)))
        width = min((v.shape[1] for v in values.values()), default=0)
        codes = {name: _numbered(values_SA[:, :width]) for name, values_SA in values.items()}
        if codes:
            weekday_A = (panel.start.astype("datetime64[D]").astype(np.int64) + 3 + np.arange(width)) % 7
            joint_SA: Index = np.broadcast_to(weekday_A, (panel.series, width))
            for code_SA in codes.values():
                joint_SA = _numbered(joint_SA * (int(code_SA.max()) + 1) + code_SA)
            codes["weekday and all"] = joint_SA
        shop_S = self.groups["location"].member_S
        return {name: State(code_SA, self.quantity_ST, self.expected_ST, shop_S) for name, code_SA in codes.items()}


def _numbered(values: NDArray[np.generic]) -> Index:
    """Equal values get equal numbers from 0 on; NaN equals NaN."""
    _, code = np.unique(values, return_inverse=True)
    return code.reshape(values.shape).astype(np.int64)


def _few(values: Floats) -> bool:
    return len(np.unique(values[np.isfinite(values)])) <= MOST_VALUES


def _codes(names: list[str]) -> Index:
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def _newest_day(true_ST: NDArray[np.bool_]) -> Index:
    """For every day the newest day up to it where `true_ST` holds; far before the first day where there is none."""
    day_ST = np.where(true_ST, np.arange(true_ST.shape[1]), -10 * YEAR)
    return np.maximum.accumulate(day_ST, axis=1)


def _days(values_ST: Floats, series_N: Index, day_N: Index) -> Floats:
    """One day of each series; NaN outside the array."""
    return take_days(values_ST, series_N, day_N, 1)[:, 0]


def _mean(values_NW: Floats) -> Floats:
    """Mean of each row's finite values; NaN for a row without any."""
    count_N = np.isfinite(values_NW).sum(axis=1)
    return np.where(count_N > 0, np.nansum(values_NW, axis=1) / np.maximum(count_N, 1), np.nan).astype(np.float32)


def _ratio(part_N: Doubles, whole_N: Doubles) -> Doubles:
    return np.divide(part_N, whole_N, out=np.full(len(part_N), np.nan), where=whole_N > 0)
