"""One update: from a version and the days that have come in to the next state, and what it says now beside its champion.

Pure: the same version and the same days give the same result. What the experts had said of the days is handed in; where it was
kept is the service's matter. What comes of it is judged by the gate (gate.py).

Shapes: S series, H horizon, Q quantile levels, T days.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.cleaning import Findings, nothing_found
from models.evaluation import evaluate
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.heldout import judge
from models.inference import Issued, answerable, predict
from models.online.finetuning import UpdateConfig
from models.online.gate import Check, Limits, hard_checks, moved_check, replay_checks
from models.online.stream import FINE_TUNING_DAYS, Speeds, fine_tuned, issued_at, tracked
from models.online.tracking import Matured, corrected, learned
from models.panel import Floats, Panel
from models.progress import Report
from models.sampling import FEWEST_SEEN_DAYS
from models.training import cleaned_for

REPLAY_WEEKS = 4
REPLAY_SERIES = 1000
OLDER_DAYS = 56
"""The older replay begins so long before the newest day: what was said there is past before the newest four weeks begin."""
REPLAY_NOTE = "Of this version and its champion on the newest days, which both may know. The verdict says what decided."


class NothingNew(Exception):
    """No day has come in since the version last learned. Not a failure."""


@dataclass(frozen=True)
class Answered:
    """What is said of all series at the newest day: by the update (with its experts), by its champion, by the networks as trained
    without any update."""

    experts: Issued
    champion: Forecast
    frozen: Forecast


def advanced(
    head: Forecaster, panel: Panel, came: Sequence[Matured], again: Sequence[Matured], *, speeds: Speeds
) -> Forecaster:
    """The version after the days that came in, oldest first (L1, L2); `again` are days learned before and corrected since."""
    forecaster = tracked(head, panel, speeds=speeds)
    state = forecaster.tracking
    assert state is not None
    if speeds.quantiles:
        for day in again:
            state = corrected(state, day)
    for day in came:
        state = learned(state, day, weights=speeds.weights, quantiles=speeds.quantiles)
    return replace(forecaster, tracking=replace(state, levels=speeds.levels))


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


def answered(candidate: Forecaster, head: Forecaster, champion: Forecaster, panel: Panel, cutoff: int) -> Answered:
    """What all sides say at a cutoff. Where champion and head are one and the networks the same, both are answered at once; where
    there is a second thread, the networks as trained answer on it meanwhile."""
    plain = replace(candidate, tracking=None, lineage=None)
    same_networks = champion is head and candidate.lineage is head.lineage and head.tracking is not None
    before = head.tracking if same_networks else None
    if torch.get_num_threads() > 1:
        with ThreadPoolExecutor(1) as beside:
            later = beside.submit(predict, plain, panel, cutoff)
            experts = issued_at(candidate, panel, cutoff, before=before)
            frozen = later.result()
    else:
        frozen, experts = predict(plain, panel, cutoff), issued_at(candidate, panel, cutoff, before=before)
    if experts.before is not None:
        return Answered(experts, experts.before, frozen)
    untouched = champion is head and head.tracking is None
    return Answered(experts, frozen if untouched else predict(champion, panel, cutoff), frozen)


def replayed(candidate: Forecaster, champion: Forecaster, panel: Panel, newest: int) -> dict[str, Any]:
    """Metrics of both, and of the baselines, on recent cutoffs a week apart, on a part of the series where there are many."""
    cutoffs = [newest - 7 * week for week in range(REPLAY_WEEKS, 0, -1) if newest - 7 * week >= 0]
    seen = _picked(panel, newest).until(panel.start + np.timedelta64(newest, "D"))
    metrics = judge(candidate, seen, cutoffs, others={"parent": champion})
    metrics["note"] = REPLAY_NOTE
    return metrics


def older_check(candidate: Forecaster, champion: Forecaster, panel: Panel, newest: int, limits: Limits) -> Check:
    """The update beside its champion on cutoffs whose days had all come in four weeks ago: both know them, and what an update
    learned of the newest weeks alone must not have cost it what was known."""
    first = newest - OLDER_DAYS
    cutoffs = [first - 7 * week for week in range(REPLAY_WEEKS - 1, -1, -1) if first - 7 * week >= FEWEST_SEEN_DAYS]
    if not cutoffs:
        return Check("older_loss", None, limits.older_percent, None, "No cutoff lies eight weeks back.")
    seen, horizon = _picked(panel, newest), candidate.horizon
    own, other = (
        evaluate(partial(predict, one), seen, cutoffs, horizon=horizon)["wql"] for one in (candidate, champion)
    )
    if own is None or not other:
        told = "Its loss is no number." if other else "The champion has no loss there."
        return Check("older_loss", None, limits.older_percent, False if other else None, told)
    percent = 100 * (own / other - 1)
    detail = f"WQL {percent:+.2f} % against the champion's on {len(cutoffs)} cutoffs more than {OLDER_DAYS} days back."
    return Check("older_loss", percent, limits.older_percent, percent <= limits.older_percent, detail)


def _picked(panel: Panel, newest: int) -> Panel:
    """A part of the series that can be answered for, always the same one of a day."""
    answerable_S = np.flatnonzero(answerable(panel, newest))
    rng = np.random.default_rng(newest)
    return panel.rows(np.sort(rng.choice(answerable_S, min(REPLAY_SERIES, len(answerable_S)), replace=False)))


def checks_now(said: Answered, metrics: dict[str, Any], maximum_S: Floats, limits: Limits) -> list[Check]:
    """The checks that need no live record: what is said now, and the replay."""
    rows = answered_rows(said)
    candidate, champion = said.experts.forecast.rows(rows), said.champion.rows(rows)
    checks = hard_checks(candidate, maximum_S[rows], limits)
    return [*checks, moved_check(candidate, champion, limits), *replay_checks(metrics, limits)]


def live_broken(said: Answered, maximum_S: Floats, limits: Limits) -> str | None:
    """What no forecast may break and the champion's does now, though that of the networks as trained does not; None: nothing."""
    rows = np.flatnonzero(np.isfinite(said.frozen.mean_SH).all(axis=1))
    checks, before = (
        hard_checks(forecast.rows(rows), maximum_S[rows], limits) for forecast in (said.champion, said.frozen)
    )
    failed = [own for own, other in zip(checks, before, strict=True) if own.passed is False and other.passed]
    return "; ".join(f"{check.name}: {check.detail}" for check in failed) or None


def answered_rows(said: Answered) -> NDArray[np.int64]:
    """The series of which the champion or the networks as trained say a number: one that ended long ago has none from anybody."""
    known_S = np.isfinite(said.champion.mean_SH).all(axis=1) | np.isfinite(said.frozen.mean_SH).all(axis=1)
    return np.flatnonzero(known_S)
