"""Windows: what is cut out of a panel for one series and one cutoff, many at a time, by index.

A window holds the last MEMORY days up to its cutoff and nothing after it; its target is cut apart from it. Training
and prediction read through this one file, so a feature cannot see past the cutoff.

Shapes: B windows, M memory days, H horizon, L context, P = L + H days, E = M + H days, K covariates, F flags,
C calendar columns, T days.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.cleaning import FILLING, REACH, Cleaned, clean_memory, covariates_of, merged
from models.panel import Floats, Panel
from models.training_config import Cleaning

MEMORY = 392
"""Days a forecaster looks back at most: 56 weeks, the same weeks a year ago and the month before them."""

Index = NDArray[np.int64]


def is_flag(name: str) -> bool:
    """Whether a covariate is one value of a text covariate, such as "event=Easter"."""
    return "=" in name


def split_flags(known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The known covariates that are amounts, and those that are flags, each in their order."""
    return [name for name in known if not is_flag(name)], [name for name in known if is_flag(name)]


@dataclass(frozen=True)
class Windows:
    """A batch of windows, as tensors; `cutoff` is the last day seen."""

    quantity_BM: Tensor
    known_BKE: Tensor
    flags_BFP: Tensor
    past_BKL: Tensor
    calendar_BPC: Tensor
    identity_BA: Tensor

    def to(self, device: torch.device) -> "Windows":
        """The same windows on a device; these themselves where they are there already."""
        return replace(self, **{name: getattr(self, name).to(device) for name in (f.name for f in fields(self))})

    def shortened(self, days: int) -> "Windows":
        """The same windows with a context that begins so many days later."""
        if not days:
            return self
        return replace(
            self,
            flags_BFP=self.flags_BFP[:, :, days:],
            past_BKL=self.past_BKL[:, :, days:],
            calendar_BPC=self.calendar_BPC[:, days:],
        )


class WindowSource:
    """A panel prepared for cutting windows: contiguous arrays, a calendar table, series identities.

    `identity_SA` numbers the series and their attributes as a forecaster knows them (see identities.py). For learning give the
    panel `cleaned` as well: contexts are cut from its inputs, targets from its targets. Without it each window is cleaned when it
    is cut, to the same values.
    """

    def __init__(
        self,
        panel: Panel,
        identity_SA: Index,
        *,
        context_length: int,
        horizon: int,
        known: tuple[str, ...],
        past: tuple[str, ...],
        cleaning: Cleaning = "none",
        cleaned: Cleaned | None = None,
    ) -> None:
        absent = [n for n in known if n not in panel.known] + [n for n in past if n not in panel.past]
        if absent:
            raise ValueError(f"The panel lacks the covariates {absent} this forecaster was trained with.")
        self.panel = panel
        self.quantity_ST = np.ascontiguousarray(panel.quantity_ST)
        amounts, flags = split_flags(known)
        self.known = [_contiguous(panel.known[name]) for name in amounts]
        self.flags = [_contiguous(panel.known[name]) for name in flags]
        self.past = [_contiguous(panel.past[name]) for name in past]
        self.cleaning, self.cleaned = cleaning, cleaned
        spoken = covariates_of(panel, (*known, *past)) if cleaning != "none" and cleaned is None else {}
        self.spoken = merged({name: _contiguous(values) for name, values in spoken.items()})
        self.identity_SA = identity_SA
        self.context_length = context_length
        self.horizon = horizon
        self.calendar_first = -context_length
        self.calendar_TC = calendar(panel.start, first=-context_length, last=panel.days + horizon)

    def windows(self, series_B: Index, cutoff_B: Index) -> Windows:
        """Windows of `series_B` seen up to and with the day index `cutoff_B` (-1: nothing seen)."""
        told = _days_of(self.known, series_B, cutoff_B - MEMORY + 1, MEMORY + self.horizon)
        near = _days_of(self.flags, series_B, cutoff_B - self.context_length + 1, self.context_length + self.horizon)
        recent = _days_of(self.past, series_B, cutoff_B - self.context_length + 1, self.context_length)
        first_B = cutoff_B - self.context_length + 1 - self.calendar_first
        days_BP = first_B[:, None] + np.arange(self.context_length + self.horizon)
        return Windows(
            quantity_BM=torch.from_numpy(self._memory(series_B, cutoff_B - MEMORY + 1)),
            known_BKE=torch.from_numpy(told),
            flags_BFP=torch.from_numpy(near),
            past_BKL=torch.from_numpy(recent),
            calendar_BPC=torch.from_numpy(self.calendar_TC[days_BP]),
            identity_BA=torch.from_numpy(self.identity_SA[series_B]),
        )

    def targets(self, series_B: Index, cutoff_B: Index, *, end: int | None = None) -> Tensor:
        """The H days after each cutoff, NaN where missing, after the panel, or at and after the day index `end`."""
        learned_ST = self.quantity_ST if self.cleaned is None else self.cleaned.targets_ST
        target_BH = take_days(learned_ST, series_B, cutoff_B + 1, self.horizon)
        if end is not None:
            target_BH[cutoff_B[:, None] + 1 + np.arange(self.horizon) >= end] = np.nan
        return torch.from_numpy(target_BH)

    def _memory(self, series_B: Index, first_B: Index) -> Floats:
        """The MEMORY days from each first one on, as the network may see them; filled days of whole units in whole units.

        A filled day between two counts would make a window one of a series that is sold by weight.
        """
        memory_BM = self._cleaned_memory(series_B, first_B)
        if self.cleaning in FILLING:
            whole_B = sells_whole_units(take_days(self.quantity_ST, series_B, first_B, MEMORY))
            memory_BM[whole_B] = np.rint(memory_BM[whole_B])
        return memory_BM

    def _cleaned_memory(self, series_B: Index, first_B: Index) -> Floats:
        if self.cleaned is not None:
            memory_BM = take_days(self.cleaned.inputs.quantity_ST, series_B, first_B, MEMORY)
            memory_BM[:, :REACH] = take_days(self.cleaned.alone_ST, series_B, first_B, REACH)
            return memory_BM
        memory_BM = take_days(self.quantity_ST, series_B, first_B, MEMORY)
        if self.cleaning == "none":
            return memory_BM
        spoken = {name: take_days(values, series_B, first_B, MEMORY) for name, values in self.spoken.items()}
        return clean_memory(memory_BM, spoken, self.cleaning)


class _Days:
    """Where `count` days of each window lie in arrays of a width: found once, used for every array of that width.

    An array of a single row is shared by all series. Windows that all begin with the same day are cut out as a whole.
    """

    def __init__(self, series_B: Index, first_B: Index, count: int, width: int) -> None:
        self.series_B, self.count, self.width = series_B, count, width
        self.first = int(first_B[0]) if len(first_B) and (first_B == first_B[0]).all() else None
        if self.first is None:
            day_BN = first_B[:, None] + np.arange(count)
            self.outside_BN = (day_BN < 0) | (day_BN >= width)
            self.day_BN = np.clip(day_BN, 0, max(width - 1, 0))
            self.at_BN = series_B[:, None] * width + self.day_BN

    def of(self, values_ST: Floats) -> Floats:
        shared = len(values_ST) == 1
        if not self.width:
            return np.full((len(self.series_B), self.count), np.nan, np.float32)
        if self.first is not None:
            return self._span(values_ST, self.first, shared=shared)
        out_BN: Floats = values_ST[0][self.day_BN] if shared else values_ST.reshape(-1)[self.at_BN]
        out_BN[self.outside_BN] = np.nan
        return out_BN

    def _span(self, values_ST: Floats, first: int, *, shared: bool) -> Floats:
        out_BN = np.empty((len(self.series_B), self.count), np.float32)
        begin, end = np.clip((first, first + self.count), 0, self.width).tolist()
        inside = slice(begin - first, end - first) if begin < end else slice(0, 0)
        out_BN[:, : inside.start], out_BN[:, inside.stop :] = np.nan, np.nan
        out_BN[:, inside] = values_ST[0, begin:end] if shared else values_ST[self.series_B, begin:end]
        return out_BN


def _contiguous(values_ST: Floats) -> Floats:
    """The values as one block of memory; one row of them where all series share it (a broadcast view)."""
    return np.ascontiguousarray(values_ST[:1] if values_ST.strides[0] == 0 else values_ST)


def sells_whole_units(memory_BM: Floats) -> NDArray[np.bool_]:
    """Whether every quantity of the window's past is a whole number."""
    seen_BM = np.nan_to_num(memory_BM)
    out: NDArray[np.bool_] = (seen_BM == np.round(seen_BM)).all(axis=1)
    return out


def take_days(values_ST: Floats, series_B: Index, first_B: Index, count: int) -> Floats:
    """`count` days of each series from the day index `first_B` on; NaN outside the array."""
    return _Days(series_B, first_B, count, values_ST.shape[1]).of(values_ST)


def _days_of(columns: list[Floats], series_B: Index, first_B: Index, count: int) -> Floats:
    """The same days of several arrays, (B, K, count)."""
    out_BKN = np.empty((len(series_B), len(columns), count), dtype=np.float32)
    if columns:
        days = _Days(series_B, first_B, count, columns[0].shape[1])
        for k, values_ST in enumerate(columns):
            out_BKN[:, k] = days.of(values_ST)
    return out_BKN


WEEKDAYS, MONTH_DAY, ANNUAL = slice(0, 7), slice(7, 10), slice(10, 14)
CALENDAR_COLUMNS = 14


def calendar(start: np.datetime64, *, first: int, last: int) -> Floats:
    """Calendar columns of the days `start + first` … `start + last`: weekday (one of seven), day of month, season."""
    day_T = start.astype("datetime64[D]") + np.arange(first, last + 1)
    weekday_T = (day_T.astype(np.int64) + 3) % 7
    month_T = day_T.astype("datetime64[M]")
    of_month_T = (day_T - month_T.astype("datetime64[D]")).astype(np.int64)
    of_year_T = (day_T - day_T.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    table_TC = np.zeros((len(day_T), CALENDAR_COLUMNS), dtype=np.float32)
    table_TC[np.arange(len(day_T)), weekday_T] = 1.0
    month_angle_T, year_angle_T = 2 * np.pi * of_month_T / 31.0, 2 * np.pi * of_year_T / 365.25
    table_TC[:, MONTH_DAY] = np.stack([of_month_T / 31.0, np.sin(month_angle_T), np.cos(month_angle_T)], axis=1)
    harmonics = [f(k * year_angle_T) for k in (1, 2) for f in (np.sin, np.cos)]
    table_TC[:, ANNUAL] = np.stack(harmonics, axis=1)
    return table_TC
