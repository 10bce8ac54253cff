"""Sums over stretches of days, read at any place from running totals: of a series, of a group, of days that are alike.

Every reader takes inclusive day indices and clips them to the panel, so asking up to a cutoff reads nothing after it.

Shapes: S series, T days, A days for which covariates are known, N readings, G groups of series, E observed days.
"""

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats

Index = NDArray[np.int64]
Doubles = NDArray[np.float64]

ALIKE_DAYS = 728
YEAR = 364
FEWEST_DAYS = 28


class RunningSums:
    """Totals and counts of the finite values of S rows, over any stretch of days."""

    def __init__(self, values_ST: NDArray[np.floating]) -> None:
        padding = ((0, 0), (1, 0))
        self.days = values_ST.shape[1]
        self.total_ST = np.pad(np.cumsum(np.nan_to_num(values_ST), axis=1, dtype=np.float64), padding)
        self.count_ST = np.pad(np.cumsum(np.isfinite(values_ST), axis=1, dtype=np.int32), padding)

    def total(self, row_N: Index, first_N: Index, last_N: Index) -> tuple[Doubles, Index]:
        """Sum and count of the observed days `first` … `last`."""
        begin_N = np.clip(first_N, 0, self.days)
        end_N = np.clip(last_N + 1, begin_N, self.days)
        total_N = self.total_ST[row_N, end_N] - self.total_ST[row_N, begin_N]
        return total_N, (self.count_ST[row_N, end_N] - self.count_ST[row_N, begin_N]).astype(np.int64)

    def mean(self, row_N: Index, first_N: Index, last_N: Index) -> Doubles:
        """Mean of the observed days; NaN without one."""
        total_N, count_N = self.total(row_N, first_N, last_N)
        return np.where(count_N > 0, total_N / np.maximum(count_N, 1), np.nan)


class Group:
    """Series that move together: their sales on some days over what each sold on the average day of the year before."""

    def __init__(self, member_S: Index, quantity_ST: Floats, sales: RunningSums) -> None:
        self.member_S = member_S.astype(np.int64)
        self.groups = int(member_S.max()) + 1
        usual_ST = usual_sales(sales)
        both_ST = np.isfinite(quantity_ST) & np.isfinite(usual_ST)
        self.sold = RunningSums(self._summed(np.where(both_ST, quantity_ST, 0)))
        self.usual = RunningSums(self._summed(np.where(both_ST, usual_ST, 0)))

    def movement(self, group_N: Index, first_N: Index, last_N: Index) -> Doubles:
        """1 where the group sells as it did in the year before each day; NaN where nothing is known."""
        sold_N, _ = self.sold.total(group_N, first_N, last_N)
        usual_N, _ = self.usual.total(group_N, first_N, last_N)
        return np.divide(sold_N, usual_N, out=np.full(len(sold_N), np.nan), where=usual_N > 1e-6)

    def _summed(self, values_ST: NDArray[np.floating]) -> Doubles:
        out_GT = np.zeros((self.groups, values_ST.shape[1]))
        np.add.at(out_GT, self.member_S, values_ST)
        return out_GT


class State:
    """What was sold on past days in the same state (a promotion, a holiday) over what was to be expected of them."""

    def __init__(self, code_SA: Index, quantity_ST: Floats, expected_ST: Floats, shop_S: Index) -> None:
        series, days = quantity_ST.shape
        self.code_SA = code_SA
        self.shop_S = shop_S
        series_E, day_E = np.nonzero(np.isfinite(quantity_ST) & np.isfinite(expected_ST))
        sold_E = quantity_ST[series_E, day_E]
        values_E = {"sold": sold_E, "expected": expected_ST[series_E, day_E], "zero": sold_E == 0}
        code_E = code_SA[series_E, day_E]
        codes = int(code_SA.max()) + 1
        self.pools = {"": AlikeDays(series_E, code_E, day_E, values_E, codes=codes, days=days)}
        if len(np.unique(shop_S)) < series:
            self.pools["shop"] = AlikeDays(shop_S[series_E], code_E, day_E, values_E, codes=codes, days=days)

    def columns(self, name: str, series_N: Index, cutoff_N: Index, target_N: Index) -> dict[str, Doubles]:
        code_N = self.code_SA[series_N, np.minimum(target_N, self.code_SA.shape[1] - 1)]
        out: dict[str, Doubles] = {}
        for pool, alike in self.pools.items():
            member_N = series_N if pool == "" else self.shop_S[series_N]
            sums, count_N = alike.sums(member_N, code_N, cutoff_N)
            label = f"{name}, alike days{' of the ' * bool(pool)}{pool}"
            nothing = np.full(len(series_N), np.nan)
            out[label] = np.divide(sums["sold"], sums["expected"], out=nothing.copy(), where=sums["expected"] > 1e-6)
            out[f"{label}, zeros"] = np.divide(sums["zero"], count_N, out=nothing, where=count_N > 0)
            out[f"{label}, count"] = np.log1p(count_N)
        return out


class AlikeDays:
    """Running sums of observed days in the order (member, code, day), so that one member's days of one code adjoin."""

    def __init__(
        self, member_E: Index, code_E: Index, day_E: Index, values_E: dict[str, NDArray[np.generic]],
        *, codes: int, days: int,
    ) -> None:  # fmt: skip
        self.codes, self.days = codes, days
        key_E = self._key(member_E, code_E, day_E)
        order_E = np.argsort(key_E, kind="stable")
        self.key_E = key_E[order_E]
        self.total_E = {
            name: np.concatenate([[0.0], np.cumsum(values[order_E], dtype=np.float64)])
            for name, values in values_E.items()
        }

    def sums(self, member_N: Index, code_N: Index, cutoff_N: Index) -> tuple[dict[str, Doubles], Index]:
        """Sums over the days of the code among the last ALIKE_DAYS up to each cutoff, and how many they are."""
        first_N = np.maximum(cutoff_N - ALIKE_DAYS + 1, 0)
        begin_N = np.searchsorted(self.key_E, self._key(member_N, code_N, first_N))
        end_N = np.searchsorted(self.key_E, self._key(member_N, code_N, cutoff_N), side="right")
        return {name: total_E[end_N] - total_E[begin_N] for name, total_E in self.total_E.items()}, end_N - begin_N

    def _key(self, member: Index, code: Index, day: Index) -> Index:
        return (member * self.codes + code) * self.days + day


def expected_sales(quantity_ST: Floats, weeks: int = 8) -> Floats:
    """For every day the mean of the same weekday in the weeks before it; NaN where none was observed."""
    total_ST = np.zeros(quantity_ST.shape)
    count_ST = np.zeros(quantity_ST.shape, dtype=np.int32)
    for week in range(1, weeks + 1):
        past_ST = quantity_ST[:, : -7 * week]
        total_ST[:, 7 * week :] += np.nan_to_num(past_ST)
        count_ST[:, 7 * week :] += np.isfinite(past_ST)
    return np.where(count_ST > 0, total_ST / np.maximum(count_ST, 1), np.nan).astype(np.float32)


def usual_sales(sales: RunningSums) -> Floats:
    """For every day the mean of the year before it; NaN where fewer than FEWEST_DAYS of that were observed."""
    begin_T = np.maximum(np.arange(sales.days) - YEAR, 0)
    total_ST = sales.total_ST[:, : sales.days] - sales.total_ST[:, begin_T]
    count_ST = sales.count_ST[:, : sales.days] - sales.count_ST[:, begin_T]
    return np.where(count_ST >= FEWEST_DAYS, total_ST / np.maximum(count_ST, 1), np.nan).astype(np.float32)
