"""From what is known of some series to their forecasts: by the network where it may answer, else by a simple method.

Arrays in, arrays out; no SQL and no waiting. Shapes: S series, H horizon, Q quantile levels.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.forecasts.store import Stored
from app.sales.panel import Context
from models.ages import AGE
from models.days import take_days
from models.fallback import fallback
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.holidays import HOLIDAYS
from models.inference import MINIMUM_DAYS, answerable, predict
from models.newcomers import SETTLED_DAYS
from models.panel import Panel

DEFAULT_HORIZON = 28
SIMPLE_HORIZONS = (DEFAULT_HORIZON, 112, 365)
"""Simple methods are asked for one of these many days, so that a slightly longer question need not compute again."""


@dataclass(frozen=True)
class Task:
    """Who answers: a version's forecaster, or None for a simple method alone; `horizon` is what simple methods reach."""

    version: int
    forecaster: Forecaster | None
    horizon: int


def simple_horizon(days: int) -> int:
    return next(horizon for horizon in SIMPLE_HORIZONS if horizon >= days)


def forecasts(context: Context, task: Task, generated_at: datetime) -> list[Stored]:
    """One forecast a series of the context, each from its own cutoff."""
    found: dict[int, Stored] = {}
    may_S = _may_answer(context, task.forecaster)
    if task.forecaster is not None and may_S.any():
        index = np.flatnonzero(may_S)
        forecast = predict(task.forecaster, context.panel.rows(index), context.cutoff_S[index])
        finite_S = np.isfinite(forecast.mean_SH).all(axis=1) & np.isfinite(forecast.quantiles_SHQ).all(axis=(1, 2))
        missing = _missing(context, task.forecaster)
        for row in np.flatnonzero(finite_S).tolist():
            series = int(index[row])
            one = _stored(context, series, task.version, _row(forecast, row), generated_at=generated_at)
            found[series] = replace(one, missing_covariates=missing[series])
    rest = np.array([i for i in range(len(context.series_ids)) if i not in found], dtype=np.int64)
    if rest.size:
        panel, cutoffs = context.panel.rows(rest), context.cutoff_S[rest]
        simple, methods, _ = fallback(panel, cutoffs, task.horizon)
        seen_S = _observed(panel, cutoffs)
        for row, series in enumerate(rest.tolist()):
            why = _why(methods[row], task, int(seen_S[row]), network_failed=bool(may_S[series]))
            one = _stored(context, series, task.version, _row(simple, row), generated_at=generated_at)
            found[series] = replace(one, fallback=why)
    return [found[series] for series in sorted(found)]


def young(context: Context) -> set[int]:
    """The series with fewer observed days than make a series settled: what they replace still tells more of them."""
    few_S = _observed(context.panel, context.cutoff_S) < SETTLED_DAYS
    return {context.series_ids[series] for series in np.flatnonzero(few_S).tolist()}


def _may_answer(context: Context, forecaster: Forecaster | None) -> NDArray[np.bool_]:
    if forecaster is None:
        return np.zeros(len(context.series_ids), dtype=np.bool_)
    return answerable(context.panel, context.cutoff_S)


def _missing(context: Context, forecaster: Forecaster) -> list[dict[str, int]]:
    """For each series, by name of a covariate, the first day ahead whose value is not known: a network takes the usual one.

    The ramps around holidays are known when holidays are, so they are not named; nor is an item's age, which nobody has to tell.
    """
    count = len(context.series_ids)
    missing: list[dict[str, int]] = [{} for _ in range(count)]
    for name in forecaster.known:
        if name in (*HOLIDAYS[1:], AGE):
            continue
        ahead_SH = take_days(context.panel.known[name], np.arange(count), context.cutoff_S + 1, forecaster.horizon)
        open_SH = np.isnan(ahead_SH)
        for series in np.flatnonzero(open_SH.any(axis=1)).tolist():
            missing[series][name] = int(open_SH[series].argmax()) + 1
    return missing


def _observed(panel: Panel, cutoff_S: NDArray[np.int64]) -> NDArray[np.int64]:
    seen_ST = np.isfinite(panel.quantity_ST) & (np.arange(panel.days) <= cutoff_S[:, None])
    count_S: NDArray[np.int64] = seen_ST.sum(axis=1)
    return count_S


def _why(method: str, task: Task, observed: int, *, network_failed: bool) -> dict[str, str]:
    """What `fallback` says of this series; why no version answers at all is told when the forecast is read."""
    if task.forecaster is None:
        return {"method": method}
    if network_failed:
        detail = f"Version {task.version} gave numbers that are not finite for this series."
        return {"method": method, "reason": "not_finite", "detail": detail}
    detail = f"{observed} days with a known quantity; version {task.version} needs {MINIMUM_DAYS}."
    return {"method": method, "reason": "too_little_history", "detail": detail}


def _row(forecast: Forecast, row: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return forecast.mean_SH[row], forecast.quantiles_SHQ[row]


def _stored(
    context: Context,
    series: int,
    version: int,
    figures: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    generated_at: datetime,
) -> Stored:
    return Stored(
        series_id=context.series_ids[series],
        version=version,
        series_revision=context.revisions[series],
        calendar_revision=context.calendar_revision,
        cutoff=context.last_days[series],
        mean_H=figures[0],
        quantiles_HQ=figures[1],
        fallback=None,
        generated_at=generated_at,
        held_out=context.held_out[series] or None,
    )
