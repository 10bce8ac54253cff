"""What all sides of an update say, asked at once."""

from models.forecast import Forecast
from models.forecaster import Forecaster
from models.online.updating import Answering, Forecasts
from models.panel import Panel
from models.parallel import AT_ONCE, hands, in_parts


def answered(
    candidate: Forecaster, champion: Forecaster, panel: Panel, cutoff: int, *, at_once: int = AT_ONCE
) -> Forecasts:
    """What all sides say at a cutoff, so many series at a time."""
    assert candidate.tracking is not None
    levels, common = candidate.tracking.levels, candidate.tracking.common
    with hands() as many:
        answering = Answering(
            candidate,
            champion,
            panel,
            cutoff,
            in_parts(panel.series, at_once=at_once),
            levels=levels,
            common=common,
            many=many,
        )
        return together(answering, candidate, panel)


def together(answering: Answering, candidate: Forecaster, panel: Panel) -> Forecasts:
    """Its parts as one."""
    parts = [part.forecasts for part in answering.by_state(candidate)]
    sides = ([getattr(part, side) for part in parts] for side in ("candidate", "champion", "frozen"))
    said = Forecasts(*map(Forecast.joined, sides))
    assert len(said.frozen.mean_SH) == panel.series
    return said
