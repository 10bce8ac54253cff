"""Kinds of series and stretches of the horizon: the parts by which results are told apart.

The one place that says what a fast, a slow and an intermittent series is. It looks at the observed days of the last
YEAR up to a cutoff and at nothing after it, so a series may belong to another segment at another cutoff.

    segment          rule
    "intermittent"   sold something on fewer than half of those days
    "slow"           sold on at least half of them, on average fewer than 5 units a day
    "fast"           sold on at least half of them, on average 5 units a day or more

A series without an observed day in that year is intermittent.

Shapes: S series, Y days of the last year, K buckets of days ahead.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.climatology import YEAR
from models.days import take_days
from models.panel import Floats, Panel

SOLD_SHARE = 0.5
FAST_MEAN = 5.0

SEGMENTS = ("fast", "slow", "intermittent")
BUCKETS = ((1, 7), (8, 14), (15, 28), (29, 365))
"""Days ahead that are told apart, first and last, both inclusive."""


def segments(panel: Panel, cutoffs: ArrayLike) -> NDArray[np.int64]:
    """Each series' segment, an index into SEGMENTS, as seen at its cutoff (an int or one a series)."""
    cutoff_S = np.broadcast_to(np.asarray(cutoffs, dtype=np.int64), (panel.series,))
    return segments_of(take_days(panel.quantity_ST, np.arange(panel.series), cutoff_S - YEAR + 1, YEAR))


def segments_of(memory_SY: Floats) -> NDArray[np.int64]:
    """The same from the days up to each cutoff themselves, of which the last YEAR count."""
    year_SY = memory_SY[:, -YEAR:]
    days_S = np.maximum(np.isfinite(year_SY).sum(axis=1), 1)
    sold_S = (year_SY > 0).sum(axis=1) / days_S
    mean_S = np.nansum(year_SY, axis=1, dtype=np.float64) / days_S
    often_S = sold_S >= SOLD_SHARE
    return np.select([often_S & (mean_S >= FAST_MEAN), often_S], [0, 1], default=2).astype(np.int64)


def buckets(horizon: int) -> list[slice]:
    """Those of BUCKETS that a horizon reaches, as slices of its days (day ahead 1 is index 0)."""
    return [slice(first - 1, min(last, horizon)) for first, last in BUCKETS if first <= horizon]


def bucket_names(horizon: int) -> list[str]:
    """Their names, such as "1-7"; the last one may be only partly reached."""
    return [f"{first}-{last}" for first, last in BUCKETS if first <= horizon]
