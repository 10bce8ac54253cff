"""How long ago each series' item was launched, as a covariate known on every day, where somebody has said when that was.

What somebody has told under the same name stands. A series whose launch is not known is not known here either (NaN): how much of
its past there is a network sees anyway.

Shapes: S series, T days, P = T + days ahead.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.panel import Floats, Panel, known_ahead

AGE = "age"
"""Days since the launch, 1 on that day and before it, OLD from then on. Never zero: logarithms are compared (covariates.py)."""
OLD = 364
"""Days after which an item is not new any more: an age without an end is always beyond what was trained on."""


def with_ages(panel: Panel, launched_S: NDArray[np.datetime64], *, ahead: int) -> Panel:
    """The panel with the age of each series on all its days and at least `ahead` after; `launched_S` is NaT where not known.

    All known covariates reach equally far afterwards. A panel that has `age` as a past covariate keeps that instead.
    """
    if AGE in panel.past:
        return panel
    width, known = known_ahead(panel, ahead)
    days_SP = panel.start.astype("datetime64[D]") + np.arange(width) - launched_S.astype("datetime64[D]")[:, None]
    age_SP: Floats = np.where(np.isnat(days_SP), np.nan, np.clip(days_SP.astype(np.float64) + 1, 1, OLD)).astype(
        np.float32
    )
    told_SP = known.get(AGE)
    known[AGE] = age_SP if told_SP is None else np.where(np.isnan(told_SP), age_SP, told_SP)
    return replace(panel, known=known)
