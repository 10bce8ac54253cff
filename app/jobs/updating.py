"""An update as its child does it: score the days that came in, learn from them, say what is forecast now, judge it, save it.

What is said and scored is staged in the database under the job's id; it counts, like the version, once the parent publishes.
"""

import time
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from app.accuracy.blocks import parts_of
from app.drift.finding import Rule, Watched, learned_at_once, watch
from app.drift.store import stage_states
from app.jobs.task import Errand
from app.jobs.update_days import DaysThatCame
from app.jobs.update_judging import judged
from app.jobs.update_reading import UpdateReading
from app.jobs.update_sides import Sides, sides_of, until_of
from models.cleaning import Findings
from models.fitting import NonFiniteLoss
from models.forecaster import Forecaster
from models.online.finetuning import UpdateConfig
from models.online.stream import Speeds
from models.online.tracking import Matured
from models.online.updating import Answering, NothingNew, advanced, fine_tuning_due, learned_on
from models.parallel import Hands, hands
from models.placement import Placement
from models.progress import Progress, Report, TimeLimitReached

log = structlog.get_logger()

JUDGING = Progress(0.8, 0, 0, None, None, None, "judging")


@dataclass(frozen=True)
class Updated:
    """What a child made of an update. `forecaster` is None where there was nothing to learn: then there is no verdict either."""

    reading: UpdateReading
    forecaster: Forecaster | None
    metrics: dict[str, Any]
    verdict: dict[str, Any] | None
    issuance: dict[str, Any]
    scores: dict[str, list[dict[str, Any]]]
    drifts: list[dict[str, Any]]
    """The drifts that the scored days brought to light."""
    fingerprint: str | None = None
    """Of the sales; None where there is no version to name them for."""
    findings: Findings | None = None
    """What cleaning found, where networks learned on; None: they learned from what their parent's had."""
    live_broken: str | None = None
    """What is wrong with what callers read now, so that the champion has to go back."""


def updated(task: dict[str, Any], report: Report, placement: Placement) -> Updated:
    """Do all of it. Raises NothingNew, NotEnoughHistory or Problem."""
    began, request = time.monotonic(), task["request"]
    made = _made(task, report, placement)
    if made is None:  # drift: networks learn on at once, for which all history is read
        made = _made(
            task | {"request": request | {"fine_tune": True}},
            report,
            placement,
            drift_until=began + request["max_seconds"],
        )
    assert made is not None
    return made


@dataclass(frozen=True)
class _Learned:
    """What the days that came in made of the head (L1, L2); `again` are those that it knew before. `at_once`: the drift that was
    found, where that asks for networks to learn on, as it is told once they have."""

    candidate: Forecaster
    days: DaysThatCame
    again: list[Matured]
    drift: Watched
    at_once: Watched | None
    findings: Findings | None = None
    """What cleaning found, where networks learned on."""


def _made(
    task: dict[str, Any], report: Report, placement: Placement, *, drift_until: float | None = None
) -> Updated | None:
    """None where drift was found that asks for networks to learn on, and they were not to. `drift_until`: they are to because of
    that, in a job that ends then."""
    with Errand(task) as errand:
        sides = sides_of(errand, placement, fine_tune=_asked(task))
        until = until_of(task)
        if until is not None and until < sides.reading.line.learned_until:
            raise _nothing_new(sides)  # what is known already cannot be unlearned
        tunes = _tunes(task, sides)
        report(Progress(0.1, 0, 0, None, None, None, "updating"))
        with hands() as many:
            early = _answering(task, sides, sides.head, many) if sides.reading.came and not tunes else None
            sides.keep_sales(Path(task["kept_sales"]))
            learned = _learned(errand, sides, many)
            if learned.at_once is not None and not tunes and _may_tune(task, sides):
                return None
            if learned.days.rows:
                ids = sides.reading.data.series_ids
                errand.stage(partial(stage_states, job_id=errand.job_id, states=learned.drift.states, series_ids=ids))
            if not tunes:
                return _untuned(errand, sides, learned, early=early, many=many, report=report)
        tuned = _tuned(task, sides, learned, report, drift_until)
        with hands() as many:
            if isinstance(tuned, str):
                return _telling(_untuned(errand, sides, learned, early=None, many=many, report=report), tuned)
            report(JUDGING)
            return _judged(errand, sides, tuned, _answering(task, sides, tuned.candidate, many), many)


def _answering(task: dict[str, Any], sides: Sides, head: Forecaster, many: Hands) -> Answering:
    """Networks are asked as soon as it is known which: they do not wait for the state of the series."""
    levels, parts = Speeds(**task["speeds"]).levels, parts_of(sides.reading.data.series_ids)
    return Answering(
        head, sides.champion, sides.panel, sides.newest, parts, levels=levels, common=sides.common, many=many
    )


def _learned(errand: Errand, sides: Sides, many: Hands) -> _Learned:
    """Learn from the days, and score them on the way."""
    task, reading = errand.task, sides.reading
    days = DaysThatCame(errand, reading, sides.head, sides.panel, many.beside)
    again = list(days.learnable(reading.again))
    came = days.learnable(reading.came)
    speeds = Speeds(**task["speeds"])
    candidate = advanced(sides.head, sides.panel, came, again, speeds=speeds, common=sides.common)
    days.score_the_rest()
    drift = watch(reading.states, days.losses, reading.data.series_ids)
    return _Learned(candidate, days, again, drift, learned_at_once(drift, reading.drifting, Rule(**task["drift"])))


def _untuned(
    errand: Errand, sides: Sides, learned: _Learned, *, early: Answering | None, many: Hands, report: Report
) -> Updated:
    """The update by what the days that came in made of the head alone; `early`: what networks were asked meanwhile."""
    if not sides.reading.came and not _changes(errand.task, sides.head, learned.again):
        return _only_scored(sides, learned)
    report(JUDGING)
    answering = early or _answering(errand.task, sides, learned.candidate, many)
    return _judged(errand, sides, learned, answering, many)


def _tuned(
    task: dict[str, Any], sides: Sides, learned: _Learned, report: Report, drift_until: float | None
) -> _Learned | str:
    """The same with networks that have learned on. Why not, where they were to because of drift and could not: what was scored
    and found has to count all the same, else the next update finds the same drift and fails like this one.

    They have half the time that is left then, so that the update can go on without them.
    """
    request = task["request"]
    seconds = request["max_seconds"] if drift_until is None else max((drift_until - time.monotonic()) / 2, 0.0)
    config = UpdateConfig(seed=request["seed"] + sides.newest, max_seconds=seconds)
    try:
        candidate, findings = learned_on(learned.candidate, sides.seen, config=config, report=report)
    except (NonFiniteLoss, TimeLimitReached) as error:
        if drift_until is None:
            raise
        log.error("drift_not_learned_from", job=task["job_id"], detail=str(error))
        return str(error)
    return replace(learned, candidate=candidate, drift=learned.at_once or learned.drift, findings=findings)


def _telling(made: Updated, why_not: str) -> Updated:
    """The same, with a sentence in its verdict that networks did not learn on."""
    if made.verdict is None:
        return made
    told = f"{made.verdict['sentence']} Drift was found, but networks could not learn on at once: {why_not}"
    return replace(made, verdict=made.verdict | {"sentence": told})


def _judged(errand: Errand, sides: Sides, learned: _Learned, answering: Answering, many: Hands) -> Updated:
    scores, drifts = learned.days.rows, learned.drift.as_dicts()
    fingerprint = many.beside.give(sides.reading.data.panel.fingerprint)
    told = judged(errand, sides, learned.candidate, answering, scores=scores, many=many)
    made = Updated(sides.reading, learned.candidate, told.metrics, told.verdict, told.issuance, scores, drifts)
    return replace(made, fingerprint=fingerprint.result(), findings=learned.findings, live_broken=told.live_broken)


def _asked(task: dict[str, Any]) -> bool | None:
    """Whether networks are to learn on; None: where it is time."""
    asked = task["request"].get("fine_tune") if task["speeds"]["fine_tuning"] else False
    return False if asked == "drift" else asked


def _tunes(task: dict[str, Any], sides: Sides) -> bool:
    asked = _asked(task)
    due = asked or (asked is None and fine_tuning_due(sides.head, np.datetime64(sides.reading.newest)))
    return bool(due) and _newer_than_networks(sides)


def _may_tune(task: dict[str, Any], sides: Sides) -> bool:
    """Whether networks may learn on because of drift."""
    asked = task["request"].get("fine_tune")
    return task["speeds"]["fine_tuning"] and asked in (None, "drift") and _newer_than_networks(sides)


def _newer_than_networks(sides: Sides) -> bool:
    return sides.newest > sides.panel.day_index((sides.head.lineage or sides.head).trained_until)


def _changes(task: dict[str, Any], head: Forecaster, again: list[Matured]) -> bool:
    """Whether a day that was learned has another value now, and may still be learned again."""
    speeds = Speeds(**task["speeds"])
    learns = speeds.quantiles or (speeds.weights and head.lineage is not None)
    return learns and head.tracking is not None and any(len(head.tracking.differing(day)) for day in again)


def _only_scored(sides: Sides, learned: _Learned) -> Updated:
    """Where nothing is learned, days are not scored anew: they would be by each update until a version knows of them."""
    new = {day: rows for day, rows in learned.days.rows.items() if date.fromisoformat(day) in sides.reading.to_score}
    if not new:
        raise _nothing_new(sides)
    return Updated(sides.reading, None, {}, None, {}, new, learned.drift.as_dicts())


def _nothing_new(sides: Sides) -> NothingNew:
    line, posted = sides.reading.line, sides.reading.posted
    told = f"No sales after {line.learned_until}, the last day that version {line.head.version} has learned from."
    waits = f" Rows up to {posted} wait: the day is not over, or few series have come in."
    return NothingNew(told + (waits if posted > max(line.learned_until, sides.reading.newest) else ""))
