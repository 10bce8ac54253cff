"""Drift: what callers read has become worse than it used to be, beside the seasonal naive. Found by day, many streams at once.

A stream is a series or a segment. Its number of a day is the difference of two logarithms: that of the loss of what callers read
1 to 7 days ahead, and that of the seasonal naive's. A day that is hard for everybody moves both. What is usual of a stream (level
and spread) is learned from its own days, and how far a day lies off in units of the spread goes to a Page-Hinkley test (Page
1954; with a fading sum as in Sebastião and Fernandes 2017). That adds up what exceeds its mean, and alarms once the sum has risen
too far above its lowest point. Only worse alarms. The numbers are those of river's `drift.PageHinkley` (mode "up"), step by step;
docs/decisions.md says why it is not that object.

Pure: a state and a day give the next state and what was found; a day that a stream was not scored on leaves it as it is.

Shapes: D streams (series or segments), C columns of a state, X sums (scoring.py).
"""

from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.online.scoring import SUMS, Doubles

Flags = NDArray[np.bool_]
SMALLEST_LOSS = 0.05
"""Seasonal errors below which a loss before is too small for a percentage to tell anything."""
ADDED = 0.2
"""Seasonal errors added to both losses before their logarithms are taken, so that none next to nothing counts for much."""


@dataclass(frozen=True)
class Detector:
    """How streams are watched.

    `delta` and `threshold` are in spreads, `alpha` is how much of the sum is left after a day. `learning`: observed days from
    which a stream learns what is usual before it is watched. `memory`: days after which the usual follows with 1/memory a day.
    `capped`: the most spreads that one day counts. `smallest`: the least spread. `primed`: usual days that a test that begins
    anew is taken to have seen. `forgets`: whether the usual is learned anew after an alarm; where it is not, drift that goes on
    is found again.
    """

    delta: float
    threshold: float
    capped: float = 3.0
    alpha: float = 1.0
    learning: int = 28
    memory: int = 91
    smallest: float = 0.05
    primed: int = 28
    forgets: bool = True


SERIES = Detector(delta=0.75, threshold=11.0, capped=2.0)
SEGMENTS = Detector(delta=1.0, threshold=10.0, capped=3.0, smallest=0.01, forgets=False)
"""Chosen on the year before the last of three files; benchmarks/results/drift.md has what they find on the last."""


@dataclass(frozen=True)
class PageHinkley:
    """The test's state, each (D,): days counted, their mean, the sum of what exceeds it, and the sum's lowest point."""

    count_D: Doubles
    mean_D: Doubles
    sum_D: Doubles
    lowest_D: Doubles


@dataclass(frozen=True)
class Drift(PageHinkley):
    """The whole state of streams, each (D,).

    `seen`: observed days that the usual was learned from: `level` and `spread` of the number of a day; `loss`, and how much that
    is above the seasonal naive's (`above`), in seasonal errors. Since the sum's lowest point: `days` observed, the first of them
    (`since`, a day number), their summed losses above the naive's (`excess`); and what was usual then, `above_before` and
    `loss_before`.
    """

    seen_D: Doubles
    level_D: Doubles
    spread_D: Doubles
    loss_D: Doubles
    above_D: Doubles
    days_D: Doubles
    since_D: Doubles
    excess_D: Doubles
    above_before_D: Doubles
    loss_before_D: Doubles

    def as_array(self) -> Doubles:
        """All of it as one array, (D, C)."""
        return np.stack(astuple(self), axis=1)

    @classmethod
    def of(cls, state_DC: Doubles) -> "Drift":
        return cls(*np.ascontiguousarray(state_DC.T))

    def rows(self, rows: NDArray[np.int64]) -> "Drift":
        """The state of some of the streams."""
        return Drift.of(self.as_array()[rows])


COLUMNS = len(fields(Drift))


@dataclass(frozen=True)
class Found:
    """What a day brought: the streams that drift (row of the state), since which day number each, how much larger their loss less
    the naive's has been since then (in seasonal errors), and that in percent of the loss before (NaN: too small to tell)."""

    rows: NDArray[np.int64]
    since: NDArray[np.int64]
    size: Doubles
    percent: Doubles


def untouched(streams: int, detector: Detector) -> Drift:
    """The state of streams that nothing was seen of."""
    nothing_D = np.zeros(streams)
    test = primed(streams, detector)
    return Drift(
        *(getattr(test, field.name) for field in fields(PageHinkley)),
        *(nothing_D for _ in range(COLUMNS - len(fields(PageHinkley)))),
    )


def unseen(streams: int) -> PageHinkley:
    """The test before its first day."""
    nothing_D = np.zeros(streams)
    return PageHinkley(nothing_D, nothing_D, nothing_D, np.full(streams, np.inf))


def primed(streams: int, detector: Detector) -> PageHinkley:
    """The test after `primed` usual days: what a worse level is measured by is then the usual one, not the first days' own."""
    test = unseen(1)
    for _ in range(detector.primed):
        test = counted(test, np.zeros(1), detector)
    return PageHinkley(*(np.repeat(values, streams) for values in astuple(test)))


def counted(test: PageHinkley, x_D: Doubles, detector: Detector) -> PageHinkley:
    """The test after one more number of each stream; NaN leaves it as it is."""
    known_D = np.isfinite(x_D)
    count_D = test.count_D + known_D
    mean_D = test.mean_D + 1.0 / np.maximum(count_D, 1.0) * (x_D - test.mean_D)
    sum_D = detector.alpha * test.sum_D + (x_D - mean_D) - detector.delta
    return PageHinkley(
        count_D,
        np.where(known_D, mean_D, test.mean_D),
        np.where(known_D, sum_D, test.sum_D),
        np.where(known_D, np.minimum(sum_D, test.lowest_D), test.lowest_D),
    )


def drifting(test: PageHinkley, detector: Detector) -> Flags:
    """Whether the sum has risen above its lowest point by more than the threshold."""
    found_D: Flags = test.sum_D - test.lowest_D > detector.threshold
    return found_D


def watched(state: Drift, day: int, loss_D: Doubles, naive_D: Doubles, detector: Detector) -> tuple[Drift, Found]:
    """The state after a day (a day number), and what was found: `loss` and `naive` in seasonal errors, NaN where not scored."""
    above_D = loss_D - naive_D
    known_D = np.isfinite(above_D)
    ready_D = known_D & (state.seen_D >= detector.learning)
    spread_D = np.maximum(state.spread_D, detector.smallest)
    off_D = np.log(loss_D + ADDED) - np.log(naive_D + ADDED) - state.level_D
    capped_D = np.clip(off_D, -detector.capped * spread_D, detector.capped * spread_D)
    test = counted(state, np.where(ready_D, capped_D / spread_D, np.nan), detector)
    usual = _learned(state, np.where(ready_D, capped_D, off_D), loss_D, above_D, detector)
    after = _since_lowest(replace(usual, **vars(test)), state, day, np.where(ready_D, above_D, np.nan))
    drifting_D = ready_D & drifting(after, detector)
    return _anew(after, drifting_D, detector), _found(after, np.flatnonzero(drifting_D))


def _learned(state: Drift, off_D: Doubles, loss_D: Doubles, above_D: Doubles, detector: Detector) -> Drift:
    """What is usual, a day later: means over all days seen at first, then fading ones."""
    known_D = np.isfinite(above_D)
    seen_D = state.seen_D + known_D
    share_D = known_D / np.clip(seen_D, 1.0, detector.memory)
    off_D = np.where(known_D, off_D, 0.0)
    return replace(
        state,
        seen_D=seen_D,
        level_D=state.level_D + share_D * off_D,
        spread_D=state.spread_D + share_D * (np.abs(off_D) - state.spread_D),
        loss_D=state.loss_D + share_D * np.where(known_D, loss_D - state.loss_D, 0.0),
        above_D=state.above_D + share_D * np.where(known_D, above_D - state.above_D, 0.0),
    )


def _since_lowest(after: Drift, before: Drift, day: int, above_D: Doubles) -> Drift:
    """What has been added up since the sum's lowest point, a day later; from a new one on it begins anew."""
    lower_D, known_D = after.lowest_D < before.lowest_D, np.isfinite(above_D)
    days_D = np.where(lower_D, 0.0, before.days_D + known_D)
    still_D = days_D == 0
    return replace(
        after,
        days_D=days_D,
        since_D=np.where(known_D & (days_D == 1), float(day), before.since_D),
        excess_D=np.where(lower_D, 0.0, before.excess_D + np.where(known_D, above_D, 0.0)),
        above_before_D=np.where(still_D, after.above_D, before.above_before_D),
        loss_before_D=np.where(still_D, after.loss_D, before.loss_before_D),
    )


def _found(state: Drift, rows: NDArray[np.int64]) -> Found:
    size = state.excess_D[rows] / state.days_D[rows] - state.above_before_D[rows]
    before = state.loss_before_D[rows]
    percent = np.where(before >= SMALLEST_LOSS, 100 * size / np.maximum(before, SMALLEST_LOSS), np.nan)
    return Found(rows, state.since_D[rows].astype(np.int64), size, percent)


def _anew(state: Drift, drifting_D: Flags, detector: Detector) -> Drift:
    """The test of streams that alarmed begins anew."""
    if not drifting_D.any():
        return state
    fresh = untouched(len(drifting_D), detector)
    if not detector.forgets:
        kept = {name: getattr(state, name) for name in ("seen_D", "level_D", "spread_D", "loss_D", "above_D")}
        fresh = replace(fresh, **kept, above_before_D=state.above_D, loss_before_D=state.loss_D)
    return Drift.of(np.where(drifting_D[:, None], fresh.as_array(), state.as_array()))


def losses(sums_DX: NDArray[Any]) -> Doubles:
    """The mean loss of sums, in seasonal errors, (D,); NaN where nothing was scored in these units."""
    days_D = sums_DX[:, SUMS.index("scaled_days")].astype(np.float64)
    total_D = sums_DX[:, SUMS.index("scaled_pinball")].astype(np.float64)
    found_D: Doubles = np.where(days_D > 0, total_D / np.maximum(days_D, 1.0), np.nan)
    return found_D
