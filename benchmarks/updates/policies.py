"""Policies of keeping a forecaster up to date, replayed day by day: from frozen over every speed of updating to retraining.

Each is replayed alone from the same trained champion: every day is posted, learned from as the policy says, and all series are
forecast. Only cutoffs whose whole horizon has come in count.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from benchmarks.accuracy import forecast_at, seen
from benchmarks.updates.losses import Losses
from models.baselines import BASELINES
from models.fallback import fallback
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.inference import answerable
from models.online.finetuning import UpdateConfig
from models.online.stream import FINE_TUNING_DAYS, Speeds, Stream, fine_tuned
from models.panel import Panel

RETRAINING_DAYS = 28
OLD_STEPS = 28
FROZEN = Speeds(levels=False, weights=False, quantiles=False, fine_tuning=False)
STREAMS = {
    "frozen": FROZEN,
    "L1": Speeds(quantiles=False, fine_tuning=False),
    "L2": Speeds(fine_tuning=False),
    "L3": Speeds(),
    "L3 weights fixed": Speeds(weights=False),
    "L2 no levels": Speeds(levels=False, fine_tuning=False),
    "L3 no levels": Speeds(levels=False),
    "L3 alone": Speeds(levels=False, weights=False, quantiles=False),
}
"""Policies that never train from scratch: what each switches on."""
Retrained = Callable[[int], tuple[Forecaster, float]]
"""A forecaster trained on what is known at a cutoff (a day index), and the seconds that this took."""


class Replay:
    """A panel and the span of cutoffs that are replayed."""

    def __init__(self, panel: Panel, *, days: int, horizon: int, seed: int) -> None:
        self.panel, self.horizon, self.seed = panel, horizon, seed
        self.first = panel.days - 1 - days
        self.cutoffs = range(self.first, panel.days - horizon)

    def scored(self, forecasts: Iterator[Forecast], losses: Losses) -> Losses:
        """All forecasts of a policy, one a cutoff, added up."""
        before: Forecast | None = None
        for at, (cutoff, forecast) in enumerate(zip(self.cutoffs, forecasts, strict=True)):
            losses.add(forecast, self.panel, cutoff, at)
            if before is not None:
                losses.moves(before, forecast, at)
            before = forecast
        return losses

    def empty(self) -> Losses:
        return Losses.empty(len(self.cutoffs), self.horizon)

    def last(self, days: int) -> "Replay":
        """The same over the last so many days only."""
        return Replay(self.panel, days=days, horizon=self.horizon, seed=self.seed)

    def with_fallback(self, forecast: Forecast, cutoff: int) -> Forecast:
        """Series too short for a network are answered as the service would."""
        short = np.flatnonzero(~answerable(self.panel, cutoff))
        if short.size:
            simple, _, _ = fallback(self.panel.rows(short), cutoff, self.horizon)
            forecast.mean_SH[short], forecast.quantiles_SHQ[short] = simple.mean_SH, simple.quantiles_SHQ
        return forecast


def streamed(replay: Replay, champion: Forecaster, speeds: Speeds, *, retrained: Retrained | None = None) -> Losses:
    """A policy of updates; with `retrained` also one that trains from scratch every RETRAINING_DAYS (L4)."""
    losses = replay.empty()

    def forecasts() -> Iterator[Forecast]:
        stream = Stream(champion, replay.panel, speeds=speeds, seed=replay.seed)
        for at, cutoff in enumerate(replay.cutoffs):
            started = time.process_time()
            if cutoff > replay.first:
                stream.learn(cutoff)
            losses.costs["update_seconds"][at] = time.process_time() - started
            if retrained is not None and cutoff > replay.first and (cutoff - replay.first) % RETRAINING_DAYS == 0:
                fresh, seconds = retrained(cutoff)
                losses.costs["training_seconds"][at] = seconds
                stream.replace(fresh, cutoff)
            yield replay.with_fallback(stream.issue(cutoff).forecast, cutoff)

    return replay.scored(forecasts(), losses)


def old_days(replay: Replay, champion: Forecaster) -> Losses:
    """The control: as many steps of fine-tuning as L3 takes, on days from before the replay alone, mixed half and half with the
    champion. What it wins is training, or two experts instead of one, not news."""
    losses = replay.empty()
    before = seen(replay.panel, replay.first)

    def forecasts() -> Iterator[Forecast]:
        stream = Stream(champion, replay.panel, speeds=FROZEN)
        for cutoff in replay.cutoffs:
            if cutoff > replay.first and (cutoff - replay.first) % FINE_TUNING_DAYS == 0:
                config = UpdateConfig(seed=replay.seed + cutoff, steps=OLD_STEPS)
                stream.forecaster = fine_tuned(stream.forecaster, before, config=config)
            yield replay.with_fallback(stream.issue(cutoff).forecast, cutoff)

    return replay.scored(forecasts(), losses)


def retraining(replay: Replay, champion: Forecaster, retrained: Retrained, *, every: int) -> Losses:
    """Training from scratch every so many days, and nothing else."""
    losses = replay.empty()

    def forecasts() -> Iterator[Forecast]:
        present = champion
        for at, cutoff in enumerate(replay.cutoffs):
            if at > 0 and at % every == 0:
                present, losses.costs["training_seconds"][at] = retrained(cutoff)
            yield forecast_at(replace(present, twin=None), replay.panel, cutoff)

    return replay.scored(forecasts(), losses)


def seasonal_naive(replay: Replay) -> Losses:
    naive = BASELINES["seasonal_naive"]
    return replay.scored((naive(replay.panel, cutoff, replay.horizon) for cutoff in replay.cutoffs), replay.empty())
