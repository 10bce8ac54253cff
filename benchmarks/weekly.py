"""Sums of the weeks ahead, as the service answers `period=week`, against what was sold; and the same from independent days.

Weeks ahead are the days 1–7, 8–14, … of a horizon, whole ones only. A week counts where all its seven days were observed.

Shapes: S series, H horizon, G weeks, Q scored levels.
"""

import numpy as np

from models import metrics
from models.days import Index, take_days
from models.dependence import Dependence, usual_dependence
from models.evaluation import SCORED_LEVELS, Scores, average
from models.forecast import Forecast
from models.inference import answerable
from models.panel import Floats, Panel
from models.quantiles import ranks
from models.sums import sum_quantiles, whole_weeks

LOW, HIGH = SCORED_LEVELS.index(0.1), SCORED_LEVELS.index(0.9)


def weekly_scores(
    forecasts: list[Forecast], panel: Panel, cutoffs: list[int], dependence: Dependence, *, horizon: int
) -> Scores | None:
    """Scores of the weeks' sums averaged over windows, those of independent days under `independent`; None without a week.

    Series that are too short for a network take the usual dependence, as they do in the service. `wql` averages over the
    nine levels; `covered` is the share of weeks within the 0.1–0.9 interval, its ends included, `inside` without them.
    """
    groups = whole_weeks(horizon)
    if not groups:
        return None
    independent = independent_days(len(dependence.rows_NH), horizon)
    told, alone = [], []
    for forecast, cutoff in zip(forecasts, cutoffs, strict=True):
        sold_SG, rows = sold_in_weeks(panel, cutoff, groups)
        days = forecast.rows(rows).days(horizon)
        alone.append(score_sums(sold_SG, sums(days, independent, groups)))
        sums_SGQ = sums(days, dependence, groups)
        short = np.flatnonzero(~answerable(panel, cutoff)[rows])
        sums_SGQ[short] = sums(days.rows(short), usual_dependence(horizon), groups)
        told.append(score_sums(sold_SG, sums_SGQ))
    return average(told) | {"independent": average(alone)}


def sums(days: Forecast, dependence: Dependence, groups: list[slice]) -> Floats:
    return sum_quantiles(days.quantiles_SHQ, days.levels_Q, dependence, groups, SCORED_LEVELS)


def sold_in_weeks(panel: Panel, cutoff: int, groups: list[slice]) -> tuple[Floats, Index]:
    """The true sums (S, G) of the series observed up to the cutoff, NaN where a day is missing; and their rows."""
    rows = np.flatnonzero(np.isfinite(panel.quantity_ST[:, : cutoff + 1]).any(axis=1))
    first_S: Index = np.full(len(rows), cutoff + 1, dtype=np.int64)
    y_SH = take_days(panel.quantity_ST, rows, first_S, groups[-1].stop)
    return np.stack([y_SH[:, days].sum(axis=1) for days in groups], axis=1), rows


def score_sums(sold_SG: Floats, sums_SGQ: Floats) -> dict[str, float]:
    """WQL, and how often the 0.1–0.9 interval holds what was sold; all NaN where no week was wholly observed."""
    seen_SG = np.isfinite(sold_SG)
    below_NQ, to_NQ = metrics.hits(sold_SG[seen_SG], sums_SGQ[seen_SG])
    covered_N, inside_N = to_NQ[:, HIGH] & ~below_NQ[:, LOW], below_NQ[:, HIGH] & ~to_NQ[:, LOW]
    return {
        "wql": metrics.wql(sold_SG, sums_SGQ, np.array(SCORED_LEVELS)),
        "covered": float(covered_N.mean()) if len(covered_N) else float("nan"),
        "inside": float(inside_N.mean()) if len(inside_N) else float("nan"),
    }


def independent_days(count: int, horizon: int) -> Dependence:
    """Days that have nothing to do with one another."""
    rng = np.random.default_rng(0)
    return Dependence(ranks(rng.random((count, horizon)), rng))
