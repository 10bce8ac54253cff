"""What is answered when no network may: no champion, too little history, a horizon past the version's.

The rule, by observed days of the last 392 up to the series' cutoff:

    days      method                  why
    0         "no_history"            nothing is known: zeros
    1 … 55    "few_days"              quantiles of the days there are, widened as long as they are few
    56 …      "climatology"           the series' own quantiles of the last year, by weekday

Shapes: S series, H horizon, Q quantile levels.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.baselines import climatology, history
from models.dependence import Dependence, usual_dependence
from models.forecast import Forecast
from models.panel import Panel
from models.quantiles import empirical_quantiles
from models.training_config import LEVELS

FEW_DAYS = 56
PRIOR_DAYS = 7.0
LONGEST_HORIZON = 365


def fallback(panel: Panel, cutoffs: ArrayLike, horizon: int) -> tuple[Forecast, list[str], Dependence]:
    """A forecast for every series, the method each was answered by, and how its days go together.

    Works from one observed day on, with none, and up to 365 days ahead. Raises ValueError beyond that.
    """
    if not 1 <= horizon <= LONGEST_HORIZON:
        raise ValueError(f"The horizon {horizon} is outside 1 … {LONGEST_HORIZON}.")
    window_SM = history(panel, cutoffs, np.arange(panel.series))
    observed_S = np.isfinite(window_SM).sum(axis=1)
    usual = climatology(panel, cutoffs, horizon)
    short = np.flatnonzero((observed_S > 0) & (observed_S < FEW_DAYS))
    mean_SH, quantiles_SHQ = usual.mean_SH, usual.quantiles_SHQ
    if short.size:
        mean_S, spread_SQ = _few_days(window_SM[short], observed_S[short])
        mean_SH[short], quantiles_SHQ[short] = mean_S[:, None], spread_SQ[:, None]
    names = np.array(["no_history", "few_days", "climatology"])
    methods = names[(observed_S > 0).astype(int) + (observed_S >= FEW_DAYS)].tolist()
    return Forecast(mean_SH, quantiles_SHQ, usual.levels_Q), methods, usual_dependence(horizon)


def _few_days(
    window_SM: NDArray[np.float32], observed_S: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The observed days' quantiles, mixed with those of an exponential distribution of the same mean.

    The mixture counts as seven days: one day says little about the spread, and the exponential is wide.
    """
    mean_S = np.nansum(window_SM, axis=1, dtype=np.float64) / observed_S
    levels_Q = np.array(LEVELS)
    wide_SQ = -np.log1p(-levels_Q) * mean_S[:, None]
    share_S1 = (PRIOR_DAYS / (PRIOR_DAYS + observed_S))[:, None]
    own_SQ = empirical_quantiles(window_SM, LEVELS)
    mixed_SQ = share_S1 * wide_SQ + (1 - share_S1) * own_SQ
    return mean_S, np.minimum(mixed_SQ, np.finfo(np.float32).max)  # widened past it, they would be kept as infinite
