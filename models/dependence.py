"""How days go together: rows of ranks of past days against their own forecasts, for the quantiles of sums.

A row is one series and cutoff: where each of the H days fell within its forecast distribution (its PIT value,
randomised where quantiles tie), turned into ranks over all rows. Rows of different series are pooled.

Sums of paths so made still come in below a level more or less often than it says. So which level of them to read for each level
asked is learned from weeks of the days held out.

Shapes: N rows, H horizon, Q quantile levels, W wanted levels, G weeks.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats
from models.quantiles import ranks
from models.training_config import LEVELS

MOST_ROWS = 400
FEWEST_ROWS = 60
WEEKS_PRIOR = 1_000
"""Weeks that say the sums' levels are right as they are; with as many observed weeks a correction is taken by half."""


@dataclass(frozen=True)
class Dependence:
    """`rows_NH`: ranks in (0, 1), a row a sample path. `levels_Q`: which level of a sum of paths is read for each of LEVELS."""

    rows_NH: NDArray[np.float16]
    levels_Q: NDArray[np.float64] = field(default_factory=lambda: np.array(LEVELS))

    def read_at(self, wanted_W: NDArray[np.float64]) -> NDArray[np.float64]:
        """The level of a sum of paths to read for each level wanted."""
        read_W: NDArray[np.float64] = np.interp(wanted_W, LEVELS, self.levels_Q)
        return read_W


def dependence_rows(
    y_NH: Floats, quantiles_NHQ: Floats, levels_Q: NDArray[np.float64], rng: np.random.Generator
) -> Dependence:
    """Rows of dependence from past windows; the usual ones when fewer than FEWEST_ROWS windows are mostly observed."""
    usable = np.flatnonzero(np.isfinite(y_NH).mean(axis=1) >= 0.75)
    if len(usable) < FEWEST_ROWS:
        return usual_dependence(y_NH.shape[1])
    if len(usable) > MOST_ROWS:
        usable = rng.choice(usable, MOST_ROWS, replace=False)
    return Dependence(ranks(pit(y_NH[usable], quantiles_NHQ[usable], levels_Q, rng), rng))


def levels_of_sums(sold_NG: Floats, sums_NGQ: Floats, rng: np.random.Generator) -> NDArray[np.float64]:
    """For each of LEVELS the level to read (Q), so that as many past sums fall below as should; drawn back where weeks are few.

    `sums_NGQ` are the quantiles of sums of paths at LEVELS, `sold_NG` what was sold, NaN where a day of the week is missing.
    """
    came_in = pit(sold_NG, sums_NGQ, np.array(LEVELS), rng)
    return levels_to_read(came_in[np.isfinite(sold_NG)], prior=WEEKS_PRIOR)


def levels_to_read(came_in: NDArray[np.float64], *, prior: int) -> NDArray[np.float64]:
    """For each of LEVELS the one to read (Q), by the levels at which what was sold came in, drawn back where these are few.

    As many as `prior` say that the levels are right as they are: with so many a correction is taken by half.
    """
    levels_Q = np.array(LEVELS)
    if not came_in.size:
        return levels_Q
    share = came_in.size / (came_in.size + prior)
    drawn_Q: NDArray[np.float64] = levels_Q + share * (np.quantile(came_in, levels_Q) - levels_Q)
    return drawn_Q.clip(levels_Q[0], levels_Q[-1])


def pit(
    y_NH: Floats, quantiles_NHQ: Floats, levels_Q: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """The level at which each day came in, in (0, 1); drawn at random where it is not determined (or not observed)."""
    low_NH = (quantiles_NHQ < y_NH[..., None]).sum(axis=-1)
    high_NH = (quantiles_NHQ <= y_NH[..., None]).sum(axis=-1)
    edges = np.concatenate([[0.0], levels_Q, [1.0]])
    last = len(edges) - 1
    below_NH, above_NH = edges[low_NH], edges[np.minimum(high_NH + 1, last)]
    share_NH = rng.random(y_NH.shape)
    inside_NH = (low_NH == high_NH) & (low_NH > 0) & (low_NH < len(levels_Q))
    floor_NH = _at(quantiles_NHQ, low_NH - 1)
    gap_NH = np.maximum(_at(quantiles_NHQ, low_NH) - floor_NH, 1e-12)
    with np.errstate(over="ignore"):  # an absurd day beside quantiles that are one: infinitely far, and so at the end
        share_NH = np.where(inside_NH, np.clip((y_NH - floor_NH) / gap_NH, 0, 1), share_NH)
    level_NH = below_NH + (above_NH - below_NH) * share_NH
    return np.where(np.isfinite(y_NH), level_NH, rng.random(y_NH.shape))


def _at(quantiles_NHQ: Floats, index_NH: NDArray[np.int64]) -> Floats:
    clipped = np.clip(index_NH, 0, quantiles_NHQ.shape[-1] - 1)
    return np.take_along_axis(quantiles_NHQ, clipped[..., None], axis=-1)[..., 0]


@lru_cache(maxsize=16)
def usual_dependence(horizon: int) -> Dependence:
    """Ranks of a Gaussian copula in which all days rise together a little (0.06) and neighbours more (0.2, fading).

    For methods so simple, or data so few, that nothing better can be measured: the level itself is uncertain, so a
    month varies more than its days alone would make it.
    """
    day_H = np.arange(horizon)
    apart_HH = np.abs(day_H[:, None] - day_H)
    covariance_HH = 0.74 * np.eye(horizon) + 0.06 + 0.2 * 0.7**apart_HH
    rng = np.random.default_rng(0)
    draws_NH = rng.standard_normal((MOST_ROWS, horizon)) @ np.linalg.cholesky(covariance_HH).T
    rows_NH = ranks(draws_NH, rng)
    rows_NH.flags.writeable = False
    return Dependence(rows_NH)
