"""An update as its child does it: score the days that came in, learn from them, say what is forecast now, judge it, save it.

What is said and scored is staged in the database under the job's id; it counts, like the version, once the parent publishes.

Shapes: S series, J days ahead, Q quantile levels, W mean and scored levels, K stretches, N segments, X sums, T target days.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np

from app.accuracy.blocks import Answers, blocks_of
from app.accuracy.store import stage, stage_series_scores
from app.accuracy.sums import SOURCES
from app.database.engine import Database
from app.drift.finding import Rule, Watched, learned_at_once, scored_day, watch
from app.drift.store import States, stage_states
from app.errors import Problem
from app.jobs.task import panel_for
from app.jobs.update_reading import SaidBefore, UpdateReading, read_update, row_index, unsaid
from app.registry.serving import load_forecaster
from models.cleaning import Findings
from models.evaluation import SCORED_LEVELS
from models.forecaster import Forecaster
from models.heldout import NotEnoughHistory
from models.online.finetuning import UpdateConfig
from models.online.gate import Limits, Record, record_checks, verdict
from models.online.scoring import SUMS, naive_of_day, sums_of_day
from models.online.soundness import state_checks
from models.online.stream import Speeds, scales
from models.online.tracking import Matured
from models.online.updating import (
    Answered,
    NothingNew,
    advanced,
    answered,
    checks_now,
    fine_tuning_due,
    learned_on,
    live_broken,
    older_check,
    replayed,
)
from models.panel import Floats, Panel
from models.placement import Placement
from models.progress import Progress, Report
from models.segments import SEGMENTS, bucket_names, segments
from models.training_config import LEVELS
from models.validation import in_stock
from models.windows import MEMORY, take_days


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


def updated(task: dict[str, Any], report: Report, placement: Placement) -> Updated:
    """Do all of it. Raises NothingNew, NotEnoughHistory or Problem."""
    request = task["request"]
    asked = request.get("fine_tune") if task["speeds"]["fine_tuning"] else False
    fine_tune = False if asked == "drift" else asked
    reading = asyncio.run(_read(task, fine_tune))
    head = load_forecaster(task["artifacts"], reading.line.head.sha256, placement.device)
    same = reading.line.champion.version == reading.line.head.version
    champion = head if same else load_forecaster(task["artifacts"], reading.line.champion.sha256, placement.device)
    panel = panel_for(head, reading.data.panel)
    newest = row_index(reading.data, reading.newest)
    trained_until = panel.day_index((head.lineage or head).trained_until)
    tunes = newest > trained_until and (
        fine_tune or (fine_tune is None and fine_tuning_due(head, np.datetime64(reading.newest)))
    )
    scores = [_scored(reading, panel, said) for said in reading.scored]
    rows = _rows(scores)
    drift = _watched(reading, scores)
    at_once = learned_at_once(drift, reading.drifting, Rule(**task["drift"]))
    if at_once is not None and asked in (None, "drift") and not tunes and newest > trained_until:
        return updated(task | {"request": request | {"fine_tune": True}}, report, placement)  # which needs all history
    drift = at_once if at_once is not None and tunes else drift
    learnable_ST = in_stock(head, panel)
    again = [_matured(reading, head, panel, learnable_ST, said) for said in reading.again]
    if not reading.came and not tunes and not _changes(head, again):
        if not scores:
            raise NothingNew(
                f"No sales after {reading.line.learned_until}, the last day this version has learned from."
            )
        staged = asyncio.run(_stage(task, reading, None, scores, drift.states))
        return Updated(reading, None, {}, None, staged, rows, drift.as_dicts())
    speeds = Speeds(**task["speeds"])
    report(Progress(0.1, 0, 0, None, None, None, "updating"))
    findings: Findings | None = None
    came = [_matured(reading, head, panel, learnable_ST, said) for said in reading.came]
    candidate = advanced(head, panel, came, again, speeds=speeds)
    seen = panel.until(np.datetime64(reading.newest))
    if tunes:
        config = UpdateConfig(seed=request["seed"] + newest, max_seconds=request["max_seconds"])
        candidate, findings = learned_on(candidate, seen, config=config, report=report)
    report(Progress(0.8, 0, 0, None, None, None, "judging"))
    said = answered(candidate, head, champion, panel, newest)
    metrics = replayed(candidate, champion, panel, newest)
    limits = Limits(**task["limits"])
    record, maximum_S = _record(reading, rows), _maximum(panel, newest)
    checks = [
        *checks_now(said, metrics, maximum_S, limits),
        older_check(candidate, champion, seen, newest, limits),
        *state_checks(candidate, head, seen, newest, limits),
        *record_checks(record, limits),
    ]
    staged = asyncio.run(_stage(task, reading, said, scores, drift.states))
    told = verdict(checks, days=record.days)
    plain = {
        "accepted": told.accepted,
        "sentence": told.sentence,
        "checks": [check.as_dict() for check in told.checks],
        "days": told.days,
    }
    broken = live_broken(said, maximum_S, limits)
    return Updated(reading, candidate, metrics, plain, staged, rows, drift.as_dicts(), findings, broken)


async def _read(task: dict[str, Any], fine_tune: bool | None) -> UpdateReading:
    database = Database(task["database_url"], pool_size=1)
    try:
        reading = await read_update(database, fine_tune=fine_tune)
    finally:
        await database.close()
    if reading is None:
        raise await _nothing_to_update(task)
    return reading


async def _nothing_to_update(task: dict[str, Any]) -> Exception:
    database = Database(task["database_url"], pool_size=1)
    try:
        async with database.reading() as driver:
            champion = await driver.fetchval("SELECT version FROM aliases WHERE alias = 'champion'")
    finally:
        await database.close()
    if champion is None:
        return Problem("conflict", "There is no champion to update; train one first.")
    return NotEnoughHistory("There are no sales to learn from; post some first.")


@dataclass(frozen=True)
class _Scored:
    """The sums of one day: by source (S, K, X), and which segment each series is of."""

    day: date
    by_source: dict[str, Floats]
    segment_S: np.ndarray[Any, np.dtype[np.int64]]
    stretches: list[str]


def _scored(reading: UpdateReading, panel: Panel, said: SaidBefore) -> _Scored:
    """A day beside what was said of it: by what callers read, the lineage, the networks as trained and the seasonal naive."""
    day, count = row_index(reading.data, said.day), panel.series
    horizon = max(issuance.horizon for issuance, _ in said.by_ahead.values())
    y_S, scale_S = panel.quantity_ST[:, day], scales(panel, day - 1)
    width = 1 + len(SCORED_LEVELS)
    by_source: dict[str, list[Floats]] = {"live": [], "lineage": [], "frozen": []}
    for ahead in range(1, horizon + 1):
        issuance, of_day = said.by_ahead.get(ahead, (None, None))
        ours = issuance is not None and issuance.job_id in reading.line.jobs
        by_source["live"].append(unsaid(count, width) if of_day is None else of_day.live_SW)
        by_source["frozen"].append(unsaid(count, width) if of_day is None else of_day.frozen_SW)
        candidate = of_day.candidate_SW if of_day is not None and ours else None
        by_source["lineage"].append(unsaid(count, width) if candidate is None else candidate)
    found = {}
    for source, pieces in by_source.items():
        said_SJW = np.stack(pieces, axis=1)
        found[source] = sums_of_day(y_S, said_SJW[..., 0], said_SJW[..., 1:], scale_S)
    first_S = np.full(count, day - MEMORY, np.int64)
    mean_SJ, quantiles_SJQ = naive_of_day(take_days(panel.quantity_ST, np.arange(count), first_S, MEMORY), horizon)
    live_SJ = np.isfinite(np.stack(by_source["live"], axis=1)[..., 0])
    mean_SJ = np.where(live_SJ, mean_SJ, np.float32(np.nan))  # the same days and series as what callers read
    found["seasonal_naive"] = sums_of_day(y_S, mean_SJ, quantiles_SJQ, scale_S)
    return _Scored(said.day, found, segments(panel, day - 1), bucket_names(horizon))


def _watched(reading: UpdateReading, scores: Sequence[_Scored]) -> Watched:
    """What the detectors of drift make of the scored days, of forecasts of the nearest days ahead."""
    live, naive = "live", "seasonal_naive"
    days = [scored_day(s.day, s.by_source[live][:, 0], s.by_source[naive][:, 0], s.segment_S) for s in scores]
    return watch(reading.states, days, reading.data.series_ids)


def _rows(scores: Sequence[_Scored]) -> dict[str, list[dict[str, Any]]]:
    """Rows of `scores` by day: of all series of each segment, with something in them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in scores:
        rows = found.setdefault(str(one.day), [])
        for source, sums in one.by_source.items():
            for number, segment in enumerate(SEGMENTS):
                total_KX = sums[one.segment_S == number].sum(axis=0, dtype=np.float64)
                for stretch, total_X in zip(one.stretches, total_KX, strict=True):
                    if total_X[0] > 0:
                        rows.append(
                            {"source": source, "segment": segment, "stretch": stretch, "sums": total_X.tolist()}
                        )
    return found


def _matured(reading: UpdateReading, head: Forecaster, panel: Panel, learnable_ST: Floats, said: SaidBefore) -> Matured:
    """A day as the tracking learns from it: what the lineage's own experts had said of it. `learnable_ST`: the panel's sales
    without days out of stock."""
    day, count = row_index(reading.data, said.day), panel.series
    trained, lineage = [], []
    for ahead in range(1, head.horizon + 1):
        issuance, of_day = said.by_ahead.get(ahead, (None, None))
        ours = of_day is not None and issuance is not None and issuance.job_id in reading.line.jobs
        trained.append(of_day.trained_SQ if of_day is not None and ours else unsaid(count, len(LEVELS)))
        both = of_day.lineage_SQ if of_day is not None and ours else None
        lineage.append(unsaid(count, len(LEVELS)) if both is None else both)
    return Matured(
        np.datetime64(said.day),
        learnable_ST[:, day],
        scales(panel, day - 1),
        np.stack(trained, axis=1),
        np.stack(lineage, axis=1),
    )


def _changes(head: Forecaster, again: Sequence[Matured]) -> bool:
    """Whether a day that was learned has another value now, and may still be learned again."""
    return head.tracking is not None and any(len(head.tracking.differing(day)) for day in again)


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


async def _stage(
    task: dict[str, Any], reading: UpdateReading, said: Answered | None, scores: Sequence[_Scored], states: States
) -> dict[str, Any]:
    """Put into the database what was said and scored, under the job's id; what the parent needs to let it count."""
    job_id, ids = UUID(task["job_id"]), reading.data.series_ids
    database = Database(task["database_url"], pool_size=1)
    try:
        for one in scores:
            sums = np.stack([one.by_source[source] for source in SOURCES], axis=1)
            async with database.transaction() as connection:
                await stage_series_scores(connection, job_id, one.day, ids, sums)
        if scores:
            async with database.transaction() as connection:
                await stage_states(connection, job_id, states, ids)
        if said is None:
            return {}
        answers = Answers(said.experts, said.experts.forecast, said.champion, said.frozen)
        async with database.transaction() as connection:
            await stage(connection, job_id, list(blocks_of(answers, ids)))
    finally:
        await database.close()
    return {"cutoff": str(reading.newest), "horizon": said.frozen.mean_SH.shape[1]}
