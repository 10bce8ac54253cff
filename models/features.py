"""Features: what a network is told about a window, from the window alone. Scaling is one part of it.

A window is divided by its scale and nothing is subtracted, so zero stays zero. Missing days (NaN) enter as zero with
a mask beside them. Every statistic looks back from the cutoff; `FeatureStatistics` are fitted on training days only.

Shapes: B windows, M memory days, L context, H horizon, P = L + H days, K covariates, C channels, F features, N ranges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from models.covariates import FeatureStatistics, context_width, covariate_channels
from models.windows import ANNUAL, CALENDAR_COLUMNS, MEMORY, Windows

TRAILING_DAYS = (7, 14, 28, 56, 91, 182, 364)
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
STATIC_FEATURES = 1 + len(TRAILING_DAYS) + len(QUANTILES) + 7
AHEAD_FEATURES = CALENDAR_COLUMNS + 2 + 10
WEEKS = MEMORY // 7
OUTLIER_CAP = 2.0
"""With 5 one day times ten moved forecasts of the next 28 days two to three times as far, and none was more accurate for it."""


@dataclass(frozen=True)
class Features:
    """What the network reads, in units of `scale_B`; `error_B` is the seasonal-naive error, also in those units.

    `usual_BL` is what the weekday of each day of the context usually sells, `begun_B` whether a day before the context was
    observed.
    """

    context_BLC: Tensor
    static_BF: Tensor
    ahead_BHF: Tensor
    scale_B: Tensor
    error_B: Tensor
    usual_BL: Tensor
    begun_B: Tensor

    @property
    def gap_BL(self) -> Tensor:
        """Whether a day of the context is missing after others were observed."""
        observed_BL = self.context_BLC[..., 1] > 0
        return ~observed_BL & (self.begun_B[:, None] | (observed_BL.cumsum(1) > 0))

    def days(self, picked: Tensor) -> "Features":
        """The same for some of the days ahead only."""
        return replace(self, ahead_BHF=self.ahead_BHF[:, picked])


def context_channels(known: Sequence[str], past: Sequence[str]) -> int:
    """Channels of the context: quantity, mask, weekday as seven, and the covariates'."""
    return 2 + 7 + context_width(known, past)


def compute_features(windows: Windows, statistics: FeatureStatistics, *, context_length: int) -> Features:
    """All features of a batch of windows. Nothing but the window, its calendar and the fitted constants is read."""
    longer = windows.past_BKL.shape[2]
    horizon = windows.calendar_BPC.shape[1] - longer
    windows = windows.shortened(longer - context_length)
    observed_BM = torch.isfinite(windows.quantity_BM)
    raw_BM = torch.where(observed_BM, windows.quantity_BM, 0.0)
    ordered_BM = _ascending(torch.where(observed_BM, windows.quantity_BM, -1.0))
    observed_B, positive_B = observed_BM.sum(1), (raw_BM > 0).sum(1)
    cap_B = _outlier_cap(ordered_BM, positive_B)
    quantity_BM = torch.minimum(raw_BM, cap_B[:, None])
    sums = _Sums(quantity_BM, observed_BM, horizon)
    scale_B = _scale(sums, quantity_BM, observed_B, positive_B, usual_sale=statistics.usual_sale)
    scaled_BM = quantity_BM / scale_B[:, None]
    error_B = _seasonal_error(scaled_BM, observed_BM)
    usual_BM = sums.weekday_mean(scale_B)
    residual_BM = torch.where(observed_BM, scaled_BM - usual_BM, 0.0)
    told = covariate_channels(windows, statistics, residual_BM, observed_BM)
    context = [
        scaled_BM[:, -context_length:, None],
        observed_BM[:, -context_length:, None].float(),
        windows.calendar_BPC[:, :context_length, :7],
        told.context_BLC,
    ]
    quantiles_BF = _pick(ordered_BM, observed_B, QUANTILES).clamp(min=0) / scale_B[:, None]
    static = _static(sums, scaled_BM, scale_B, error_B, observed_B, statistics=statistics)
    return Features(
        context_BLC=torch.cat(context, dim=2),
        static_BF=torch.cat([static, quantiles_BF.clamp(max=20.0)], dim=1),
        ahead_BHF=_ahead(sums, scale_B, windows.calendar_BPC[:, context_length:], told.ahead_BHC, statistics),
        scale_B=scale_B,
        error_B=error_B,
        usual_BL=usual_BM[:, -context_length:],
        begun_B=observed_BM[:, :-context_length].any(1),
    )


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for later calls, and those may want gradients
def _ranges(horizon: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First and one-past-last memory column of every range that is averaged.

    The trailing spans, the month before this day a year ago, then for each day ahead the week and the four weeks
    around the same weekday 364 days earlier, as far as they were seen.
    """
    lows = [MEMORY - days for days in TRAILING_DAYS] + [MEMORY - 392]
    highs = [MEMORY] * len(TRAILING_DAYS) + [MEMORY - 364]
    for half in (0, 1, 3, 14):
        for ahead in range(1, horizon + 1):
            same_day = MEMORY - 1 + ahead - 364
            lows.append(min(max(same_day - half, 0), MEMORY))
            highs.append(min(max(same_day + half + 1, 0), MEMORY))
    return torch.tensor(lows, device=device), torch.tensor(highs, device=device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _distance(horizon: int, device: torch.device) -> Tensor:
    """How far each day ahead is: linear and logarithmic."""
    step_H = torch.arange(1, horizon + 1, device=device).float()
    return torch.stack([step_H / 28.0, torch.log(step_H) / 3.0], dim=1)


class _Sums:
    """Sums of quantities, observed days and days with sales over all ranges, and by weekday, in one pass."""

    def __init__(self, quantity_BM: Tensor, observed_BM: Tensor, horizon: int) -> None:
        low_N, high_N = _ranges(horizon, quantity_BM.device)
        stacked_B3M = torch.stack([quantity_BM, observed_BM.float(), (quantity_BM > 0).float()], dim=1)
        running_B3M = nn.functional.pad(stacked_B3M.cumsum(dim=2), (1, 0))
        self.total_B3N = running_B3M[:, :, high_N] - running_B3M[:, :, low_N]
        weeks_B3W7 = stacked_B3M.view(-1, 3, WEEKS, 7)
        self.weekday_recent_B37 = weeks_B3W7[:, :, -8:].sum(2)
        self.weekday_year_B37 = weeks_B3W7[:, :, -52:].sum(2)
        count_BN = self.total_B3N[:, 1]
        self.seen_BN = (count_BN > 0).float()
        self.mean_BN = self.total_B3N[:, 0].clamp(min=0) / count_BN.clamp(min=1)
        self.selling_BN = self.total_B3N[:, 2] / count_BN.clamp(min=1)
        self.horizon = horizon

    def weekday_mean(self, scale_B: Tensor) -> Tensor:
        """What is usual on each memory day's weekday over the year, in units of the scale."""
        total_B7, count_B7 = self.weekday_year_B37[:, 0], self.weekday_year_B37[:, 1]
        return (total_B7 / count_B7.clamp(min=1) / scale_B[:, None]).repeat(1, WEEKS)


def _ascending(values_BM: Tensor) -> Tensor:
    """Rows in ascending order. NumPy sorts them several times as fast as torch, but knows neither gradients nor devices."""
    if values_BM.requires_grad or values_BM.device.type != "cpu":
        return values_BM.sort(dim=1).values
    return torch.from_numpy(np.sort(values_BM.numpy(), axis=1))


def _pick(ordered_BM: Tensor, count_B: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Empirical quantiles of the largest `count` values of rows in ascending order."""
    level_F = torch.tensor(levels, device=count_B.device)
    at_BF = MEMORY - count_B[:, None] + (count_B[:, None] - 1).clamp(min=0) * level_F
    return ordered_BM.gather(1, at_BF.round().long().clamp(max=MEMORY - 1))


def _outlier_cap(ordered_BM: Tensor, positive_B: Tensor) -> Tensor:
    """OUTLIER_CAP times the 0.9 quantile of the days with sales: one impossible day must not drown all others."""
    return (OUTLIER_CAP * _pick(ordered_BM, positive_B, (0.9,)).squeeze(1)).clamp(min=0)


def _scale(sums: _Sums, quantity_BM: Tensor, observed_B: Tensor, positive_B: Tensor, *, usual_sale: Tensor) -> Tensor:
    """Mean of the last 56 days, shrunk to the year's mean by 28 days' weight, at least a tenth of a usual sale.

    A series that has never sold gets the most it may sell unnoticed: one usual sale of the panel in n + 1 days.
    """
    recent = TRAILING_DAYS.index(56)
    total_B, count_B = sums.total_B3N[:, 0, recent], sums.total_B3N[:, 1, recent]
    year_B = sums.mean_BN[:, TRAILING_DAYS.index(364)]
    shrunk_B = (total_B + 28.0 * year_B) / (count_B + 28.0)
    own_sale_B = quantity_BM.sum(1) / positive_B.clamp(min=1)
    scale_B = torch.maximum(shrunk_B, 0.1 * own_sale_B)
    return torch.where(positive_B > 0, scale_B, usual_sale / (observed_B + 1.0)).clamp(min=1e-6)


def _seasonal_error(scaled_BM: Tensor, observed_BM: Tensor) -> Tensor:
    """Mean absolute difference of a day and the same weekday a week before; 0 where there is no such pair."""
    both_BM = observed_BM[:, 7:] & observed_BM[:, :-7]
    gap_BM = torch.where(both_BM, (scaled_BM[:, 7:] - scaled_BM[:, :-7]).abs(), 0.0)
    return gap_BM.sum(1) / both_BM.sum(1).clamp(min=1)


def _static(
    sums: _Sums,
    scaled_BM: Tensor,
    scale_B: Tensor,
    error_B: Tensor,
    observed_B: Tensor,
    *,
    statistics: FeatureStatistics,
) -> Tensor:
    """Level, its past, how often it sells, how long ago it last did, how much of the memory is observed."""
    spans = len(TRAILING_DAYS)
    log_scale_B = (scale_B.log() - statistics.log_scale_centre) / statistics.log_scale_spread
    day_M = torch.arange(1, MEMORY + 1, device=scaled_BM.device)
    last_sale_B = ((scaled_BM > 0) * day_M).amax(1)
    idle_B = torch.log1p((MEMORY - last_sale_B).float()) / 6.0
    month, year = TRAILING_DAYS.index(28), TRAILING_DAYS.index(364)
    columns = [
        log_scale_B.clamp(-5, 5),
        error_B.clamp(max=10.0),
        idle_B,
        observed_B / MEMORY,
        sums.total_B3N[:, 1, month] / 28.0,
        sums.selling_BN[:, month],
        sums.selling_BN[:, year],
        sums.seen_BN[:, spans],
    ]
    trailing_BN = (sums.mean_BN[:, :spans] / scale_B[:, None]).clamp(max=20.0)
    return torch.cat([torch.stack(columns, dim=1), trailing_BN], dim=1)


def _ahead(
    sums: _Sums, scale_B: Tensor, calendar_BHC: Tensor, told_BHC: Tensor, statistics: FeatureStatistics
) -> Tensor:
    """For each day ahead: its calendar, its distance, this weekday's usual sales, last year's, known covariates."""
    horizon = sums.horizon
    weekday_H = torch.arange(horizon, device=scale_B.device) % 7
    year = TRAILING_DAYS.index(364)
    columns = []
    for weekday_B37 in (sums.weekday_recent_B37, sums.weekday_year_B37):
        count_B7 = weekday_B37[:, 1]
        mean_B7 = (weekday_B37[:, 0] + sums.mean_BN[:, year, None]) / (count_B7 + 1.0) / scale_B[:, None]
        selling_B7 = (weekday_B37[:, 2] + sums.selling_BN[:, year, None]) / (count_B7 + 1.0)
        columns += [mean_B7[:, weekday_H].clamp(max=20.0), selling_B7[:, weekday_H]]
    first = len(TRAILING_DAYS) + 1
    around_BN = (sums.mean_BN[:, first - 1 :] / scale_B[:, None]).clamp(max=20.0)
    around_BWH = around_BN[:, 1:].reshape(len(scale_B), 4, horizon)
    day_BH, days_BH, week_BH, weeks_BH = around_BWH.unbind(1)
    change_BH = torch.log((week_BH + 0.1) / (around_BN[:, :1] + 0.1))
    week = first + 2 * horizon
    seen_BH = sums.seen_BN[:, week : week + horizon] * sums.seen_BN[:, first - 1 : first]
    columns += [day_BH, days_BH, week_BH, weeks_BH, change_BH * seen_BH, seen_BH]
    distance_HF = _distance(horizon, scale_B.device)
    calendar_BHC = torch.cat([calendar_BHC[..., : ANNUAL.start], calendar_BHC[..., ANNUAL] * statistics.annual], dim=2)
    return torch.cat(
        [
            calendar_BHC,
            distance_HF.expand(scale_B.shape[0], -1, -1),
            torch.stack(columns, dim=2),
            told_BHC,
        ],
        dim=2,
    )
