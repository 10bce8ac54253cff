"""An update as its child does it: score the days that came in, learn from them, say what is forecast now, judge it, save it.

What is said and scored is staged in the database under the job's id; it counts, like the version, once the parent publishes.

Shapes: S series, H horizon, Q quantile levels, K stretches, N segments, X sums, T target days.
"""

from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import structlog

from app.accuracy.blocks import Answers, blocks_of
from app.accuracy.store import stage
from app.database.engine import Database
from app.drift.finding import Rule, Watched, learned_at_once, watch
from app.drift.store import States, stage_states
from app.errors import Problem
from app.jobs.task import Errand, panel_for
from app.jobs.update_days import DaysThatCame
from app.jobs.update_reading import UpdateReading, read_update, row_index
from app.registry.artifacts import ArtifactDamaged
from app.registry.serving import load_forecaster
from app.sales.kept_table import save as save_kept
from models.cleaning import Findings
from models.forecaster import Forecaster
from models.heldout import NotEnoughHistory
from models.online.finetuning import UpdateConfig
from models.online.gate import Limits, Record, record_checks, verdict
from models.online.scoring import SUMS
from models.online.soundness import state_checks
from models.online.stream import Speeds
from models.online.tracking import Matured
from models.online.updating import (
    Answered,
    Answering,
    NothingNew,
    advanced,
    checks_now,
    fine_tuning_due,
    learned_on,
    live_broken,
    older_check,
    replayed,
)
from models.panel import Floats, Panel
from models.parallel import Hands, hands
from models.placement import Placement
from models.progress import Progress, Report
from models.segments import SEGMENTS, bucket_names
from models.windows import MEMORY, take_days

log = structlog.get_logger()


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
    findings: Findings | None = None
    """What cleaning found, where networks learned on; None: they learned from what their parent's had."""
    live_broken: str | None = None
    """What is wrong with what callers read now, so that the champion has to go back."""


@dataclass(frozen=True)
class _Sides:
    """The panel that an update works on, the head of the lineage, from which it begins, and the champion, beside which it is
    judged."""

    reading: UpdateReading
    panel: Panel
    head: Forecaster
    champion: Forecaster
    passed_by: str
    """A sentence about versions that were passed by, if there were any."""

    @property
    def newest(self) -> int:
        return row_index(self.reading.data, self.reading.newest)

    @property
    def seen(self) -> Panel:
        """The panel up to the newest complete day."""
        return self.panel.until(np.datetime64(self.reading.newest))


def updated(task: dict[str, Any], report: Report, placement: Placement) -> Updated:
    """Do all of it. Raises NothingNew, NotEnoughHistory or Problem."""
    made = _made(task, report, placement)
    if made is None:  # drift: networks learn on at once, for which all history is read
        made = _made(task | {"request": task["request"] | {"fine_tune": True}}, report, placement)
    assert made is not None
    return made


def _made(task: dict[str, Any], report: Report, placement: Placement) -> Updated | None:
    """None where drift was found that asks for networks to learn on, and they were not to."""
    with Errand(task) as errand:
        sides = _sides(errand, placement)
        tunes = _tunes(task, sides)
        report(Progress(0.1, 0, 0, None, None, None, "updating"))
        with hands() as many:
            days = DaysThatCame(errand, sides.reading, sides.head, sides.panel, many)
            again = list(days.learnable(sides.reading.again))
            came = days.learnable(sides.reading.came)
            candidate = advanced(sides.head, sides.panel, came, again, speeds=Speeds(**task["speeds"]))
            days.score_the_rest()
        drift = watch(sides.reading.states, days.losses, sides.reading.data.series_ids)
        at_once = learned_at_once(drift, sides.reading.drifting, Rule(**task["drift"]))
        if at_once is not None and not tunes and _may_tune(task, sides):
            return None
        drift = at_once if at_once is not None and tunes else drift
        if days.rows:
            errand.run(partial(_stage_states, job_id=UUID(task["job_id"]), states=drift.states, sides=sides))
        if not sides.reading.came and not tunes and not _changes(sides.head, again):
            return _only_scored(sides, days, drift)
        candidate, findings = _fine_tuned(task, sides, candidate, report) if tunes else (candidate, None)
        report(Progress(0.8, 0, 0, None, None, None, "judging"))
        with hands() as many:
            judged = _judged(errand, sides, candidate, scores=days.rows, many=many)
    return replace(judged, drifts=drift.as_dicts(), findings=findings)


async def _stage_states(database: Database, *, job_id: UUID, states: States, sides: _Sides) -> None:
    async with database.transaction() as connection:
        await stage_states(connection, job_id, states, sides.reading.data.series_ids)


def _sides(errand: Errand, placement: Placement) -> _Sides:
    """A head of the lineage that is damaged gives way to the version before it. Raises ArtifactDamaged for a champion."""
    task = errand.task
    damaged: dict[int, str] = {}
    while True:
        kept = Path(task["kept_sales"])
        reading = errand.run(partial(read_update, fine_tune=_asked(task), kept=kept, without=list(damaged)))
        if reading is None:
            raise errand.run(_nothing_to_update)
        if reading.data.to_keep is not None:
            save_kept(kept, reading.data.to_keep)
        line = reading.line
        try:
            head = load_forecaster(task["artifacts"], line.head.sha256, placement.device)
        except ArtifactDamaged as damage:
            if line.head.version == line.champion.version:
                raise
            log.warning("head_passed_by", version=line.head.version, detail=damage.detail)
            damaged[line.head.version] = damage.detail
            continue
        same = line.champion.version == line.head.version
        champion = head if same else load_forecaster(task["artifacts"], line.champion.sha256, placement.device)
        told = [
            f" It began at version {line.head.version}, since version {n} is lost: {why}" for n, why in damaged.items()
        ]
        return _Sides(reading, panel_for(head, reading.data.panel), head, champion, "".join(told))


async def _nothing_to_update(database: Database) -> Exception:
    async with database.reading() as driver:
        champion = await driver.fetchval("SELECT version FROM aliases WHERE alias = 'champion'")
    if champion is None:
        return Problem("conflict", "There is no champion to update; train one first.")
    return NotEnoughHistory("There are no sales to learn from; post some first.")


def _asked(task: dict[str, Any]) -> bool | None:
    """Whether networks are to learn on; None: where it is time."""
    asked = task["request"].get("fine_tune") if task["speeds"]["fine_tuning"] else False
    return False if asked == "drift" else asked


def _tunes(task: dict[str, Any], sides: _Sides) -> bool:
    asked = _asked(task)
    due = asked or (asked is None and fine_tuning_due(sides.head, np.datetime64(sides.reading.newest)))
    return bool(due) and _newer_than_networks(sides)


def _may_tune(task: dict[str, Any], sides: _Sides) -> bool:
    """Whether networks may learn on because of drift."""
    asked = task["request"].get("fine_tune")
    return task["speeds"]["fine_tuning"] and asked in (None, "drift") and _newer_than_networks(sides)


def _newer_than_networks(sides: _Sides) -> bool:
    return sides.newest > sides.panel.day_index((sides.head.lineage or sides.head).trained_until)


def _changes(head: Forecaster, again: list[Matured]) -> bool:
    """Whether a day that was learned has another value now, and may still be learned again."""
    return head.tracking is not None and any(len(head.tracking.differing(day)) for day in again)


def _only_scored(sides: _Sides, days: DaysThatCame, drift: Watched) -> Updated:
    if not days.rows:
        line = sides.reading.line
        told = f"the last day that version {line.head.version} has learned from"
        raise NothingNew(f"No sales after {line.learned_until}, {told}.")
    return Updated(sides.reading, None, {}, None, {}, days.rows, drift.as_dicts())


def _fine_tuned(
    task: dict[str, Any], sides: _Sides, candidate: Forecaster, report: Report
) -> tuple[Forecaster, Findings]:
    request = task["request"]
    config = UpdateConfig(seed=request["seed"] + sides.newest, max_seconds=request["max_seconds"])
    return learned_on(candidate, sides.seen, config=config, report=report)


def _judged(
    errand: Errand,
    sides: _Sides,
    candidate: Forecaster,
    *,
    scores: dict[str, list[dict[str, Any]]],
    many: Hands,
) -> Updated:
    """What is said now, staged while replays are forecast, and the gate's verdict."""
    reading, head, newest, limits = sides.reading, sides.head, sides.newest, Limits(**errand.task["limits"])
    answering = Answering(candidate, sides.champion, sides.panel, newest, many=many)
    recent = many.give(replayed, candidate, sides.champion, sides.panel, newest)
    older = many.give(older_check, candidate, sides.champion, sides.seen, newest, limits)
    state = many.give(state_checks, candidate, head, sides.seen, newest, limits)
    said = answering.result()
    issuance = _staged(errand, reading, said)
    metrics, maximum_S = recent.result(), _maximum(sides.panel, newest)
    record = _record(reading, scores)
    checks = [
        *checks_now(said, metrics, maximum_S, limits),
        older.result(),
        *state.result(),
        *record_checks(record, limits),
    ]
    told = verdict(checks, days=record.days)
    plain = {
        "accepted": told.accepted,
        "sentence": told.sentence + sides.passed_by,
        "checks": [check.as_dict() for check in told.checks],
        "days": told.days,
    }
    broken = live_broken(said, maximum_S, limits)
    return Updated(reading, candidate, metrics, plain, issuance, scores, [], live_broken=broken)


def _staged(errand: Errand, reading: UpdateReading, said: Answered) -> dict[str, Any]:
    """Put what is said into the database under the job's id; what the parent needs to let it count."""
    answers = Answers(said.experts, said.experts.forecast, said.champion, said.frozen)
    rows = list(blocks_of(answers, reading.data.series_ids))

    async def put(database: Database) -> None:
        async with database.transaction() as connection:
            await stage(connection, UUID(errand.task["job_id"]), rows)

    errand.run(put)
    return {"cutoff": str(reading.newest), "horizon": said.frozen.mean_SH.shape[1]}


def _record(reading: UpdateReading, scored: dict[str, list[dict[str, Any]]]) -> Record:
    """The lineage's live record, with the days that are scored now: those of which both said something."""
    found = dict(reading.record)
    for day, rows in scored.items():
        found[date.fromisoformat(day)] = {(r["source"], r["segment"], r["stretch"]): r["sums"] for r in rows}
    stretches = bucket_names(28)
    nothing = [0.0] * len(SUMS)
    paired: dict[str, list[Any]] = {"lineage": [], "frozen": []}
    for _, sums in sorted(found.items()):
        if any(source == "lineage" for source, _, _ in sums):
            for source, days in paired.items():
                days.append([[sums.get((source, n, k), nothing) for k in stretches] for n in SEGMENTS])
    shape = (-1, len(SEGMENTS), len(stretches), len(SUMS))
    return Record(*(np.array(days, np.float64).reshape(shape) for days in paired.values()))


def _maximum(panel: Panel, newest: int) -> Floats:
    """The most that each series sold on a day of the last year, NaN where it never did."""
    first_S = np.full(panel.series, newest - MEMORY + 1, np.int64)
    most_S: Floats = np.fmax.reduce(take_days(panel.quantity_ST, np.arange(panel.series), first_S, MEMORY), axis=1)
    return most_S
