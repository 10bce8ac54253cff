"""Which windows a network is trained on: drawn by index, newer ones more often, none that ends after the split.

Shapes: S series, T days, B windows, M memory days, H horizon, E = M + H days, R those windows that are changed, W weeks.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.panel import Floats
from models.windows import MEMORY, Index, Windows

HALF_LIFE_DAYS = 365.0
FEWEST_SEEN_DAYS = 14
SHORTENED_SHARE = 0.15
SHORTENED_DAYS = 56
BLIND_SHARE = 0.05
ABSURD = 10.0
CHANGED_WEEK_SHARE = 0.05
"""Share of training windows in which the days of the week change places some weeks before the cutoff, so that a network believes
the newest weeks where they speak against the calendar: hours change, and a shop that closed on Sundays opens."""
CHANGED_WEEKS = (2, 16)
"""How many weeks before the cutoff that happened, at least and at most."""
UNKNOWN_SHARE = 0.15
"""Share of training windows in which an identity is named unknown, so that series never seen can be answered too."""


class WindowSampler:
    """Draws (series, cutoff) pairs whose whole horizon lies before the day index `end`.

    With `whole=False` a horizon may reach past `end`; the days there are to be masked. Cutoffs start at `first`.
    A series takes part from its FEWEST_SEEN_DAYS-th day after its first observed one, until its last observed one.
    """

    def __init__(self, quantity_ST: Floats, *, horizon: int, end: int, first: int = 0, whole: bool = True) -> None:
        seen_ST = np.isfinite(quantity_ST[:, :end])
        any_S = seen_ST.any(axis=1)
        first_S = np.where(any_S, seen_ST.argmax(axis=1), end)
        last_S = np.where(any_S, end - 1 - seen_ST[:, ::-1].argmax(axis=1), -1)
        low_S = np.maximum(first_S + FEWEST_SEEN_DAYS - 1, first)
        high_S = np.minimum(last_S - 1, end - 1 - (horizon if whole else 1))
        usable = np.flatnonzero(low_S <= high_S)
        self.series = usable
        age_T = np.arange(end, 0, -1)
        self.mass_T = np.concatenate([[0.0], np.cumsum(0.5 ** (age_T / HALF_LIFE_DAYS))])
        self.low_mass = self.mass_T[low_S[usable]]
        self.high_mass = self.mass_T[high_S[usable] + 1]
        self.share_S = np.cumsum(self.high_mass - self.low_mass)

    def __len__(self) -> int:
        """How many series have a window at all."""
        return len(self.series)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Index, Index]:
        """`count` pairs: a series by its weight of windows, then a cutoff by recency."""
        picked = np.searchsorted(self.share_S, rng.random(count) * self.share_S[-1], side="right")
        picked = np.minimum(picked, len(self.series) - 1)
        mass = self.low_mass[picked] + rng.random(count) * (self.high_mass[picked] - self.low_mass[picked])
        cutoff = np.searchsorted(self.mass_T, mass, side="right") - 1
        return self.series[picked].astype(np.int64), cutoff.astype(np.int64)


def change_some_weeks(
    windows: Windows, target_BH: Tensor, rng: np.random.Generator, *, share: float = CHANGED_WEEK_SHARE
) -> tuple[Windows, Tensor]:
    """The same windows and targets, in some of them as if the shop had another week since a few weeks before the cutoff.

    Each keeps its covariates of the day. In half of those windows all weeks are changed alike, in the others each by itself: no
    day of the week then says anything. An incomplete last week of the days ahead stays as it is.
    """
    rows = np.flatnonzero(rng.random(len(target_BH)) < share)
    day_RE = torch.from_numpy(_changed_days(len(rows), target_BH.shape[1], rng))
    at, context = torch.from_numpy(rows), windows.past_BKL.shape[2]

    def moved(values: Tensor, first: int) -> Tensor:
        """Values whose last axis begins at the day `first` of memory and horizon."""
        days = values.shape[-1]
        order = (day_RE[:, first : first + days] - first).clamp(0, days - 1)
        out = values.clone()
        if values.numel():
            shape = (len(rows), *(1,) * (values.ndim - 2), days)
            out[at] = values[at].gather(-1, order.view(shape).expand(values[at].shape))
        return out

    changed = replace(
        windows,
        quantity_BM=moved(windows.quantity_BM, 0),
        known_BKE=moved(windows.known_BKE, 0),
        flags_BFP=moved(windows.flags_BFP, MEMORY - context),
        past_BKL=moved(windows.past_BKL, MEMORY - context),
    )
    return changed, moved(target_BH, MEMORY)


def _changed_days(count: int, horizon: int, rng: np.random.Generator) -> Index:
    """For each day of so many windows, memory and days ahead, which day of its own week takes its place (R, M + H)."""
    weeks = MEMORY // 7 + horizon // 7
    order_RW7 = rng.random((count, weeks, 7), dtype=np.float32).argsort(axis=2)
    alike_R = rng.random(count) < 0.5
    order_RW7[alike_R] = order_RW7[alike_R, :1]
    first_R = MEMORY // 7 - rng.integers(CHANGED_WEEKS[0], CHANGED_WEEKS[1] + 1, count)
    order_RW7 = np.where(np.arange(weeks)[:, None] < first_R[:, None, None], np.arange(7), order_RW7)
    day_RE = np.tile(np.arange(MEMORY + horizon), (count, 1))
    day_RE[:, : weeks * 7] = (order_RW7 + 7 * np.arange(weeks)[:, None]).reshape(count, weeks * 7)
    return day_RE


def shorten_some(windows: Windows, rng: np.random.Generator, *, noise: float = 0.0) -> Windows:
    """The same windows, some as if the series were new: older days hidden, identity unknown, covariates unknown ahead.

    Teaches the network to answer for series it has never seen, and where known-future values are absent. Each identity is
    hidden by itself: a window that keeps only its attributes is one of a new item. With `noise` no past day can be trusted to the
    last unit, and some not at all (`_noisy`).
    """
    batch, identities = windows.identity_BA.shape
    keep_B = np.where(rng.random(batch) < SHORTENED_SHARE, rng.integers(7, SHORTENED_DAYS + 1, batch), MEMORY)
    hidden_BM = torch.from_numpy(np.arange(MEMORY) < MEMORY - keep_B[:, None])
    unknown_BA = torch.from_numpy(rng.random((batch, identities)) < UNKNOWN_SHARE)
    blind_B = torch.from_numpy(rng.random(batch) < BLIND_SHARE)
    quantity_BM = windows.quantity_BM.masked_fill(hidden_BM, torch.nan)
    if noise:
        quantity_BM = _noisy(quantity_BM, rng, noise)
    return Windows(
        quantity_BM=quantity_BM,
        known_BKE=_blinded(windows.known_BKE, blind_B, MEMORY),
        flags_BFP=_blinded(windows.flags_BFP, blind_B, windows.past_BKL.shape[2]),
        past_BKL=windows.past_BKL,
        calendar_BPC=windows.calendar_BPC,
        identity_BA=windows.identity_BA.masked_fill(unknown_BA, 0),
    )


def _blinded(values_BKN: Tensor, blind_B: Tensor, first: int) -> Tensor:
    """The same values, those of some windows unknown from the column `first` on."""
    if not values_BKN.shape[1]:
        return values_BKN
    ahead_N = torch.arange(values_BKN.shape[2]) >= first
    return values_BKN.masked_fill((blind_B[:, None] & ahead_N)[:, None], torch.nan)


def _noisy(quantity_BM: torch.Tensor, rng: np.random.Generator, noise: float) -> torch.Tensor:
    """Every day times a log-normal number of the spread `noise` and a mean of 1; in that share of windows one day of the last
    SHORTENED_DAYS times up to ABSURD as well. Zeros stay zero.
    """
    batch = len(quantity_BM)
    factor_BM = np.exp(noise * rng.standard_normal(quantity_BM.shape, dtype=np.float32) - noise**2 / 2)
    absurd_B = np.where(rng.random(batch) < noise, ABSURD ** rng.random(batch), 1.0)
    factor_BM[np.arange(batch), MEMORY - 1 - rng.integers(0, SHORTENED_DAYS, batch)] *= absurd_B
    return quantity_BM * torch.from_numpy(factor_BM)
