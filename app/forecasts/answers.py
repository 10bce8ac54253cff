"""A forecast as callers read it: who answered and why, rounded figures by period, and its JSON.

Here: from stored arrays to an `Answer` and its JSON. The other formats are in formats.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.forecasts.periods import Period, Span, figures, spans
from app.forecasts.schemas import Wanted
from app.forecasts.store import SIMPLE, Found, StandIn, Stored
from models.dependence import Dependence, usual_dependence
from models.training_config import LEVELS


@dataclass(frozen=True, slots=True)
class Answer:
    """One series' forecast by period: P means, P x W quantiles at the wanted levels."""

    sku: str
    location: str
    cutoff: date
    model_version: int | None
    generated_at: datetime
    period: Period
    groups: tuple[Span, ...]
    mean_P: NDArray[np.float64]
    quantiles_PW: NDArray[np.float64]
    fallback: dict[str, str] | None
    missing_covariates: list[str]
    held_out: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Ready:
    """A series and its fresh forecast, with all that its answer needs."""

    found: Found
    stored: Stored
    horizon: int
    dependence: Dependence | None
    """How days go together by the version that answered; None for a simple method."""


def answers_of(ready: Sequence[Ready], wanted: Wanted, stand_in: StandIn | None) -> list[Answer]:
    """The answers of several series, those that end together computed together."""
    together: dict[tuple[date, int, bool], list[int]] = {}
    for i, one in enumerate(ready):
        together.setdefault((one.stored.cutoff, one.horizon, one.dependence is None), []).append(i)
    answers: list[Answer | None] = [None] * len(ready)
    for (cutoff, horizon, _), rows in together.items():
        groups = spans(cutoff, horizon, wanted.period, wanted.lead_days)
        dependence = ready[rows[0]].dependence
        mean_SP, quantiles_SPW = figures(
            np.stack([ready[i].stored.mean_H[:horizon] for i in rows]),
            np.stack([ready[i].stored.quantiles_HQ[:horizon] for i in rows]),
            LEVELS,
            wanted.levels,
            groups=groups,
            dependence=dependence or usual_dependence(horizon),
        )
        for i, mean_P, quantiles_PW in zip(rows, mean_SP, quantiles_SPW, strict=True):
            found, stored = ready[i].found, ready[i].stored
            model_version, fallback = who_answers(found, stored, wanted, stand_in)
            answers[i] = Answer(
                found.sku,
                found.location,
                cutoff,
                model_version,
                stored.generated_at,
                wanted.period,
                groups,
                mean_P,
                quantiles_PW,
                fallback,
                _missing(stored, horizon),
                stored.held_out or [],
            )
    return [answer for answer in answers if answer is not None]


def who_answers(
    found: Found, stored: Stored, wanted: Wanted, stand_in: StandIn | None
) -> tuple[int | None, dict[str, str] | None]:
    """The version that answered, and what is said when that is not simply the version asked for."""
    if stored.version == SIMPLE:
        assert stored.fallback is not None
        method = stored.fallback["method"]
        if found.champion is None or stand_in is None:
            detail = "No version has been promoted yet; POST /v1/training-jobs trains one."
            return None, {"method": method, "reason": "no_champion", "detail": detail}
        return None, {"method": method, "reason": "champion_unavailable", "detail": stand_in.why}
    if stored.fallback is not None:
        return None, stored.fallback
    if stand_in is not None and wanted.version is None and stand_in[:2] == (found.champion, stored.version):
        said = {"method": "former_champion", "reason": "champion_unavailable", "detail": stand_in.why}
        return stored.version, said
    return stored.version, None


def _missing(stored: Stored, horizon: int) -> list[str]:
    """The covariates of which a value is not known on one of the days asked for, by name."""
    return sorted(name for name, first in (stored.missing_covariates or {}).items() if first <= horizon)


def level_names(levels: Sequence[float]) -> list[str]:
    """Levels as the shortest decimals that name them: 0.1, not 0.10."""
    return [repr(float(level)) for level in levels]


def time_text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def json_of(answer: Answer, names: Sequence[str]) -> bytes:
    return orjson.dumps(plain(answer, names))


def plain(answer: Answer, names: Sequence[str]) -> dict[str, Any]:
    """The answer as plain JSON values."""
    means, quantiles = answer.mean_P.tolist(), answer.quantiles_PW.tolist()
    return {
        "sku": answer.sku,
        "location": answer.location,
        "cutoff": answer.cutoff,
        "model_version": answer.model_version,
        "generated_at": time_text(answer.generated_at),
        "period": answer.period,
        "held_out": answer.held_out,
        "forecast": [
            {
                "start": group.start,
                "end": group.end,
                "complete": group.complete,
                "mean": mean,
                "quantiles": dict(zip(names, row, strict=True)),
            }
            for group, mean, row in zip(answer.groups, means, quantiles, strict=True)
        ],
        "fallback": answer.fallback,
        "missing_covariates": answer.missing_covariates,
    }
