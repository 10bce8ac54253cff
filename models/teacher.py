"""A trained ensemble as a teacher: what it says of windows that a student learns from. The student is made in distilling.py.

Shapes: B windows, H horizon, Q quantile levels.
"""

from dataclasses import replace

import numpy as np
import torch

from models.adjustment import combine
from models.climatology import KINDS
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

        Climatology, levels and whole units come later: a student learns its own.
        """
        if self.number not in self.lessons:
            mixed = replace(self.forecaster.adjustment, climatology_K=np.zeros(len(KINDS)), levels_NGQ=None)
            mean_BH, quantiles_BHQ = combine(members_of(self.forecaster, windows), mixed)
            self.lessons[self.number] = Lesson(torch.from_numpy(mean_BH), torch.from_numpy(quantiles_BHQ))
        return self.lessons[self.number]
