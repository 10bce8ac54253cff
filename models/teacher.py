"""A trained ensemble as a teacher: what it says of windows that a student learns from. The student is made in distilling.py.

Shapes: B windows, H horizon, Q quantile levels.
"""

import numpy as np
import torch

from models.adjustment import averaged, heads
from models.fitting import Lesson
from models.forecaster import Forecaster
from models.inference import members_of
from models.windows import Windows

MOST_BATCHES = 32
"""Different batches that a student learns from, again and again: the ensemble takes five times as long for one as the student."""
MOST_DAYS = 2_000_000
"""Days of windows for which lessons are kept: 150 MB."""


class Teacher:
    """A forecaster that is asked once for each of a few batches, which come round in turns. Each has a generator of its own.

    `batch` goes on to the next one; `lesson` is about that.
    """

    def __init__(self, forecaster: Forecaster, *, seed: int, batch_size: int) -> None:
        self.forecaster, self.seed = forecaster, seed
        self.batches = max(1, min(MOST_BATCHES, MOST_DAYS // (batch_size * forecaster.horizon)))
        self.number = -1
        self.lessons: dict[int, Lesson] = {}

    def batch(self) -> np.random.Generator:
        """What draws the next batch, the same windows each time round."""
        self.number = (self.number + 1) % self.batches
        return np.random.default_rng((self.seed, self.number))

    def lesson(self, windows: Windows) -> Lesson:
        """Mean and quantiles of the batch's windows: members by weight, heads by share, nothing else.

        Climatology, levels, whole units and the area's mean come later: a student learns its own.
        """
        if self.number not in self.lessons:
            mixture, adjustment = members_of(self.forecaster, windows), self.forecaster.adjustment
            mean_BH = averaged(adjustment.weights_M, mixture.mean_MBH)
            quantiles_BHQ = heads(mixture, adjustment)
            self.lessons[self.number] = Lesson(torch.from_numpy(mean_BH), torch.from_numpy(quantiles_BHQ))
        return self.lessons[self.number]
