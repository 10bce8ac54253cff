"""The negative binomial distribution: counts more spread than a Poisson's. Its loss for training, its quantiles for forecasts.

With mean m and dispersion a its variance is m + a m² (Salinas et al. 2020, arXiv 1704.04110, section 3.1, use the same).

Shapes: N amounts, Q quantile levels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.panel import Floats

Doubles = NDArray[np.float64]
LEAST_DISPERSION = 1e-3
MOST_COUNTED = 64
"""Below so many units quantiles are counted out; above, the distribution is near enough to a gamma of its mean and spread."""


def deviance(count: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    """-log P(count), elementwise; a count that is not whole is allowed. Units, not scaled."""
    rate = 1.0 / dispersion.clamp(min=LEAST_DISPERSION)
    mean = mean.clamp(min=1e-4)
    ways = torch.lgamma(rate) + torch.lgamma(count + 1.0) - torch.lgamma(count + rate)
    return ways + rate * torch.log1p(mean / rate) + count * torch.log1p(rate / mean)


def quantiles(mean_N: Floats | Doubles, dispersion_N: Floats | Doubles, levels_Q: Doubles) -> Floats:
    """The least whole number with at least each level of the distribution at or below it, (N, Q). Levels ascend."""
    centre_N: Doubles = np.maximum(mean_N.astype(np.float64), 1e-9)
    spread_N: Doubles = np.maximum(dispersion_N.astype(np.float64), LEAST_DISPERSION)
    highest_N = _gamma(centre_N, spread_N, levels_Q[-1:])[:, 0]
    few_first_N = np.argsort(highest_N)
    small_N = few_first_N[: np.count_nonzero(highest_N < MOST_COUNTED)]
    large_N = few_first_N[len(small_N) :]
    out_NQ = np.empty((len(centre_N), len(levels_Q)), np.float32)
    out_NQ[large_N] = _gamma(centre_N[large_N], spread_N[large_N], levels_Q)
    out_NQ[small_N] = _counted_out(centre_N[small_N], spread_N[small_N], levels_Q).T
    return out_NQ


def _counted_out(centre_N: Doubles, spread_N: Doubles, levels_Q: Doubles) -> NDArray[np.uint8]:
    """The same, (Q, N), by adding up the probabilities of 0, 1, 2, …; the first ones that have reached the highest level are
    counted no further. Fast where amounts with few units come first, and right in any order."""
    rate_N = 1.0 / spread_N
    success_N = centre_N / (centre_N + rate_N)
    probability_N = np.exp(-rate_N * np.log1p(centre_N / rate_N))
    below_N, ways_N = probability_N.copy(), np.empty_like(probability_N)
    out_QN = np.zeros((len(levels_Q), len(centre_N)), np.uint8)
    counted_QN, short_QN = out_QN, np.empty(out_QN.shape, np.bool_)
    for count in range(2 * MOST_COUNTED):
        np.less(below_N, levels_Q[:, None], out=short_QN)
        going = np.s_[int(short_QN[-1].argmax()) if short_QN[-1].any() else len(below_N) :]
        rate_N, success_N, ways_N = rate_N[going], success_N[going], ways_N[going]
        probability_N, below_N = probability_N[going], below_N[going]
        counted_QN, short_QN = counted_QN[:, going], short_QN[:, going]
        if not len(below_N):
            break
        counted_QN += short_QN
        probability_N *= success_N
        probability_N *= np.add(rate_N, count, out=ways_N)
        probability_N /= count + 1
        below_N += probability_N
    return out_QN


def _gamma(mean_N: Doubles, dispersion_N: Doubles, levels_Q: Doubles) -> Doubles:
    """Quantiles of a gamma with the same mean and variance (Wilson & Hilferty 1931), not below zero."""
    shape_N1 = (mean_N / (1.0 + dispersion_N * mean_N))[:, None]
    normal_Q = np.sqrt(2.0) * torch.erfinv(torch.from_numpy(2.0 * np.asarray(levels_Q, np.float64) - 1.0)).numpy()
    cube_NQ = 1.0 - 1.0 / (9.0 * shape_N1) + normal_Q / (3.0 * np.sqrt(shape_N1))
    out_NQ: Doubles = mean_N[:, None] * np.maximum(cube_NQ, 0.0) ** 3
    return out_NQ
