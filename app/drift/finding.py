"""Drift as an update finds it: the scored days go through the detectors in order, each once. No SQL here.

Shapes: S series, N segments, X sums (models/online/scoring.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.drift.store import FoundDrift, States, as_kept
from models.online.drift import SEGMENTS, SERIES, Found, losses, watched
from models.online.scoring import Doubles
from models.panel import Floats
from models.segments import SEGMENTS as NAMES

EPOCH = date(1970, 1, 1)
LATELY_DAYS = 7


@dataclass(frozen=True)
class ScoredDay:
    """A day's losses in seasonal errors, of what callers read and of the seasonal naive: of series (S,), of segments (N,)."""

    day: date
    of_series: tuple[Doubles, Doubles]
    of_segments: tuple[Doubles, Doubles]


def scored_day(day: date, live_SX: Floats, naive_SX: Floats, segment_S: NDArray[np.int64]) -> ScoredDay:
    """A day from its sums 1 to 7 days ahead, (S, X), and each series' segment. Only losses are held, which are small."""
    both = (live_SX, naive_SX)
    live_S, naive_S = (losses(sums) for sums in both)
    live_N, naive_N = (losses(_by_segment(sums, segment_S)) for sums in both)
    return ScoredDay(day, (live_S, naive_S), (live_N, naive_N))


@dataclass(frozen=True)
class Watched:
    """The states after the days that were scored, what was found, and how many series were scored on any of them."""

    states: States
    found: list[FoundDrift]
    series: int

    def as_dicts(self) -> list[dict[str, Any]]:
        """The drifts as plain JSON."""
        return [dict(vars(one)) for one in self.found]


@dataclass(frozen=True)
class Rule:
    """When an update learns on because of drift. `percent`: of the series scored, found in the newest LATELY_DAYS days."""

    acts: bool
    series_percent: float


def watch(states: States, days: Sequence[ScoredDay], series_ids: NDArray[np.int64]) -> Watched:
    """Let the detectors see days, in whatever order they were scored."""
    found: list[FoundDrift] = []
    seen_S = np.zeros(len(series_ids), np.bool_)
    for one in sorted(days, key=lambda one: one.day):
        number = (one.day - EPOCH).days
        seen_S |= np.isfinite(one.of_series[0] - one.of_series[1])
        segments, of_segments = watched(states.segments, number, *one.of_segments, SEGMENTS)
        series, of_series = watched(states.series, number, *one.of_series, SERIES)
        states = States(as_kept(series), as_kept(segments))
        found += [_told(of_segments, n, one.day, segment=NAMES[row]) for n, row in enumerate(of_segments.rows)]
        found += [_told(of_series, n, one.day, series_id=int(series_ids[row])) for n, row in enumerate(of_series.rows)]
    return Watched(states, found, int(seen_S.sum()))


def learned_at_once(watched_: Watched, before: set[int], rule: Rule) -> Watched | None:
    """The same with what the rule has the update learn on for marked so; None: it asks for nothing.

    `before`: the series found drifting lately by earlier updates, and not learned from since.
    """
    if not rule.acts:
        return None
    scopes = {"segment"} if any(one.scope == "segment" for one in watched_.found) else set()
    series = {one.series_id for one in watched_.found if one.scope == "series"}
    if series and 100 * len(series | before) >= rule.series_percent * watched_.series:
        scopes.add("series")
    if not scopes:
        return None
    marked = [replace(one, action="fine_tuning") if one.scope in scopes else one for one in watched_.found]
    return replace(watched_, found=marked)


def _by_segment(sums_SX: Floats, segment_S: NDArray[np.int64]) -> Doubles:
    return np.stack([sums_SX[segment_S == n].sum(axis=0, dtype=np.float64) for n in range(len(NAMES))])


def _told(found: Found, at: int, day: date, *, series_id: int | None = None, segment: str | None = None) -> FoundDrift:
    percent = float(found.percent[at])
    return FoundDrift(
        "segment" if series_id is None else "series",
        series_id,
        segment,
        str(day),
        str(EPOCH + timedelta(days=int(found.since[at]))),
        float(found.size[at]),
        None if np.isnan(percent) else percent,
    )
