"""Scores of many answers to the same days, pooled over series and windows that each answer was added for.

Shapes: S series, H horizon, Q quantile levels, W scored levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models import metrics
from models.days import take_days
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.panel import Floats, Panel
from models.quantiles import interpolate_levels


@dataclass(frozen=True)
class Truth:
    """What was sold on the days after a cutoff, and each series' seasonal error up to it, which makes errors comparable."""

    y_SH: Floats
    error_S: metrics.Doubles

    def rows(self, series: list[int]) -> "Truth":
        return Truth(self.y_SH[series], self.error_S[series])


def truth_of(panel: Panel, cutoff: int, horizon: int) -> Truth:
    rows = np.arange(panel.series)
    y_SH = take_days(panel.quantity_ST, rows, np.full(panel.series, cutoff + 1), horizon)
    return Truth(y_SH, metrics.seasonal_error(panel.quantity_ST[:, : cutoff + 1]))


@dataclass
class Pooled:
    """By name, the answers given and what they are measured against."""

    answers: dict[str, list[tuple[Truth, Forecast]]] = field(default_factory=dict)

    def add(self, name: str, truth: Truth, forecast: Forecast) -> None:
        self.answers.setdefault(name, []).append((truth, forecast))

    def scores(self, *, rare: bool = False) -> dict[str, dict[str, float]]:
        """WQL and SQL over the nine scored levels and bias of the mean; `rare`: also what tells rare sales apart."""
        return {name: score(told) | (score_rare(told) if rare else {}) for name, told in self.answers.items()}


def score(told: list[tuple[Truth, Forecast]]) -> dict[str, float]:
    y_SH, error_S = np.concatenate([t.y_SH for t, _ in told]), np.concatenate([t.error_S for t, _ in told])
    quantiles_SHW = np.concatenate([interpolate_levels(f.quantiles_SHQ, f.levels_Q, SCORED_LEVELS) for _, f in told])
    levels_W = np.array(SCORED_LEVELS)
    return rounded(
        {
            "wql": metrics.wql(y_SH, quantiles_SHW, levels_W),
            "sql": metrics.sql(y_SH, quantiles_SHW, levels_W, error_S),
            "bias": metrics.bias(y_SH, np.concatenate([f.mean_SH for _, f in told])),
        }
    )


def score_rare(told: list[tuple[Truth, Forecast]]) -> dict[str, float]:
    """For series that hardly ever sell: the nine scored levels are zero however well a forecaster knows them.

    `wql_high` is of the levels from 0.9 on, `wql_all` of all of the service's; `mse` of the mean, in units² a day; `to 0.95` the
    share of days at or below a level, `below 0.95` strictly below.
    """
    y_SH, levels_Q = np.concatenate([t.y_SH for t, _ in told]), told[0][1].levels_Q
    quantiles_SHQ = np.concatenate([f.quantiles_SHQ for _, f in told])
    high_Q = levels_Q >= 0.9
    below_Q, to_Q = metrics.coverage(y_SH, quantiles_SHQ)
    shares: dict[str, float] = {}
    for level, below, to in zip(levels_Q[high_Q], below_Q[high_Q], to_Q[high_Q], strict=True):
        shares |= {f"below {level}": below, f"to {level}": to}
    scores = {
        "wql_high": metrics.wql(y_SH, quantiles_SHQ[:, :, high_Q], levels_Q[high_Q]),
        "wql_all": metrics.wql(y_SH, quantiles_SHQ, levels_Q),
        "mse": metrics.mse(y_SH, np.concatenate([f.mean_SH for _, f in told])),
    }
    return rounded(scores | shares)


def rounded(figures: Mapping[str, float | None]) -> dict[str, float]:
    """To four places; what could not be measured is left out."""
    return {name: round(float(value), 4) for name, value in figures.items() if value is not None}
