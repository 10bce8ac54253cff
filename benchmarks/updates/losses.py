"""What a replay adds up of every forecast: sums by target day and stretch of the horizon, and the figures that come of them.

Sums by target day, of all series together, are what the block bootstrap draws; scores are ratios of sums, as everywhere.

Shapes: S series, H horizon, Q scored levels, K stretches (1-7, 8-14, 15-28), T target days of the replay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.panel import Panel
from models.quantiles import interpolate_levels
from models.segments import buckets
from models.windows import take_days

Doubles = NDArray[np.float64]
SUMS = ("sales", "pinball", "scaled", "scaled_days", "absolute", "scaled_absolute", "mean", "days", "below_low", "to_low",
        "below_high", "to_high")  # fmt: skip
LOW, HIGH = SCORED_LEVELS.index(0.1), SCORED_LEVELS.index(0.9)


@dataclass
class Losses:
    """Sums of one policy, each (K, T), beside how much its forecasts moved from day to day and what it cost."""

    sums: dict[str, Doubles]
    moved: float = 0.0
    level: float = 0.0
    update_seconds: float = 0.0
    training_seconds: float = 0.0

    @classmethod
    def empty(cls, stretches: int, days: int) -> "Losses":
        return cls({name: np.zeros((stretches, days)) for name in SUMS})

    def add(self, forecast: Forecast, panel: Panel, cutoff: int, first: int) -> None:
        """Score a forecast of all series from a cutoff; `first` is the first cutoff of the replay."""
        past_ST = panel.quantity_ST[:, : cutoff + 1]
        alive = np.flatnonzero(np.isfinite(past_ST).any(axis=1))
        horizon = forecast.mean_SH.shape[1]
        y_SH = take_days(panel.quantity_ST, alive, np.full(len(alive), cutoff + 1), horizon).astype(np.float64)
        at = np.array(SCORED_LEVELS)
        quantiles_SHQ = interpolate_levels(forecast.quantiles_SHQ[alive], forecast.levels_Q, at).astype(np.float64)
        scale_S1 = metrics.seasonal_error(past_ST[alive])[:, None]
        usable_S1 = np.where(scale_S1 > metrics.SMALLEST_SCALE, scale_S1, np.nan)
        pinball_SH = metrics.pinball(y_SH, quantiles_SHQ, at).mean(axis=2)
        absolute_SH = np.abs(y_SH - quantiles_SHQ[..., SCORED_LEVELS.index(0.5)])
        seen_SH = np.isfinite(y_SH)
        by_name = {
            "sales": y_SH,
            "pinball": pinball_SH,
            "scaled": pinball_SH / usable_S1,
            "scaled_days": np.where(seen_SH & np.isfinite(usable_S1), 1.0, 0.0),
            "absolute": absolute_SH,
            "scaled_absolute": absolute_SH / usable_S1,
            "mean": np.where(seen_SH, forecast.mean_SH[alive], 0.0),
            "days": seen_SH.astype(np.float64),
            "below_low": y_SH < quantiles_SHQ[..., LOW] - metrics.TIE,
            "to_low": y_SH <= quantiles_SHQ[..., LOW] + metrics.TIE,
            "below_high": y_SH < quantiles_SHQ[..., HIGH] - metrics.TIE,
            "to_high": y_SH <= quantiles_SHQ[..., HIGH] + metrics.TIE,
        }
        for name, values_SH in by_name.items():
            total_H = np.nansum(np.where(seen_SH, values_SH, np.nan), axis=0)
            for stretch, days in enumerate(buckets(horizon)):
                ahead = np.arange(horizon)[days]
                self.sums[name][stretch, cutoff + ahead - first] += total_H[days]

    def moves(self, before: Forecast, now: Forecast) -> None:
        """Count how far the mean of a day moved from one cutoff to the next."""
        self.moved += float(np.abs(now.mean_SH[:, :-1] - before.mean_SH[:, 1:]).sum())
        self.level += float(before.mean_SH[:, 1:].sum())

    def figures(self, stretch: int | slice = slice(None)) -> dict[str, float]:
        """WQL, SQL, MASE, bias, coverage (the middle of strictly below and at most) of one stretch, or of all."""
        total = {name: float(values[stretch].sum()) for name, values in self.sums.items()}
        return {
            "wql": total["pinball"] / total["sales"],
            "sql": total["scaled"] / total["scaled_days"],
            "mase": total["scaled_absolute"] / total["scaled_days"],
            "wape": total["absolute"] / total["sales"],
            "bias": (total["mean"] - total["sales"]) / total["sales"],
            "coverage_10": (total["below_low"] + total["to_low"]) / 2 / total["days"],
            "coverage_90": (total["below_high"] + total["to_high"]) / 2 / total["days"],
            "churn": self.figures_of_moves(),
        }

    def figures_of_moves(self) -> float:
        """Mean absolute change of a day's mean from one cutoff to the next, relative to its level."""
        return self.moved / max(self.level, 1e-9)

    def save(self, file: Path) -> None:
        """Write it whole or not at all."""
        costs = np.array([self.moved, self.level, self.update_seconds, self.training_seconds])
        unfinished = file.with_suffix(".part.npz")
        np.savez_compressed(unfinished, costs=costs, **self.sums)
        unfinished.rename(file)

    @classmethod
    def load(cls, file: Path) -> "Losses":
        kept = np.load(file)
        return cls({name: kept[name] for name in SUMS}, *kept["costs"].tolist())


def pooled(losses: list[Losses]) -> Losses:
    """The mean of several seeds."""
    count = len(losses)
    sums = {name: np.stack([one.sums[name] for one in losses]).mean(axis=0) for name in SUMS}
    costs = [
        sum(getattr(one, name) for one in losses) / count
        for name in ("moved", "level", "update_seconds", "training_seconds")
    ]
    return Losses(sums, *costs)


def against(one: Losses, other: Losses, *, block: int, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """How much lower or higher WQL and SQL are, in percent of the other's, with the 95 % interval of a circular block bootstrap
    over target days, all series drawn together."""
    days = one.sums["days"].shape[1]
    rng = np.random.default_rng(seed)
    blocks = -(-days // block)
    start = rng.integers(0, days, (draws, blocks))
    drawn = ((start[:, :, None] + np.arange(block)) % days).reshape(draws, -1)[:, :days]
    found: dict[str, Any] = {}
    for name, loss, weight in (("wql", "pinball", "sales"), ("sql", "scaled", "scaled_days")):
        own_T, theirs_T = (x.sums[loss].sum(axis=0) for x in (one, other))
        own_weight_T, their_weight_T = (x.sums[weight].sum(axis=0) for x in (one, other))
        own_D, theirs_D = own_T[drawn].sum(axis=1), theirs_T[drawn].sum(axis=1)
        ratio_D = own_D / own_weight_T[drawn].sum(axis=1) / (theirs_D / their_weight_T[drawn].sum(axis=1))
        ratio = own_T.sum() / own_weight_T.sum() / (theirs_T.sum() / their_weight_T.sum())
        low, high = np.quantile(ratio_D, (0.025, 0.975))
        found[name] = {"percent": 100 * (ratio - 1), "low": 100 * (low - 1), "high": 100 * (high - 1)}
    return found


def within(losses: Losses, days: slice) -> Losses:
    """The same of some target days only."""
    sums: Mapping[str, Doubles] = {name: values[:, days] for name, values in losses.sums.items()}
    return Losses(dict(sums), losses.moved, losses.level, losses.update_seconds, losses.training_seconds)
