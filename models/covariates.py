"""Covariates as channels: what a network is told of price, promotion, events and the like, past and ahead.

For each covariate: whether its value is known, the value against all series, and against the series' own usual value, its mean
in the context. Of an amount that is never zero or less, such as a price, it is the logarithm that is compared: what counts is by
what share it differs. Where a value is not known ahead the series' own usual one stands in. Ahead also the values of the day
before and the day after, and the effect that the series itself has shown so far: how its sales moved with the covariate over the
memory, once its weekdays are taken out.

A flag is one value of a text covariate (its name is "event=Easter"). There may be dozens, each rarely 1: of a flag a network is
told no more than itself and the days beside it.

Shapes: B windows, M memory days, H horizon, L context, P = L + H days, E = M + H days, K covariates, F flags, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.windows import MEMORY, Windows, split_flags

CONTEXT_CHANNELS = 3
AHEAD_CHANNELS = 6
FLAG_AHEAD_CHANNELS = 3
EFFECT_PRIOR = 5.0
"""Days of a covariate's usual variation that say its effect is nil: a single promotion must not be believed whole."""


def context_width(known: Sequence[str], past: Sequence[str]) -> int:
    """How many channels the covariates have in the context."""
    amounts, flags = split_flags(known)
    return CONTEXT_CHANNELS * (len(amounts) + len(past)) + len(flags)


def ahead_width(known: Sequence[str]) -> int:
    """How many channels the known covariates have ahead."""
    amounts, flags = split_flags(known)
    return AHEAD_CHANNELS * len(amounts) + (1 + FLAG_AHEAD_CHANNELS * len(flags) if flags else 0)


class FeatureStatistics(nn.Module):
    """Constants of the features, fitted on training days: usual values of amounts known and past, scales and sales.

    `floor_K` is the least value of an amount that is compared by its logarithm, 0 for others; `own_spread_K` how far a series
    departs from its own usual value.
    """

    def __init__(self, covariates: int) -> None:
        super().__init__()
        self.register_buffer("centre_K", torch.zeros(covariates))
        self.register_buffer("spread_K", torch.ones(covariates))
        self.register_buffer("own_spread_K", torch.ones(covariates))
        self.register_buffer("floor_K", torch.zeros(covariates))
        self.register_buffer("log_scale_centre", torch.zeros(()))
        self.register_buffer("log_scale_spread", torch.ones(()))
        self.register_buffer("usual_sale", torch.ones(()))
        self.register_buffer("error_mean", torch.ones(()))
        self.register_buffer("annual", torch.zeros(()))

    centre_K: Tensor
    spread_K: Tensor
    own_spread_K: Tensor
    floor_K: Tensor
    log_scale_centre: Tensor
    log_scale_spread: Tensor
    usual_sale: Tensor
    error_mean: Tensor
    annual: Tensor


@dataclass(frozen=True)
class CovariateChannels:
    """The channels of all covariates in the context, and of the known ones ahead."""

    context_BLC: Tensor
    ahead_BHC: Tensor


def covariate_channels(
    windows: Windows, statistics: FeatureStatistics, residual_BM: Tensor, observed_BM: Tensor
) -> CovariateChannels:
    """`residual_BM` are scaled sales less what their weekday usually sells, 0 where `observed_BM` is false."""
    context_length, known = windows.past_BKL.shape[2], windows.known_BKE.shape[1]
    ahead = _Amounts(windows.known_BKE, statistics, slice(0, known), days=slice(MEMORY - context_length, MEMORY))
    recent = _Amounts(windows.past_BKL, statistics, slice(known, None), days=slice(0, context_length))
    around_BKH = nn.functional.pad(ahead.value_BKN[:, :, MEMORY - 1 :], (0, 1))
    flags = _Flags(windows.flags_BFP, context_length)
    context = [*ahead.channels(), *recent.channels(), flags.value_BFP[:, :, :context_length]]
    told = [
        *ahead.channels(slice(MEMORY, None)),
        _effect(ahead.value_BKN, residual_BM, observed_BM),
        around_BKH[:, :, :-2],
        around_BKH[:, :, 2:],
        *flags.ahead(),
    ]
    return CovariateChannels(torch.cat(context, dim=1).transpose(1, 2), torch.cat(told, dim=1).transpose(1, 2))


class _Amounts:
    """Amounts over N days, `days` of them the context: known or not, against all series, and against the series' own usual value.

    Where one is not known, the series' own usual value stands, or that of all series where it has none.
    """

    def __init__(self, told_BKN: Tensor, statistics: FeatureStatistics, columns: slice, *, days: slice) -> None:
        self.days = days
        self.there_BKN = torch.isfinite(told_BKN)
        standard_BKN = _standard(told_BKN, statistics, columns)
        before_BK1 = self.there_BKN[:, :, days].sum(2, keepdim=True)
        own_BK1 = standard_BKN[:, :, days].sum(2, keepdim=True) / before_BK1.clamp(min=1)
        self.value_BKN = torch.where(self.there_BKN, standard_BKN, own_BK1)
        share_K1 = (statistics.spread_K / statistics.own_spread_K)[columns, None]
        self.relative_BKN = ((self.value_BKN - own_BK1) * share_K1).clamp(-5, 5)

    def channels(self, days: slice | None = None) -> list[Tensor]:
        picked = (slice(None), slice(None), self.days if days is None else days)
        return [self.there_BKN[picked].float(), self.value_BKN[picked], self.relative_BKN[picked]]


class _Flags:
    """Flags as they are, 0 where it is not known; ahead also whether they are known, and those of the days beside."""

    def __init__(self, flags_BFP: Tensor, context_length: int) -> None:
        self.known_B1P = torch.isfinite(flags_BFP[:, :1]).float()
        self.value_BFP = flags_BFP.nan_to_num(nan=0.0)
        self.first = context_length

    def ahead(self) -> list[Tensor]:
        beside_BFX = nn.functional.pad(self.value_BFP[:, :, self.first - 1 :], (0, 1))
        own = self.value_BFP[:, :, self.first :]
        return [self.known_B1P[:, :, self.first :], own, beside_BFX[:, :, :-2], beside_BFX[:, :, 2:]]


def _standard(values_BKN: Tensor, statistics: FeatureStatistics, columns: slice) -> Tensor:
    """How far each value lies from the usual of all series, in usual deviations; 0 where it is not known."""
    floor_K1 = statistics.floor_K[columns, None]
    logged_BKN = torch.where(floor_K1 > 0, values_BKN.maximum(floor_K1).log(), values_BKN)
    centred_BKN = logged_BKN.sub_(statistics.centre_K[columns, None])
    return centred_BKN.div_(statistics.spread_K[columns, None]).clamp_(-5, 5).nan_to_num_(nan=0.0)


def _effect(standard_BKE: Tensor, residual_BM: Tensor, observed_BM: Tensor) -> Tensor:
    """The change in scaled sales that each day ahead's value brought this series before: a ridge slope, times the value."""
    past_BKM = standard_BKE[:, :, :MEMORY]
    seen_BM1, residual_BM1 = observed_BM[..., None].float(), residual_BM[..., None]
    count_B1 = seen_BM1.sum(1).clamp(min=1)
    mean_BK = (past_BKM @ seen_BM1).squeeze(2) / count_B1
    covariance_BK = (past_BKM @ residual_BM1).squeeze(2) - mean_BK * residual_BM1.sum(1)
    variation_BK = (past_BKM.square() @ seen_BM1).squeeze(2) - count_B1 * mean_BK**2
    slope_BK = covariance_BK / (variation_BK.clamp(min=0) + EFFECT_PRIOR)
    return (slope_BK[..., None] * (standard_BKE[:, :, MEMORY:] - mean_BK[..., None])).clamp(-5, 5)
