"""What is learned from windows that no member was trained on: how members become one forecast, and how days go together.

`learn_from_validation` after a training, from the days held out of it; `learn_from_newest` in an update, from the days since.

Shapes: B windows, H horizon, M memory days, Q quantile levels, G weeks.
"""

from dataclasses import replace

import numpy as np
import torch

from models.adjusting import COUNTS_SHARES, EVIDENCE_DAYS, learn, relearned
from models.adjustment import Adjustment, Mixture, combine, finish
from models.cleaning.days import covariates_of, days_of, without
from models.days import Index, take_days
from models.dependence import dependence_rows, levels_of_sums
from models.fitting import LARGEST_TARGET
from models.forecaster import Forecaster, Member
from models.heldout import HeldOut, NotEnoughHistory
from models.inference import answerable, predict_members
from models.panel import Floats, Panel
from models.placement import device_of
from models.quantiles import empirical_quantiles
from models.sums import sum_quantiles, whole_weeks
from models.training_config import LEVELS
from models.windows import MEMORY, WindowSource

VALIDATION_WINDOWS = 2048
MOST_VALIDATION_DAYS = 60_000


def validation_pairs(panel: Panel, held_out: HeldOut, horizon: int, rng: np.random.Generator) -> tuple[Index, Index]:
    """Up to VALIDATION_WINDOWS (series, cutoff) pairs over all days held out, drawn once."""
    oldest, newest = held_out.split - 1, max(held_out.split - 1, held_out.cutoffs[-1])
    seen_ST = np.isfinite(panel.quantity_ST)
    alive_S = seen_ST[:, : held_out.split].any(axis=1) & seen_ST[:, held_out.split :].any(axis=1)
    usable = np.flatnonzero(alive_S)
    if not usable.size:
        split = panel.start + np.timedelta64(held_out.split, "D")
        raise NotEnoughHistory(
            f"No series has days on both sides of {split}, the validation split: all end before it or begin with it or later, so "
            "one day of one series is missing on the other side. If older and newer sales have nothing to do with each other, "
            "delete one of them."
        )
    days = newest - oldest + 1
    count = min(VALIDATION_WINDOWS, max(MOST_VALIDATION_DAYS // horizon, 1), len(usable) * days)
    picked = rng.choice(len(usable) * days, count, replace=False)
    return usable[picked // days].astype(np.int64), (oldest + picked % days).astype(np.int64)


def learn_from_validation(
    forecaster: Forecaster,
    panel: Panel,
    series_B: Index,
    cutoff_B: Index,
    *,
    counts_shares: tuple[float, ...] = COUNTS_SHARES,
) -> None:
    """How members become one forecast, and how days go together, from windows that no member was trained on."""
    mixture, y_BH, weight_B = _said_and_sold(forecaster, panel, series_B, cutoff_B)
    found = learn(mixture, y_BH, weight_B, counts_shares=counts_shares)
    newest = panel.start + np.timedelta64(int(cutoff_B.max()) + forecaster.horizon, "D")
    forecaster.adjustment = replace(found, evidence_until=min(newest, panel.end))
    _, quantiles_BHQ = combine(mixture, forecaster.adjustment)
    finished_BHQ = finish(quantiles_BHQ, mixture.memory_BL, forecaster.adjustment)
    rng = np.random.default_rng(forecaster.config.seed)
    paths = forecaster.dependence = dependence_rows(y_BH, finished_BHQ, forecaster.levels, rng)
    if weeks := whole_weeks(forecaster.horizon):
        sold_BG = np.stack([y_BH[:, days].sum(axis=1) for days in weeks], axis=1)
        sums_BGQ = sum_quantiles(finished_BHQ, LEVELS, paths, weeks, LEVELS)
        forecaster.dependence = replace(paths, levels_Q=levels_of_sums(sold_BG, sums_BGQ, rng))


def learn_from_newest(forecaster: Forecaster, panel: Panel, end: int) -> Adjustment:
    """The forecaster's adjustment, relearned from the days before the day index `end` that its evidence does not hold yet.

    It forecasts these days itself, as far as it has not learned from them: the newest EVIDENCE_DAYS at most, or one horizon
    where that is longer, for as many series as a training would be judged on.
    """
    adjustment, horizon = forecaster.adjustment, forecaster.horizon
    learned = panel.day_index(forecaster.trained_until)
    until = adjustment.evidence_until
    begin = max(learned, learned if until is None else panel.day_index(until)) + 1
    if begin >= end or adjustment.evidence_C is None:
        return adjustment
    oldest = max(learned, end - 1 - max(horizon, EVIDENCE_DAYS))
    cutoffs = np.arange(oldest, end - 1, horizon)
    cutoffs = cutoffs[cutoffs + horizon >= begin]
    usable = np.flatnonzero(answerable(panel, oldest))
    if not usable.size:
        return adjustment
    rng = np.random.default_rng(oldest)
    pairs = len(usable) * len(cutoffs)
    picked = np.sort(rng.choice(pairs, min(pairs, max(MOST_VALIDATION_DAYS // horizon, 1)), replace=False))
    series_B, cutoff_B = usable[picked % len(usable)].astype(np.int64), cutoffs[picked // len(usable)]
    mixture, y_BH, weight_B = _said_and_sold(forecaster, panel, series_B, cutoff_B, end=end)
    day_BH = cutoff_B[:, None] + np.arange(1, horizon + 1)
    new_BH = np.where(day_BH >= begin, y_BH, np.float32(np.nan))
    days = np.unique(day_BH[np.isfinite(new_BH)]).size
    found = relearned(adjustment, mixture, new_BH, weight_B, days=days, passed=end - begin)
    return found if found is adjustment else replace(found, evidence_until=panel.start + np.timedelta64(end - 1, "D"))


def _said_and_sold(
    forecaster: Forecaster, panel: Panel, series_B: Index, cutoff_B: Index, *, end: int | None = None
) -> tuple[Mixture, Floats, Floats]:
    """What the members say of windows, what was sold in them before the day index `end`, and the windows' weights.

    Days out of stock are left out, as in the loss of the networks, and an absurd day counts as LARGEST_TARGET times the most of
    the window's past.
    """
    mixture = predict_members(forecaster, forecaster.source(panel), series_B, cutoff_B)
    sold_ST = in_stock(forecaster, panel)[:, :end]
    y_BH = take_days(sold_ST, series_B, cutoff_B + 1, forecaster.horizon)
    most_B1 = LARGEST_TARGET * np.nanmax(mixture.memory_BL, axis=1, initial=1.0, keepdims=True).astype(np.float64)
    return mixture, np.minimum(y_BH, most_B1).astype(np.float32), _units_weights(sold_ST, series_B, cutoff_B)


def in_stock(forecaster: Forecaster, panel: Panel) -> Floats:
    """The panel's sales, NaN on days out of stock: what was sold then says nothing of demand."""
    if forecaster.config.cleaning == "none":
        return panel.quantity_ST
    covariates = covariates_of(panel, (*forecaster.known, *forecaster.past))
    return without(panel.quantity_ST, days_of(covariates).out_of_stock_ST)


def _units_weights(quantity_ST: Floats, series_B: Index, cutoff_B: Index) -> Floats:
    """What turns a loss in units into one between SQL and WQL: 1 over the root of the seasonal-naive error."""
    memory_BM = take_days(quantity_ST, series_B, cutoff_B - MEMORY + 1, MEMORY)
    error_BM = np.abs(memory_BM[:, 7:] - memory_BM[:, :-7])
    seen_B = np.isfinite(error_BM).sum(axis=1)
    error_B = np.nansum(error_BM, axis=1) / np.maximum(seen_B, 1)
    usual = max(float(error_B.mean()), 1e-6)
    weight_B: Floats = ((np.maximum(error_B, 0.05 * usual) / usual) ** -0.5).astype(np.float32)
    return weight_B


def set_residuals(member: Member, source: WindowSource, series_B: Index, cutoff_B: Index) -> None:
    """Quantiles and mean of (sales - point) / scale for each day ahead; a day never observed takes those of all."""
    member.network.eval()
    with torch.inference_mode():
        output = member.network(source.windows(series_B, cutoff_B).to(device_of(member.network)))
    scale_B1 = output.scale_B.cpu().numpy()[:, None]
    residual_BH = source.targets(series_B, cutoff_B).numpy() / scale_B1 - output.mean_BH.cpu().numpy()
    by_day_HQ = empirical_quantiles(residual_BH.T.copy(), LEVELS)
    overall_Q = empirical_quantiles(residual_BH.reshape(1, -1), LEVELS)[0]
    member.residuals_HQ = np.where(np.isnan(by_day_HQ), overall_Q, by_day_HQ)
    count_H = np.isfinite(residual_BH).sum(axis=0)
    mean_H = np.nansum(residual_BH, axis=0) / np.maximum(count_H, 1)
    member.residual_mean_H = np.where(count_H > 0, mean_H, np.nanmean(residual_BH)).astype(np.float32)
