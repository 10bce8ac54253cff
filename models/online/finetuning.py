"""Fine-tuning (L3): the weights of a lineage are trained on from where they stand, on the sales that came in and on old ones.

Half of every batch are the newest windows, of which days that have not come in are masked; half are a replay of older ones, so
that what was known is not forgotten. What is kept is a slow average that starts at the weights before; the optimiser begins anew
each time, warmed up over a few steps, so the average is all the state there is. What was there before is never changed. Series
it did not know keep the unknown identity. What the newest training did not know is a bounded part of what is drawn.

The shares of climatology are weighed anew as well, by what the networks before, which had not seen them, say of the new days.

Shapes: B windows, H horizon, S series, T days.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.cleaning import Cleaned
from models.fitting import Fit, Schedule, examples_by_context
from models.forecaster import Forecaster, Member
from models.identities import UNKNOWN, Identities
from models.panel import Panel
from models.placement import Placement, RandomNumbers, own_randomness, placement_on
from models.progress import Clock, Report
from models.sampling import WindowSampler, shorten_some
from models.training import cleaned_for
from models.validation import learn_from_newest
from models.windows import WindowSource

NEWEST_DAYS = 28
COMPLETE_SHARE = 0.5
STEPS_A_DAY = 4
FEWEST_STEPS = 20
MOST_STEPS = 112


@dataclass(frozen=True)
class UpdateConfig:
    """How far an update may move. `max_seconds` as in a training. Without `steps` they follow the days that have come in.

    Where the fewest steps are more than the days ask for, the learning rate falls as much, so that many small updates move a
    network as far as one large one.
    """

    steps: int | None = None
    batch_size: int = 256
    learning_rate: float = 2e-3
    decay: float = 0.95
    seed: int = 0
    max_seconds: float = 600.0

    def steps_for(self, days: int) -> int:
        """Steps of an update by so many days."""
        return self.steps or min(max(STEPS_A_DAY * days, FEWEST_STEPS), MOST_STEPS)

    def rate_for(self, days: int) -> float:
        """Learning rate of an update by so many days."""
        asked = 1.0 if self.steps else STEPS_A_DAY * max(days, 1) / self.steps_for(days)
        return self.learning_rate * min(asked, 1.0)


def carried_on(
    forecaster: Forecaster,
    panel: Panel,
    *,
    config: UpdateConfig | None = None,
    report: Report = lambda progress: None,
    part: tuple[float, float] = (0.0, 1.0),
    cleaned: Cleaned | None = None,
    known: Identities | None = None,
) -> Forecaster:
    """A forecaster that has learned from all days of the panel, on its device; `part` is of the progress that is reported. The
    panel is cleaned as the forecaster asks, unless that was done before. `known`: the series that the newest training knew, by
    default the forecaster's own; others are new.

    Raises NonFiniteLoss or TimeLimitReached as a training does.
    """
    settings = config or UpdateConfig()
    clock = Clock(settings.max_seconds, 1, report)
    cleaned = cleaned or cleaned_for(forecaster.config, panel)
    with own_randomness(forecaster.device):
        new_S = (known or forecaster.identities).of(panel)[:, 0] == UNKNOWN
        child = continued(
            forecaster, panel, settings, end=panel.days, clock=clock, part=part, cleaned=cleaned, new_S=new_S
        )
        child.adjustment = learn_from_newest(forecaster, panel, panel.days)
    return child


def last_complete_day(panel: Panel) -> int:
    """The newest day on which at least half as many series have come in as usual in the four weeks before it."""
    count_T = np.isfinite(panel.quantity_ST).sum(axis=0)
    for day in range(panel.days - 1, -1, -1):
        usual = np.median(count_T[max(day - 28, 0) : day + 1])
        if count_T[day] > 0 and count_T[day] >= COMPLETE_SHARE * usual:
            return day
    return panel.days - 1


def continued(
    forecaster: Forecaster,
    panel: Panel,
    config: UpdateConfig,
    *,
    end: int,
    clock: Clock,
    part: tuple[float, float],
    cleaned: Cleaned | None = None,
    new_S: NDArray[np.bool_] | None = None,
) -> Forecaster:
    """A copy of a forecaster, trained on with days before the day index `end`. No later day is read. Of series that are `new_S` a
    bounded part is drawn.

    Its networks take their steps on the same windows, and each becomes what it would become alone.
    """
    source = forecaster.source(panel, cleaned=cleaned)
    placement = placement_on(forecaster.device)
    learned = panel.day_index(forecaster.trained_until)
    newest = max(min(end - 1 - NEWEST_DAYS, learned), 0)
    samplers = [
        WindowSampler(source.quantity_ST, horizon=forecaster.horizon, end=end, first=newest, whole=False, new_S=new_S),
        WindowSampler(source.quantity_ST, horizon=forecaster.horizon, end=end, new_S=new_S),
    ]
    usable = [sampler for sampler in samplers if len(sampler)]
    steps = config.steps_for(end - 1 - learned)
    schedule = Schedule(config.rate_for(end - 1 - learned), steps, warmup_steps=5)
    learners = [_learner(member, config, schedule, placement) for member in forecaster.members]
    rng = np.random.default_rng(config.seed)
    for step in range(steps):
        clock.check("updating", part[0] + (part[1] - part[0]) * step / steps)
        clock.loss = _step(learners, source, usable, config, rng, end=end)
    pairs = zip(forecaster.members, learners, strict=True)
    members = [replace(member, network=learner.fit.averaged) for member, learner in pairs]
    until = panel.start + np.timedelta64(max(end - 1, learned), "D")
    return replace(forecaster, members=members, trained_until=until, twin=None)


@dataclass(frozen=True)
class _Learner:
    """A network that learns on, and the random numbers of its dropout: the same as if it were the only one."""

    fit: Fit
    numbers: RandomNumbers


def _learner(member: Member, config: UpdateConfig, schedule: Schedule, placement: Placement) -> _Learner:
    fit = Fit(
        copy.deepcopy(member.network).requires_grad_(True),
        schedule,
        decay=config.decay,
        keep_start=True,
        placement=placement,
    )
    return _Learner(fit, RandomNumbers(config.seed, placement.device))


def _step(
    learners: list[_Learner],
    source: WindowSource,
    samplers: list[WindowSampler],
    config: UpdateConfig,
    rng: np.random.Generator,
    *,
    end: int,
) -> float:
    """One step of all networks on one batch, drawn from the samplers in equal parts; their mean loss.

    Days at and after `end` are masked.
    """
    share = config.batch_size // len(samplers)
    drawn = [sampler.draw(share, rng) for sampler in samplers]
    series_B = np.concatenate([series for series, _ in drawn])
    cutoff_B = np.concatenate([cutoff for _, cutoff in drawn])
    windows = shorten_some(source.windows(series_B, cutoff_B), rng)
    target_BH = source.targets(series_B, cutoff_B, end=end)
    keys = source.panel.keys
    read = examples_by_context((learner.fit.network for learner in learners), windows, target_BH)
    losses = []
    for learner in learners:
        examples = read[learner.fit.network.config.context_length]
        with learner.numbers.drawn():
            losses.append(learner.fit.step(examples, lambda i: keys[series_B[i]], by_maturity=True))
    return float(np.mean(losses))
