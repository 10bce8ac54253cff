"""What all sides of an update say, asked at once."""

import numpy as np

from models.forecaster import Forecaster
from models.online.updating import Answering, Forecasts
from models.panel import Panel
from models.parallel import hands, in_parts


def answered(candidate: Forecaster, champion: Forecaster, panel: Panel, cutoff: int) -> Forecasts:
    """What all sides say at a cutoff."""
    assert candidate.tracking is not None
    odds_D = candidate.tracking.odds_at(panel.start + np.timedelta64(cutoff, "D"))
    with hands() as many:
        answering = Answering(candidate, champion, panel, cutoff, in_parts(panel.series), odds_D=odds_D, many=many)
        return Forecasts.joined([part.forecasts for part in answering.by_state(candidate)])
