"""What a replay adds up of every forecast: sums by cutoff and day ahead, and the figures that come of them.

Of all series together. Sums by target day are what the block bootstrap draws; scores are ratios of sums, as everywhere.

Shapes: S series, C cutoffs of the replay, H horizon, Q scored levels, T target days of the replay (C + H - 1).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.days import take_days
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.panel import Panel
from models.quantiles import interpolate_levels
from models.segments import buckets

Doubles = NDArray[np.float64]
SUMS = ("sales", "pinball", "scaled", "scaled_days", "absolute", "scaled_absolute", "mean", "days", "below_low", "to_low",
        "below_high", "to_high")  # fmt: skip
SECONDS = ("update_seconds", "training_seconds")
COSTS = ("moved", "level", *SECONDS)
"""Of each cutoff: how far means of a day moved since the cutoff before, of how much; processor seconds."""
LOW, HIGH = SCORED_LEVELS.index(0.1), SCORED_LEVELS.index(0.9)


@dataclass
class Losses:
    """Sums of one policy, each (C, H), beside what it cost at each cutoff, each (C,)."""

    sums: dict[str, Doubles]
    costs: dict[str, Doubles]

    @classmethod
    def empty(cls, cutoffs: int, horizon: int) -> "Losses":
        return cls({name: np.zeros((cutoffs, horizon)) for name in SUMS}, {name: np.zeros(cutoffs) for name in COSTS})

    def add(self, forecast: Forecast, panel: Panel, cutoff: int, at: int) -> None:
        """Score a forecast of all series from a cutoff, the `at`-th of the replay."""
        past_ST = panel.quantity_ST[:, : cutoff + 1]
        alive = np.flatnonzero(np.isfinite(past_ST).any(axis=1))
        horizon = forecast.mean_SH.shape[1]
        y_SH = take_days(panel.quantity_ST, alive, np.full(len(alive), cutoff + 1), horizon).astype(np.float64)
        levels = np.array(SCORED_LEVELS)
        quantiles_SHQ = interpolate_levels(forecast.quantiles_SHQ[alive], forecast.levels_Q, levels).astype(np.float64)
        scale_S1 = metrics.seasonal_error(past_ST[alive])[:, None]
        usable_S1 = np.where(scale_S1 > metrics.SMALLEST_SCALE, scale_S1, np.nan)
        pinball_SH = metrics.pinball(y_SH, quantiles_SHQ, levels).mean(axis=2)
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
            self.sums[name][at] = np.nansum(np.where(seen_SH, values_SH, np.nan), axis=0)

    def moves(self, before: Forecast, now: Forecast, at: int) -> None:
        """How far the mean of a day moved from the cutoff before."""
        self.costs["moved"][at] = np.abs(now.mean_SH[:, :-1] - before.mean_SH[:, 1:]).sum()
        self.costs["level"][at] = before.mean_SH[:, 1:].sum()

    def cost(self, name: str) -> float:
        """The sum of a cost over all cutoffs."""
        return float(self.costs[name].sum())

    def figures(self, days: slice = slice(None)) -> dict[str, float]:
        """WQL, SQL, MASE, bias, coverage (the middle of strictly below and at most) of some days ahead, or of all."""
        total = {name: float(values_CH[:, days].sum()) for name, values_CH in self.sums.items()}
        return {
            "wql": total["pinball"] / total["sales"],
            "sql": total["scaled"] / total["scaled_days"],
            "mase": total["scaled_absolute"] / total["scaled_days"],
            "wape": total["absolute"] / total["sales"],
            "bias": (total["mean"] - total["sales"]) / total["sales"],
            "coverage_10": (total["below_low"] + total["to_low"]) / 2 / total["days"],
            "coverage_90": (total["below_high"] + total["to_high"]) / 2 / total["days"],
            "churn": self.churn(),
        }

    def by_stretch(self) -> list[dict[str, float]]:
        """The figures of each stretch of the horizon."""
        return [self.figures(days) for days in buckets(self.sums["days"].shape[1])]

    def churn(self) -> float:
        """Mean absolute change of a day's mean from one cutoff to the next, relative to its level."""
        return self.cost("moved") / max(self.cost("level"), 1e-9)

    def last(self, cutoffs: int) -> "Losses":
        """The same of the last so many cutoffs only. Work that was done at the first of them is not counted: a policy that begins
        there has done as much before."""
        costs = {name: values[-cutoffs:].copy() for name, values in self.costs.items()}
        for name in SECONDS:
            costs[name][0] = 0.0
        return Losses({name: values[-cutoffs:] for name, values in self.sums.items()}, costs)

    def save(self, file: Path) -> None:
        """Write it whole or not at all."""
        unfinished = file.with_suffix(".part.npz")
        np.savez_compressed(unfinished, **self.sums, **self.costs)
        unfinished.rename(file)

    @classmethod
    def load(cls, file: Path) -> "Losses":
        kept = np.load(file)
        return cls({name: kept[name] for name in SUMS}, {name: kept[name] for name in COSTS})


def pooled(losses: list[Losses]) -> Losses:
    """The mean of several seeds."""
    return Losses(
        {name: np.mean([one.sums[name] for one in losses], axis=0) for name in SUMS},
        {name: np.mean([one.costs[name] for one in losses], axis=0) for name in COSTS},
    )


def against(one: Losses, other: Losses, *, block: int, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """How much lower or higher WQL and SQL are, in percent of the other's, with the 95 % interval of a circular block bootstrap
    over target days, all series drawn together."""
    days = sum(one.sums["days"].shape) - 1
    rng = np.random.default_rng(seed)
    blocks = -(-days // block)
    start = rng.integers(0, days, (draws, blocks))
    drawn = ((start[:, :, None] + np.arange(block)) % days).reshape(draws, -1)[:, :days]
    found: dict[str, Any] = {}
    for name, loss, weight in (("wql", "pinball", "sales"), ("sql", "scaled", "scaled_days")):
        own_T, theirs_T = (by_target_day(x.sums[loss]) for x in (one, other))
        own_weight_T, their_weight_T = (by_target_day(x.sums[weight]) for x in (one, other))
        own_D, theirs_D = own_T[drawn].sum(axis=1), theirs_T[drawn].sum(axis=1)
        ratio_D = own_D / own_weight_T[drawn].sum(axis=1) / (theirs_D / their_weight_T[drawn].sum(axis=1))
        ratio = own_T.sum() / own_weight_T.sum() / (theirs_T.sum() / their_weight_T.sum())
        low, high = np.quantile(ratio_D, (0.025, 0.975))
        found[name] = {"percent": 100 * (ratio - 1), "low": 100 * (low - 1), "high": 100 * (high - 1)}
    return found


def by_target_day(values_CH: Doubles) -> Doubles:
    """Sums by target day, (T,), the first of them the day after the first cutoff."""
    cutoffs, horizon = values_CH.shape
    target_CH = np.arange(cutoffs)[:, None] + np.arange(horizon)
    return np.bincount(target_CH.ravel(), weights=values_CH.ravel())
