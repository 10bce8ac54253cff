"""What an update says now is put into the database under its job's id, and judged: the last of its work.

Shapes: S series, H horizon, K stretches, N segments, X sums, T target days.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from app.accuracy.blocks import Answers, answers_of, blocks_of
from app.accuracy.issued import stage, stage_champion, unstage
from app.jobs.task import Errand
from app.jobs.update_days import PAIRED
from app.jobs.update_reading import UpdateReading
from app.jobs.update_sides import Sides
from app.registry.decision import decide_update
from models.days import take_days
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.online.gate import Limits, Record, Sanity, came_back_check, record_checks, verdict
from models.online.scoring import SUMS
from models.online.soundness import state_checks
from models.online.updating import Answered, Answering, Looks, checks_now, live_broken, older_check, replayed
from models.panel import Floats, Panel
from models.parallel import Hands
from models.segments import SEGMENTS, bucket_names
from models.windows import MEMORY


@dataclass(frozen=True)
class Judged:
    """Metrics of the replay, the verdict, and what the parent needs to let count what is said."""

    metrics: dict[str, Any]
    verdict: dict[str, Any]
    issuance: dict[str, Any]
    live_broken: str | None
    """What is wrong with what callers read now, so that the champion has to go back."""


def judged(
    errand: Errand,
    sides: Sides,
    candidate: Forecaster,
    answering: Answering,
    *,
    scores: dict[str, list[dict[str, Any]]],
    many: Hands,
) -> Judged:
    """What is said now, staged while replays are forecast, and the gate's verdict."""
    reading, head, newest, limits = sides.reading, sides.head, sides.newest, Limits(**errand.task["limits"])
    recent = many.give(replayed, candidate, sides.champion, sides.panel, newest)
    older = many.give(older_check, candidate, sides.champion, sides.seen, newest, limits)
    state = many.give(state_checks, candidate, head, sides.seen, newest, limits)
    said, champion = _staged(errand, reading, answering.by_state(candidate))
    metrics, maximum_S = recent.result(), _maximum(sides.panel, newest)
    record = _record(reading, scores)
    checks = [
        *checks_now(said, metrics, maximum_S, limits),
        older.result(),
        *state.result(),
        *record_checks(record, limits),
        *([came_back_check(record, limits)] if reading.line.came_back else []),
    ]
    told = verdict(checks, days=record.days)
    plain = {
        "accepted": told.accepted,
        "sentence": told.sentence + sides.passed_by + _shifted(candidate),
        "checks": [check.as_dict() for check in told.checks],
        "days": told.days,
    }
    broken, promoted = (
        live_broken(said, maximum_S, limits),
        decide_update(errand.task["request"]["promote"], plain).promoted,
    )
    if not answering.as_read and (broken is not None or not promoted):
        champion = answering.champion_as_read(many)
        said = replace(said, champion=Sanity.joined([Sanity.of(part) for part in champion]))
        broken = live_broken(said, maximum_S, limits)
    if not promoted:
        _stage_champion(errand, reading, Forecast.joined(champion))
    issuance = {"cutoff": str(reading.newest), "horizon": candidate.horizon}
    return Judged(metrics, plain, issuance, broken)


def _shifted(candidate: Forecaster) -> str:
    """A sentence about what most forecasts may have moved by, where many series shifted at once."""
    common = None if candidate.tracking is None else candidate.tracking.common
    if common is None:
        return ""
    first, last = common.began
    return f" Many series shifted at once between {first} and {last}: that others did as well is believed more readily."


def _staged(errand: Errand, reading: UpdateReading, said: Iterator[Answered]) -> tuple[Looks, list[Forecast]]:
    """Put what is said into the database under the job's id, part by part as it comes; what the checks look at in all of it, and
    the champion's parts."""
    job_id, ids = errand.job_id, reading.data.series_ids
    errand.stage(partial(unstage, job_id=job_id))
    looks, champion = [], []
    first = 0
    for part in said:
        end = first + len(part.frozen.mean_SH)
        answers = Answers(part.experts, part.experts.forecast, None, part.frozen)
        errand.stage(partial(stage, job_id=job_id, rows=list(blocks_of(answers, ids[first:end]))))
        looks.append(Looks.at(part.forecasts))
        champion.append(part.champion)
        first = end
    return Looks.joined(looks), champion


def _stage_champion(errand: Errand, reading: UpdateReading, champion: Forecast) -> None:
    """What the champion says, where callers go on reading that."""
    answers = list(answers_of(champion, reading.data.series_ids))
    errand.stage(partial(stage_champion, job_id=errand.job_id, answers=answers))


def _record(reading: UpdateReading, scored: dict[str, list[dict[str, Any]]]) -> Record:
    """The lineage's live record, with the days that are scored now: those of which it said something."""
    found = dict(reading.record)
    for day, rows in scored.items():
        found[date.fromisoformat(day)] = {(r["source"], r["segment"], r["stretch"]): r["sums"] for r in rows}
    stretches = bucket_names(28)
    nothing = [0.0] * len(SUMS)
    paired: dict[str, list[Any]] = {source: [] for source in PAIRED}
    for _, sums in sorted(found.items()):
        if set(PAIRED) <= {source for source, _, _ in sums}:
            for source, days in paired.items():
                days.append([[sums.get((source, n, k), nothing) for k in stretches] for n in SEGMENTS])
    shape = (-1, len(SEGMENTS), len(stretches), len(SUMS))
    return Record(*(np.array(days, np.float64).reshape(shape) for days in paired.values()))


def _maximum(panel: Panel, newest: int) -> Floats:
    """The most that each series sold on a day of the last year, NaN where it never did."""
    first_S = np.full(panel.series, newest - MEMORY + 1, np.int64)
    most_S: Floats = np.fmax.reduce(take_days(panel.quantity_ST, np.arange(panel.series), first_S, MEMORY), axis=1)
    return most_S
