"""Backtests: forecasts at several past cutoffs, by weights that have learned from no later day, beside the baselines.

Cutoffs are counted back from the panel's newest day: newest - horizon - k * step for k = 0 … windows - 1. A `Plan` says
which weights forecast which window: `fresh` trains one network on what precedes the first cutoff, `of_version` takes a
forecaster as it is, for the windows it has not learned from. `run` then scores window after window, each forecaster and
baseline on the same ones, and `summary` puts them together. Metrics are computed per window and averaged over windows.

What is known ahead (calendar, prices, promotions) is taken as it stands in the panel now, not as it stood at the cutoff.

Shapes: S series, K buckets of days ahead, T days.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from models.baselines import BASELINES, Baseline
from models.errors_by_part import Errors, Part, Sums, joined, sums_of, truth_at
from models.evaluation import Source, average_scores
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.heldout import days_needed
from models.inference import predict
from models.panel import Panel
from models.placement import CPU, Placement
from models.progress import Report
from models.segments import bucket_names, segments
from models.training import train
from models.training_config import TrainingConfig

SERIES_AT_ONCE = 4096
Weights = Literal["trained", "version", "twin"]


class NoWindow(ValueError):
    """No window is left that could be judged; the message says why, and what to do instead."""


@dataclass(frozen=True)
class Rolling:
    """Which windows are asked for: `windows` cutoffs, `step` days apart, each with `horizon` days after it."""

    horizon: int
    windows: int
    step: int

    def cutoffs(self, panel: Panel) -> list[int]:
        """Their day indices, oldest first; below 0 where the panel does not reach back so far."""
        newest = panel.days - 1 - self.horizon
        return [newest - k * self.step for k in range(self.windows)][::-1]


@dataclass(frozen=True)
class Window:
    """One cutoff (a day index), and the weights that forecast from it."""

    cutoff: int
    forecaster: Forecaster
    weights: Weights


@dataclass(frozen=True)
class Plan:
    """The windows to score, oldest first, those that were left out, and why ("" when none was)."""

    windows: list[Window]
    left_out: list[np.datetime64]
    why: str


@dataclass(frozen=True)
class Scored:
    """One window: the scores of each part of it, and a row for every source, series and bucket (see `errors_by_part.TABLE`)."""

    cutoff: np.datetime64
    weights: Weights
    parts: dict[tuple[str, str], Part]
    table: pa.Table


def fresh(
    panel: Panel,
    config: TrainingConfig,
    rolling: Rolling,
    *,
    report: Report = lambda progress: None,
    placement: Placement = CPU,
) -> Plan:
    """Train one network on what precedes the first cutoff, series without a day of it left out; it forecasts every window.

    Cutoffs that leave too little history to train on are left out. Raises NoWindow, or what `train` raises.
    """
    needed, first = days_needed(rolling.horizon), _first_day(panel)
    asked = rolling.cutoffs(panel)
    cutoffs = [cutoff for cutoff in asked if cutoff - first + 1 >= needed]
    if not cutoffs:
        days = panel.days - first
        raise NoWindow(
            f"A backtest of a horizon of {rolling.horizon} days needs {needed + rolling.horizon} days of sales, and there "
            f"are {days}: {needed + rolling.horizon - days} more are missing, or a shorter horizon is needed."
        )
    seen = panel.until(_day(panel, cutoffs[0]))
    known = np.flatnonzero(np.isfinite(seen.quantity_ST).any(axis=1))
    forecaster = train(seen.rows(known), config, report=report, placement=placement).forecaster
    left_out = [_day(panel, cutoff) for cutoff in asked if cutoff not in cutoffs]
    why = f"fewer than the {needed} days of sales that training needs precede the cutoff" if left_out else ""
    return Plan([Window(cutoff, forecaster, "trained") for cutoff in cutoffs], left_out, why)


def of_version(forecaster: Forecaster, panel: Panel, rolling: Rolling) -> Plan:
    """The windows that a forecaster, or else its twin, has not learned from: it had seen no day after their cutoff.

    Raises NoWindow when there is none, ValueError for a horizon past the forecaster's.
    """
    if rolling.horizon > forecaster.horizon:
        raise ValueError(f"The horizon {rolling.horizon} is past the {forecaster.horizon} days of this version.")
    candidates: list[tuple[Forecaster, Weights]] = [(forecaster, "version")]
    candidates += [(forecaster.twin, "twin")] if forecaster.twin is not None else []
    first = _first_day(panel)
    windows, left_out = [], []
    for cutoff in rolling.cutoffs(panel):
        unseen = [(f, w) for f, w in candidates if cutoff >= max(panel.day_index(f.learned_until), first)]
        if unseen:
            windows.append(Window(cutoff, *unseen[0]))
        else:
            left_out.append(_day(panel, cutoff))
    learned = candidates[-1][0].learned_until
    until = f"{forecaster.learned_until}" + (f", its twin until {learned}" if forecaster.twin is not None else "")
    if not windows:
        raise NoWindow(_all_learned(forecaster, panel, rolling.horizon, learned, until))
    return Plan(windows, left_out, f"the version has learned from their days (until {until})" if left_out else "")


def _all_learned(forecaster: Forecaster, panel: Panel, horizon: int, learned: np.datetime64, until: str) -> str:
    missing = max(panel.day_index(learned) - (panel.days - 1 - horizon), 1)
    shorter = f"ask for a horizon of at most {horizon - missing}, " if missing < horizon else ""
    return (
        f"The version has learned from days in every one of these windows (until {until}), so none can judge it. "
        f"Wait for the sales of {missing} more day{'s' if missing > 1 else ''}, {shorter}or give "
        f'"model": "{forecaster.architecture}" instead of the version: that trains a fresh network on what '
        "precedes the first window."
    )


def run(panel: Panel, plan: Plan, horizon: int) -> Iterator[Scored]:
    """Forecast and score the plan's windows, oldest first, a few thousand series at a time."""
    for window in plan.windows:
        yield _scored(panel, window, horizon)


def summary(windows: list[Scored]) -> dict[str, Any]:
    """Every part's scores, averaged over windows: `overall`, by segment, by days ahead, and each window by itself."""
    keys = list(dict.fromkeys(key for window in windows for key in window.parts))

    def averaged(wanted: tuple[str, str]) -> dict[str, Any]:
        return _averaged([window.parts[wanted] for window in windows if wanted in window.parts])

    return {
        "overall": averaged(("overall", "")),
        "segments": [{"segment": name} | averaged((kind, name)) for kind, name in keys if kind == "segment"],
        "horizons": [{"days": name} | averaged((kind, name)) for kind, name in keys if kind == "days"],
        "windows": [
            {"cutoff": str(w.cutoff), "weights": w.weights} | _averaged([w.parts["overall", ""]]) for w in windows
        ],
    }


def _averaged(parts: list[Part]) -> dict[str, Any]:
    sources = parts[0].scores
    return {
        "forecasts": sum(part.forecasts for part in parts),
        "observed": sum(part.observed for part in parts),
        "scores": {source: average_scores([part.scores[source] for part in parts]) for source in sources},
    }


def _scored(panel: Panel, window: Window, horizon: int) -> Scored:
    """Series without an observed day up to the cutoff are left out, as in every evaluation."""
    cutoff = window.cutoff
    sources: dict[str, Source] = {"model": partial(_network, window.forecaster, horizon)}
    sources |= {name: partial(_simple, baseline, horizon) for name, baseline in BASELINES.items()}
    alive = np.flatnonzero(np.isfinite(panel.quantity_ST[:, : cutoff + 1]).any(axis=1))
    sums: dict[str, list[Sums]] = {name: [] for name in sources}
    scales, steps, kinds = [], [], []
    for first in range(0, max(len(alive), 1), SERIES_AT_ONCE):
        some = panel.rows(alive[first : first + SERIES_AT_ONCE])
        truth = truth_at(some, cutoff, horizon)
        for name, source in sources.items():
            sums[name].append(sums_of(source(some, cutoff), truth))
        scales.append(truth.scale_S)
        steps.append(truth.step_S)
        kinds.append(segments(some, cutoff))
    errors = Errors(
        panel.rows(alive).keys,
        bucket_names(horizon),
        np.concatenate(kinds),
        np.concatenate(scales),
        np.concatenate(steps),
        {name: joined(parts) for name, parts in sums.items()},
    )
    day = _day(panel, cutoff)
    return Scored(day, window.weights, errors.parts(), errors.table(day))


def _network(forecaster: Forecaster, horizon: int, panel: Panel, cutoff: int) -> Forecast:
    return predict(forecaster, panel, cutoff, horizon=horizon)


def _simple(baseline: Baseline, horizon: int, panel: Panel, cutoff: int) -> Forecast:
    return baseline(panel, cutoff, horizon)


def _first_day(panel: Panel) -> int:
    """Index of the first day that anything was observed on. Raises NoWindow when there is none."""
    seen_T = np.asarray(np.isfinite(panel.quantity_ST).any(axis=0))
    if not seen_T.any():
        raise NoWindow("There is no observed day at all; post some sales first.")
    return int(seen_T.argmax())


def _day(panel: Panel, index: int) -> np.datetime64:
    return panel.start + np.timedelta64(index, "D")
