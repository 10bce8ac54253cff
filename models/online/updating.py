"""One update: from a version and the days that have come in to the next state, and what it says now beside its champion.

Pure: the same version and the same days give the same result. What the experts had said of the days is handed in; where it was
kept is the service's matter. What comes of it is judged by the gate (gate.py).

Shapes: S series, H horizon, Q quantile levels, T days.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cleaning import Findings, nothing_found
from models.days import Index
from models.evaluation import Source, evaluate
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.heldout import judged
from models.inference import Experts, Issued, answerable, asked, by_state, issue, predict
from models.online.common_shifts import CommonShifts, odds_at
from models.online.finetuning import UpdateConfig
from models.online.gate import Check, Limits, Sanity, hard_checks, moved_check, replay_checks
from models.online.stream import FINE_TUNING_DAYS, Speeds, fine_tuned, heard, tracked
from models.online.tracking import Matured, Tracking, corrected, learned
from models.panel import Floats, Panel
from models.parallel import Hands
from models.progress import Report
from models.sampling import FEWEST_SEEN_DAYS
from models.training import cleaned_for

REPLAY_WEEKS = 4
REPLAY_SERIES = 500
"""More than any of the files has on which the limits of the replays were chosen."""
BATCH = 1024
"""Windows at once where all series are answered: a process that keeps its memory has fewer calls to make for as much work."""
OLDER_DAYS = 56
"""The older replay begins so long before the newest day: what was said there is past before the newest four weeks begin."""
REPLAY_NOTE = "Of this version and its champion on the newest days, which both may know. The verdict says what decided."


class NothingNew(Exception):
    """No day has come in since the version last learned. Not a failure."""


@dataclass(frozen=True)
class Forecasts:
    """What is forecast for all series at the newest day: by the update, by its champion, by the networks as trained without any
    update."""

    candidate: Forecast
    champion: Forecast
    frozen: Forecast


@dataclass(frozen=True)
class Looks:
    """What the checks look at of the same, series by series. `moved_S`: how far the update's means are from the champion's,
    summed over the days ahead, `level_S` the sum of the champion's."""

    candidate: Sanity
    champion: Sanity
    frozen: Sanity
    moved_S: Floats
    level_S: Floats

    @classmethod
    def at(cls, said: Forecasts) -> "Looks":
        with np.errstate(invalid="ignore"):
            moved_S: Floats = np.abs(said.candidate.mean_SH - said.champion.mean_SH).sum(axis=1)
        candidate, champion, frozen = (Sanity.of(one) for one in (said.candidate, said.champion, said.frozen))
        return cls(candidate, champion, frozen, moved_S, said.champion.mean_SH.sum(axis=1))

    @classmethod
    def joined(cls, parts: "Sequence[Looks]") -> "Looks":
        """At the series of several parts, one after the other."""
        return cls(
            Sanity.joined([part.candidate for part in parts]),
            Sanity.joined([part.champion for part in parts]),
            Sanity.joined([part.frozen for part in parts]),
            np.concatenate([part.moved_S for part in parts]),
            np.concatenate([part.level_S for part in parts]),
        )


@dataclass(frozen=True)
class Answered:
    """The same with the experts behind what the update says."""

    experts: Issued
    champion: Forecast
    frozen: Forecast

    @property
    def forecasts(self) -> Forecasts:
        return Forecasts(self.experts.forecast, self.champion, self.frozen)


def advanced(
    head: Forecaster,
    panel: Panel,
    came: Iterable[Matured],
    again: Iterable[Matured],
    *,
    speeds: Speeds,
    common: CommonShifts | None,
) -> Forecaster:
    """The version after the days that came in, oldest first (L1, L2); `again` are days learned before and corrected since,
    `common` the shifts that many series have at the newest day."""
    forecaster = tracked(head, panel, speeds=speeds)
    state = forecaster.tracking
    assert state is not None
    for day in again:
        state = corrected(state, day, weights=speeds.weights, quantiles=speeds.quantiles)
    for day in came:
        state = learned(state, day, weights=speeds.weights, quantiles=speeds.quantiles)
    return replace(forecaster, tracking=replace(state, levels=speeds.levels, common=common if speeds.levels else None))


def fine_tuning_due(head: Forecaster, newest: np.datetime64) -> bool:
    """Whether a week of days has come in since the networks last learned."""
    last = (head.lineage or head).trained_until
    return bool((newest - last).astype(np.int64) >= FINE_TUNING_DAYS)


def learned_on(
    forecaster: Forecaster, panel: Panel, *, config: UpdateConfig, report: Report
) -> tuple[Forecaster, Findings]:
    """The version with its lineage trained on (L3), and what cleaning found in the sales that it learned from."""
    cleaned = cleaned_for(forecaster.config, panel)
    learned_ = fine_tuned(forecaster, panel, config=config, report=report, part=(0.2, 0.8), cleaned=cleaned)
    return learned_, nothing_found() if cleaned is None else cleaned.findings


class Answering:
    """What all sides say at a cutoff, nothing (NaN) of series that a network may not answer for: callers read another method's
    forecast of them. Networks are asked part by part of the series as soon as this is made, since nothing that is learned of the
    series meanwhile changes what they say; `by_state` answers by the state that was learned."""

    def __init__(
        self,
        head: Forecaster,
        champion: Forecaster,
        panel: Panel,
        cutoff: int,
        parts: Sequence[Index],
        *,
        levels: bool,
        common: CommonShifts | None,
        many: Hands,
    ) -> None:
        """`head` has the networks of the update that is answered for; `levels` tells whether levels will count for it, `common`
        which common shifts it knows of. `parts` are the series, some rows at a time."""
        day = panel.start + np.timedelta64(cutoff, "D")
        odds_D = odds_at(day, common) if levels else None
        self._panel, self._cutoff, self._rows, self._champion = panel, cutoff, parts, champion
        theirs_D = None if champion.tracking is None else champion.tracking.odds_at(day)
        self._before = _state_beside(head, champion, levels=levels)
        self.as_read = theirs_D is None or odds_D is None or np.array_equal(theirs_D, odds_D)
        """Whether what is said of the champion is what it says to callers. It is not where it knows of other common shifts than
        the update: then it is what it would say if it knew the same, so that both are judged by what they learned themselves."""
        alone = self._before is None and not _untouched(head, champion)
        knowing = champion if self.as_read else _with_common(champion, common)

        def part(rows: Index) -> tuple[Experts, Forecast | None]:
            some = panel.rows(rows)
            experts = asked(head, some, cutoff, odds=odds_D, frozen=True, batch_size=BATCH)
            return experts, predict(knowing, some, cutoff, batch_size=BATCH) if alone else None

        self._parts = deque(many.give(part, rows) for rows in parts)

    def by_state(self, candidate: Forecaster) -> Iterator[Answered]:
        """What is answered for each part, in their order, as soon as its networks have spoken. Only once: what they said is let
        go with its part."""
        for rows in self._rows:
            experts, champion = self._parts.popleft().result()
            some = self._panel.rows(rows)
            ours, before = (
                None if state is None else by_state(candidate, experts, state.of(some.keys), batch_size=BATCH)
                for state in (candidate.tracking, self._before)
            )
            assert ours is not None and experts.frozen is not None
            few_S = ~answerable(some, self._cutoff)
            ours, champion, frozen = (
                _read(one, few_S) for one in (ours, before or champion or experts.frozen, experts.frozen)
            )
            yield Answered(heard(experts.issued(ours), few_S), champion, frozen)

    def champion_as_read(self, many: Hands) -> list[Forecast]:
        """What the champion says to callers, part by part: networks are asked for it."""
        panel, cutoff = self._panel, self._cutoff
        parts = [many.give(predict, self._champion, panel.rows(rows), cutoff, batch_size=BATCH) for rows in self._rows]
        pairs = zip(self._rows, parts, strict=True)
        return [_read(part.result(), ~answerable(panel.rows(rows), cutoff)) for rows, part in pairs]


def _read(said: Forecast, few_S: NDArray[np.bool_]) -> Forecast:
    """The same without the series that a network may not answer for."""
    said.mean_SH[few_S] = np.nan
    said.quantiles_SHQ[few_S] = np.nan
    return said


def _untouched(head: Forecaster, champion: Forecaster) -> bool:
    """Whether the champion is the networks as trained, without any update."""
    return champion.members is head.members and champion.tracking is None and champion.lineage is None


def _state_beside(head: Forecaster, champion: Forecaster, *, levels: bool) -> Tracking | None:
    """The champion's state, where two versions differ in the state of their series alone: then both are answered at once."""
    theirs = champion.tracking
    same = head.members is champion.members and head.lineage is champion.lineage
    return theirs if same and theirs is not None and theirs.levels == levels else None


def _with_common(forecaster: Forecaster, common: CommonShifts | None) -> Forecaster:
    """The same, if it knew of these common shifts."""
    if forecaster.tracking is None:
        return forecaster
    return replace(forecaster, tracking=replace(forecaster.tracking, common=common))


def replayed(candidate: Forecaster, champion: Forecaster, panel: Panel, newest: int) -> dict[str, Any]:
    """Metrics of both, and of the baselines, on recent cutoffs a week apart, on a part of the series where there are many."""
    cutoffs = [newest - 7 * week for week in range(REPLAY_WEEKS, 0, -1) if newest - 7 * week >= 0]
    seen = _picked(panel, newest).until(panel.start + np.timedelta64(newest, "D"))
    own, other = _both(candidate, champion, seen, cutoffs)
    metrics = judged({"model": own, "parent": other}, seen, cutoffs, horizon=min(candidate.horizon, champion.horizon))
    metrics["note"] = REPLAY_NOTE
    return metrics


def older_check(candidate: Forecaster, champion: Forecaster, panel: Panel, newest: int, limits: Limits) -> Check:
    """The update beside its champion on cutoffs whose days had all come in four weeks ago: both know them, and what an update
    learned of the newest weeks alone must not have cost it what was known."""
    first = newest - OLDER_DAYS
    cutoffs = [first - 7 * week for week in range(REPLAY_WEEKS - 1, -1, -1) if first - 7 * week >= FEWEST_SEEN_DAYS]
    if not cutoffs:
        needed = OLDER_DAYS + FEWEST_SEEN_DAYS + 1
        return Check("older_loss", None, limits.older_percent, None, f"{newest + 1} of {needed} days that it needs.")
    seen, horizon = _picked(panel, newest), candidate.horizon
    sides = _both(candidate, champion, seen, cutoffs)
    own, other = (evaluate(side, seen, cutoffs, horizon=horizon)["wql"] for side in sides)
    if own is None or not other:
        told = "Its loss is no number." if other else "The champion has no loss there."
        return Check("older_loss", None, limits.older_percent, False if other else None, told)
    percent = 100 * (own / other - 1)
    detail = f"WQL {percent:+.2f} % against the champion's on {len(cutoffs)} cutoffs more than {OLDER_DAYS} days back."
    return Check("older_loss", percent, limits.older_percent, percent <= limits.older_percent, detail)


def _both(candidate: Forecaster, champion: Forecaster, panel: Panel, cutoffs: Sequence[int]) -> tuple[Source, Source]:
    """What both say at some cutoffs."""
    assert candidate.tracking is not None
    # Else one may know of a cutoff what the other does not.
    champion = _with_common(champion, candidate.tracking.common)
    before = _state_beside(candidate, champion, levels=candidate.tracking.levels)
    own, other = {}, {}
    for cutoff in cutoffs:
        said = issue(candidate, panel, cutoff, before=before)
        own[cutoff] = said.forecast
        other[cutoff] = said.before or predict(champion, panel, cutoff)
    return (lambda _, cutoff: own[cutoff]), (lambda _, cutoff: other[cutoff])


def _picked(panel: Panel, newest: int) -> Panel:
    """A part of the series that can be answered for, always the same one of a day."""
    answerable_S = np.flatnonzero(answerable(panel, newest))
    rng = np.random.default_rng(newest)
    return panel.rows(np.sort(rng.choice(answerable_S, min(REPLAY_SERIES, len(answerable_S)), replace=False)))


def checks_now(said: Looks, metrics: dict[str, Any], maximum_S: Floats, limits: Limits) -> list[Check]:
    """The checks that need no live record: what is said now, and the replay."""
    rows = np.flatnonzero(said.champion.spoken_S | said.frozen.spoken_S)  # others ended long ago
    checks = hard_checks(said.candidate.rows(rows), maximum_S[rows], limits)
    return [*checks, moved_check(said.moved_S[rows], said.level_S[rows], limits), *replay_checks(metrics, limits)]


def live_broken(said: Looks, maximum_S: Floats, limits: Limits) -> str | None:
    """What no forecast may break and the champion's does now, though that of the networks as trained does not; None: nothing."""
    rows = np.flatnonzero(said.frozen.spoken_S)
    sides = (said.champion.rows(rows), said.frozen.rows(rows))
    checks, before = (hard_checks(side, maximum_S[rows], limits) for side in sides)
    failed = [own for own, other in zip(checks, before, strict=True) if own.passed is False and other.passed]
    return "; ".join(f"{check.name}: {check.detail}" for check in failed) or None
