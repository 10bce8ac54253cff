"""For peers that take no missing day: what stands in its place, and what is answered where they answer nothing.

Shapes: S series, T days, H horizon, Q quantile levels.
"""

import numpy as np

from models.evaluation import SCORED_LEVELS
from models.fallback import fallback
from models.forecast import Forecast
from models.panel import Floats, Panel
from models.quantiles import interpolate_levels

WEEK = 7


def filled_past(panel: Panel, cutoff: int) -> Floats:
    """Quantities up to the cutoff; a missing day after a series' first gets the newest value of its weekday, else zero."""
    past_ST = panel.quantity_ST[:, : cutoff + 1].copy()
    started_ST = np.isfinite(past_ST).cumsum(axis=1) > 0
    for day in range(past_ST.shape[1]):
        missing_S = started_ST[:, day] & ~np.isfinite(past_ST[:, day])
        before_S = past_ST[:, day - WEEK] if day >= WEEK else np.zeros(len(past_ST), np.float32)
        past_ST[missing_S, day] = np.nan_to_num(before_S[missing_S])
    return past_ST


def held(values_SA: Floats, last: int) -> Floats:
    """Covariates up to the day index `last`; a missing value is the one before it, or the first there is, or zero."""
    known_SA = values_SA[:, : last + 1]
    seen_SA = np.isfinite(known_SA)
    newest_SA = np.maximum.accumulate(np.where(seen_SA, np.arange(known_SA.shape[1]), -1), axis=1)
    first_S = np.where(seen_SA.any(axis=1), seen_SA.argmax(axis=1), 0)
    at_SA = np.where(newest_SA >= 0, newest_SA, first_S[:, None])
    return np.nan_to_num(np.take_along_axis(known_SA, at_SA, axis=1))


def simple_forecast(panel: Panel, cutoff: int, horizon: int) -> Forecast:
    """The service's fallback at the scored levels, to be overwritten where a peer has an answer."""
    simple, _, _ = fallback(panel, cutoff, horizon)
    quantiles_SHQ = interpolate_levels(simple.quantiles_SHQ, simple.levels_Q, SCORED_LEVELS)
    return Forecast(simple.mean_SH.copy(), quantiles_SHQ, np.array(SCORED_LEVELS))
