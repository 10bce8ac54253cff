"""Days that come in one after the other: learned from by what had been said of them, at the speeds that are switched on.

`Stream` is the loop of a forecaster's life without a service around it: issue, wait, learn, issue. It holds what was said of the
days ahead as long as they have not come in. The service does the same with what it has stored.

Shapes: S series, J days ahead of which a day was forecast, H horizon, Q quantile levels.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.cleaning import Cleaned
from models.days import take_days
from models.forecaster import Forecaster
from models.inference import Issued, answerable, issue
from models.online.common_shifts import common_shifts
from models.online.finetuning import UpdateConfig, carried_on
from models.online.tracking import Matured, learned, seasonal_error, untracked
from models.panel import Floats, Panel
from models.progress import Report
from models.windows import MEMORY

FINE_TUNING_DAYS = 7


@dataclass(frozen=True)
class Speeds:
    """Which speeds of updating are on. `levels` and `weights`: L1; `quantiles`: L2; `fine_tuning`: L3, every so many days."""

    levels: bool = True
    weights: bool = True
    quantiles: bool = True
    fine_tuning: bool = True


def tracked(forecaster: Forecaster, panel: Panel, *, speeds: Speeds) -> Forecaster:
    """A forecaster that is ready to learn from days after its newest one: with a state for each series of the panel."""
    if forecaster.tracking is not None:
        return replace(forecaster, tracking=forecaster.tracking.of(panel.keys))
    tracking = untracked(list(panel.keys), forecaster.trained_until)
    return replace(forecaster, tracking=replace(tracking, levels=speeds.levels))


def fine_tuned(
    forecaster: Forecaster,
    panel: Panel,
    *,
    config: UpdateConfig | None = None,
    report: Report = lambda progress: None,
    part: tuple[float, float] = (0.0, 1.0),
    cleaned: Cleaned | None = None,
) -> Forecaster:
    """The forecaster with a lineage that has learned from all days of the panel; the networks as trained stay beside it."""
    before = forecaster.lineage or replace(forecaster, tracking=None, twin=None)
    known = forecaster.identities
    lineage = carried_on(before, panel, config=config, report=report, part=part, cleaned=cleaned, known=known)
    return replace(forecaster, lineage=lineage)


def renewed(before: Forecaster, fresh: Forecaster, *, speeds: Speeds) -> Forecaster:
    """A forecaster with networks trained from scratch in the place of those as trained (L4). Its lineage goes on beside them, and
    what quantiles had to be shifted by stays, as far as these speeds are on; how much the lineage counts begins anew. Networks of
    another kind begin alone."""
    state = before.tracking
    if state is None or not fresh.same_kind(before):
        return fresh
    shift_SGQ = state.shift_SGQ if speeds.quantiles else np.zeros_like(state.shift_SGQ)
    tracking = replace(state, lean_SG=np.zeros_like(state.lean_SG), shift_SGQ=shift_SGQ, levels=speeds.levels)
    return replace(fresh, tracking=tracking, lineage=before.lineage if speeds.fine_tuning else None)


def issued_at(forecaster: Forecaster, panel: Panel, cutoff: int) -> Issued:
    """As `inference.issue`, as far as it may be learned from."""
    return heard(issue(forecaster, panel, cutoff), ~answerable(panel, cutoff))


def heard(said: Issued, few_S: NDArray[np.bool_]) -> Issued:
    """The same; experts say nothing (NaN) of series that a network may not answer for, `few_S`: nothing is learned there."""
    for quantiles_SHQ in (said.trained_SHQ, said.lineage_SHQ):
        if quantiles_SHQ is not None:
            quantiles_SHQ[few_S] = np.nan
    return said


def matured(panel: Panel, day: int, said: dict[int, Issued], horizon: int) -> Matured:
    """The day index `day` beside what was said of it at the cutoffs before, as far as `said` holds them by day index."""
    everything = [said.get(day - ahead) for ahead in range(1, horizon + 1)]
    like = next(one for one in everything if one is not None).trained_SHQ
    unsaid_SQ = np.full((like.shape[0], like.shape[2]), np.nan, np.float32)
    trained = [unsaid_SQ if one is None else one.trained_SHQ[:, j] for j, one in enumerate(everything)]
    lineage = [
        unsaid_SQ if one is None or one.lineage_SHQ is None else one.lineage_SHQ[:, j]
        for j, one in enumerate(everything)
    ]
    has_lineage = any(one is not None and one.lineage_SHQ is not None for one in everything)
    return Matured(
        panel.start + np.timedelta64(day, "D"),
        panel.quantity_ST[:, day],
        scales(panel, day - 1),
        np.stack(trained, axis=1),
        np.stack(lineage, axis=1) if has_lineage else None,
    )


def scales(panel: Panel, cutoff: int) -> Floats:
    """Each series' seasonal error as a forecast from the cutoff sees it, (S,)."""
    first_S = np.full(panel.series, cutoff - MEMORY + 1, np.int64)
    return seasonal_error(take_days(panel.quantity_ST, np.arange(panel.series), first_S, MEMORY))


class Stream:
    """A forecaster that lives on with a panel whose days come in. All series are forecast at every cutoff."""

    def __init__(self, forecaster: Forecaster, panel: Panel, *, speeds: Speeds, seed: int = 0) -> None:
        self.panel, self.speeds, self.seed = panel, speeds, seed
        self.forecaster = tracked(forecaster, panel, speeds=speeds)
        self.said: dict[int, Issued] = {}
        self._fine_tuned = panel.day_index(forecaster.trained_until)

    def learn(self, day: int) -> None:
        """Learn from a day that has come in, if anything was said of it, and learn on where it is time."""
        speeds, horizon = self.speeds, self.forecaster.horizon
        assert self.forecaster.tracking is not None
        if any(day - ahead in self.said for ahead in range(1, horizon + 1)):
            came = matured(self.panel, day, self.said, horizon)
            state = learned(self.forecaster.tracking, came, weights=speeds.weights, quantiles=speeds.quantiles)
            common = common_shifts(self.panel, day) if speeds.levels else None
            self.forecaster = replace(self.forecaster, tracking=replace(state, common=common))
        self.said = {cutoff: one for cutoff, one in self.said.items() if cutoff > day - horizon}
        if speeds.fine_tuning and day - self._fine_tuned >= FINE_TUNING_DAYS:
            seen = self.panel.until(self.panel.start + np.timedelta64(day, "D"))
            self.forecaster = fine_tuned(self.forecaster, seen, config=UpdateConfig(seed=self.seed + day))
            self._fine_tuned = day

    def replace(self, fresh: Forecaster, day: int) -> None:
        """Go on with networks trained from scratch on all days up to `day` (L4)."""
        fresh = renewed(self.forecaster, replace(fresh, twin=None), speeds=self.speeds)
        self.forecaster = tracked(fresh, self.panel, speeds=self.speeds)
        if self.forecaster.lineage is None:
            self._fine_tuned = day

    def issue(self, cutoff: int) -> Issued:
        """What is said at a cutoff, kept until its days have come in."""
        self.said[cutoff] = issued_at(self.forecaster, self.panel, cutoff)
        return self.said[cutoff]
