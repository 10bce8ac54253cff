"""What all sides of an update say, asked at once."""

from models.forecaster import Forecaster
from models.online.updating import Answered, Answering
from models.panel import Panel
from models.parallel import hands, in_parts


def answered(candidate: Forecaster, champion: Forecaster, panel: Panel, cutoff: int) -> Answered:
    """What all sides say at a cutoff."""
    assert candidate.tracking is not None
    levels, parts = candidate.tracking.levels, in_parts(panel.series)
    with hands() as many:
        answering = Answering(candidate, champion, panel, cutoff, parts, levels=levels, many=many)
        return Answered.joined(list(answering.by_state(candidate)))
