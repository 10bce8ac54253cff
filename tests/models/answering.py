"""What all sides of an update say, asked at once."""

from models.forecaster import Forecaster
from models.online.updating import Answering, Forecasts
from models.panel import Panel
from models.parallel import hands, in_parts


def answered(candidate: Forecaster, champion: Forecaster, panel: Panel, cutoff: int) -> Forecasts:
    """What all sides say at a cutoff."""
    assert candidate.tracking is not None
    levels, common = candidate.tracking.levels, candidate.tracking.common
    with hands() as many:
        answering = Answering(
            candidate, champion, panel, cutoff, in_parts(panel.series), levels=levels, common=common, many=many
        )
        return Forecasts.joined([part.forecasts for part in answering.by_state(candidate)])
