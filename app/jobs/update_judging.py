"""What an update says now is put into the database under its job's id, and judged: the last of its work.

Shapes: S series, H horizon, K stretches, N segments, X sums, T target days.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np

from app.accuracy.blocks import Answers, blocks_of
from app.accuracy.store import stage
from app.database.engine import Database
from app.jobs.task import Errand
from app.jobs.update_reading import UpdateReading
from app.jobs.update_sides import Sides
from models.forecaster import Forecaster
from models.online.gate import Limits, Record, record_checks, verdict
from models.online.scoring import SUMS
from models.online.soundness import state_checks
from models.online.updating import Answered, Answering, checks_now, live_broken, older_check, replayed
from models.panel import Floats, Panel
from models.parallel import Hands
from models.segments import SEGMENTS, bucket_names
from models.windows import MEMORY, take_days


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
    answering.learned(candidate)
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
    return Judged(metrics, plain, issuance, live_broken(said, maximum_S, limits))


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
