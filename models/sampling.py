"""Which windows a network is trained on: drawn by index, newer ones more often, none that ends after the split.

Shapes: S series, T days, B windows, M memory days.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.days import Index
from models.panel import Floats
from models.windows import MEMORY, Windows

HALF_LIFE_DAYS = 365.0
FEWEST_SEEN_DAYS = 14
SHORTENED_SHARE = 0.15
SHORTENED_DAYS = 56
BLIND_SHARE = 0.05
ABSURD = 10.0
UNKNOWN_SHARE = 0.15
"""Share of training windows in which an identity is named unknown, so that series never seen can be answered too."""
NEW_SHARE = 0.25
"""A sender that floods the service with series must not decide what is learned of all others."""
Doubles = NDArray[np.float64]


class WindowSampler:
    """Draws (series, cutoff) pairs whose whole horizon lies before the day index `end`.

    With `whole=False` a horizon may reach past `end`; the days there are to be masked. Cutoffs start at `first`.
    A series takes part from its FEWEST_SEEN_DAYS-th day after its first observed one, until its last observed one. However many
    `new_S` there are, they are at most NEW_SHARE of what is drawn while there are others.
    """

    def __init__(
        self,
        quantity_ST: Floats,
        *,
        horizon: int,
        end: int,
        first: int = 0,
        whole: bool = True,
        new_S: NDArray[np.bool_] | None = None,
    ) -> None:
        seen_ST = np.isfinite(quantity_ST[:, :end])
        any_S = seen_ST.any(axis=1)
        first_S = np.where(any_S, seen_ST.argmax(axis=1), end)
        last_S = np.where(any_S, end - 1 - seen_ST[:, ::-1].argmax(axis=1), -1)
        low_S = np.maximum(first_S + FEWEST_SEEN_DAYS - 1, first)
        high_S = np.minimum(last_S - 1, end - 1 - (horizon if whole else 1))
        usable = np.flatnonzero(low_S <= high_S)
        lacking_S = np.where(any_S, low_S - high_S, FEWEST_SEEN_DAYS + horizon)
        self.missing = max(int(lacking_S.min(initial=FEWEST_SEEN_DAYS + horizon)), 0)
        """How many more days the series that lacks the fewest needs to have a window; 0 where one has."""
        self.series = usable
        age_T = np.arange(end, 0, -1)
        self.mass_T = np.concatenate([[0.0], np.cumsum(0.5 ** (age_T / HALF_LIFE_DAYS))])
        self.low_mass = self.mass_T[low_S[usable]]
        self.high_mass = self.mass_T[high_S[usable] + 1]
        mass_S = self.high_mass - self.low_mass
        self.share_S = np.cumsum(mass_S if new_S is None else _bounded(mass_S, new_S[usable]))

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


def _bounded(mass_S: Doubles, new_S: NDArray[np.bool_]) -> Doubles:
    """The weights of series, those of new ones at most NEW_SHARE of all."""
    new, others = float(mass_S[new_S].sum()), float(mass_S[~new_S].sum())
    most = others * NEW_SHARE / (1 - NEW_SHARE)
    return np.where(new_S, mass_S * (most / new), mass_S) if new > most > 0 else mass_S


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
