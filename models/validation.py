"""What is learned from windows that no member was trained on: how members become one forecast, and how days go together.

`learn_from_validation` after a training, from the days held out of it; `learn_from_newest` in an update, from the days since.

Shapes: B windows, H horizon, M memory days, Q quantile levels, G weeks.
"""

from dataclasses import replace

import numpy as np
import torch

from models.adjusting import COUNTS_SHARES, learn, relearned
from models.adjustment import Adjustment, Mixture, combine, finish
from models.dependence import dependence_rows, levels_of_sums
from models.forecaster import Forecaster, Member
from models.heldout import HeldOut, NotEnoughHistory
from models.inference import answerable, predict_members
from models.panel import Floats, Panel
from models.placement import device_of
from models.quantiles import empirical_quantiles
from models.sums import sum_quantiles, whole_weeks
from models.training_config import LEVELS
from models.windows import MEMORY, Index, WindowSource, take_days

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
            f"No series has days on both sides of {split}, the validation split: all end before it or begin with it or later. If "
            "older and newer sales have nothing to do with each other, delete one of them."
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
    forecaster.adjustment = learn(mixture, y_BH, weight_B, counts_shares=counts_shares)
    _, quantiles_BHQ = combine(mixture, forecaster.adjustment)
    finished_BHQ = finish(quantiles_BHQ, mixture.memory_BL, forecaster.adjustment)
    rng = np.random.default_rng(forecaster.config.seed)
    paths = forecaster.dependence = dependence_rows(y_BH, finished_BHQ, forecaster.levels, rng)
    if weeks := whole_weeks(forecaster.horizon):
        sold_BG = np.stack([y_BH[:, days].sum(axis=1) for days in weeks], axis=1)
        sums_BGQ = sum_quantiles(finished_BHQ, LEVELS, paths, weeks, LEVELS)
        forecaster.dependence = replace(paths, levels_Q=levels_of_sums(sold_BG, sums_BGQ, rng))


def learn_from_newest(forecaster: Forecaster, panel: Panel, end: int) -> Adjustment:
    """The forecaster's adjustment, relearned from the days since it learned last and before the day index `end`.

    It forecasts these days itself, the newest horizon of them at most, for as many series as a training would be judged on.
    """
    learned = panel.day_index(forecaster.trained_until)
    cutoff = max(learned, end - 1 - forecaster.horizon)
    days = end - 1 - cutoff
    usable = np.flatnonzero(answerable(panel, cutoff))
    if days < 1 or not usable.size or forecaster.adjustment.evidence_C is None:
        return forecaster.adjustment
    rng = np.random.default_rng(cutoff)
    count = min(len(usable), max(MOST_VALIDATION_DAYS // forecaster.horizon, 1))
    series_B = np.sort(rng.choice(usable, count, replace=False)).astype(np.int64)
    cutoff_B = np.full(count, cutoff, np.int64)
    mixture, y_BH, weight_B = _said_and_sold(forecaster, panel, series_B, cutoff_B, end=end)
    return relearned(forecaster.adjustment, mixture, y_BH, weight_B, worth=days / forecaster.horizon)


def _said_and_sold(
    forecaster: Forecaster, panel: Panel, series_B: Index, cutoff_B: Index, *, end: int | None = None
) -> tuple[Mixture, Floats, Floats]:
    """What the members say of windows, what was sold in them before the day index `end`, and the windows' weights."""
    source = forecaster.source(panel)
    mixture = predict_members(forecaster, source, series_B, cutoff_B)
    y_BH = source.targets(series_B, cutoff_B, end=end).numpy()
    return mixture, y_BH, _units_weights(source, series_B, cutoff_B)


def _units_weights(source: WindowSource, series_B: Index, cutoff_B: Index) -> Floats:
    """What turns a loss in units into one between SQL and WQL: 1 over the root of the seasonal-naive error."""
    memory_BM = take_days(source.quantity_ST, series_B, cutoff_B - MEMORY + 1, MEMORY)
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
