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
from models.days import Index, days_of_each, take_days
from models.panel import Floats, Panel
from models.training_config import Cleaning

MEMORY = 392
"""Days a forecaster looks back at most: 56 weeks, the same weeks a year ago and the month before them."""


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
        told = days_of_each(self.known, series_B, cutoff_B - MEMORY + 1, MEMORY + self.horizon)
        near = days_of_each(
            self.flags, series_B, cutoff_B - self.context_length + 1, self.context_length + self.horizon
        )
        recent = days_of_each(self.past, series_B, cutoff_B - self.context_length + 1, self.context_length)
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


def _contiguous(values_ST: Floats) -> Floats:
    """The values as one block of memory; one row of them where all series share it (a broadcast view)."""
    return np.ascontiguousarray(values_ST[:1] if values_ST.strides[0] == 0 else values_ST)


def sells_whole_units(memory_BM: Floats) -> NDArray[np.bool_]:
    """Whether every quantity of the window's past is a whole number."""
    seen_BM = np.nan_to_num(memory_BM)
    out: NDArray[np.bool_] = (seen_BM == np.round(seen_BM)).all(axis=1)
    return out


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
