"""A forecast: what every source of forecasts answers with.

Shapes: S series, H horizon, Q quantile levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.days import Index
from models.panel import Floats


@dataclass(frozen=True)
class Forecast:
    """Days ahead of each series' cutoff, in units sold: the mean, and quantiles that never cross nor go below zero."""

    mean_SH: Floats
    quantiles_SHQ: Floats
    levels_Q: NDArray[np.float64]

    def days(self, horizon: int) -> "Forecast":
        """The first `horizon` days."""
        return Forecast(self.mean_SH[:, :horizon], self.quantiles_SHQ[:, :horizon], self.levels_Q)

    def rows(self, series: Sequence[int] | Index | slice) -> "Forecast":
        return Forecast(self.mean_SH[series], self.quantiles_SHQ[series], self.levels_Q)

    @classmethod
    def joined(cls, parts: "Sequence[Forecast]") -> "Forecast":
        """Of the series of several forecasts, one after the other."""
        mean_SH = np.concatenate([part.mean_SH for part in parts])
        return cls(mean_SH, np.concatenate([part.quantiles_SHQ for part in parts]), parts[0].levels_Q)
