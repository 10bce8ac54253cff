"""A backtest in the training child: windows forecast and scored one after the other, their table saved, the result told.

Nothing is published: the result belongs to the job. What a backtest measures, and on which windows, is models/backtest.py's.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from app.jobs import results
from app.jobs.task import panel_for, training_config
from app.registry.serving import load_forecaster
from models.backtest import Plan, Rolling, Scored, fresh, of_version, run, summary
from models.baselines import BASELINES
from models.errors_by_part import TABLE
from models.panel import Panel
from models.placement import CPU, Placement
from models.progress import Progress, Report, TimeLimitReached

TRAINING_SHARE = 0.8
"""Of the progress of a backtest that trains first."""

NOTES = {
    "trained": "Of a network trained once on what precedes the first window.",
    "version": "Of the version as it is, on days after the last it has learned from.",
    "twin": "Of the version's twin, whose weights have seen no day of its windows; when its training stopped, and the spread "
    "of a point head, were chosen on some of them.",
}


def backtested(
    task: dict[str, Any],
    panel: Panel,
    judged: tuple[int, str] | None,
    report: Report,
    placement: Placement = CPU,
) -> dict[str, Any]:
    """Run the backtest that a task asks for and save its table; the job's result.

    Raises NoWindow, TimeLimitReached, what a training raises, or the Problem of a damaged artifact or store.
    """
    clock = _Clock(task["request"]["max_seconds"], report)
    request = task["request"]
    rolling = Rolling(request["horizon"], request["windows"], request["step"])
    if judged is None:
        plan = fresh(panel, training_config(request, panel), rolling, report=clock.training, placement=placement)
    else:
        forecaster = load_forecaster(task["artifacts"], judged[1], placement.device)
        panel = panel_for(forecaster, panel)
        plan = of_version(forecaster, panel, rolling)
    scored: list[Scored] = []
    tables = _tables(run(panel, plan, rolling.horizon), scored.append, clock, len(plan.windows))
    content, rows = results.parquet(tables, TABLE, {"job": task["job_id"]})
    table = results.save(task["artifacts"], content)
    found = _described(request, panel, plan) | summary(scored)
    return {
        "outcome": outcome(found),
        "backtest": found,
        "table": {"sha256": table.sha256, "bytes": table.bytes, "rows": rows},
    }


def outcome(found: dict[str, Any]) -> str:
    """What came of it in a sentence or two, for the job."""
    name = f"A fresh {found['model']}" if found["model_version"] is None else f"Version {found['model_version']}"
    scores = found["overall"]["scores"]
    own = scores["model"]["wql"]
    windows = f"{_count(len(found['windows']), 'window')} of {_count(found['horizon'], 'day')}"
    if own is None:
        said = f"Nothing was sold in the {windows}, so no WQL could be measured."
    else:
        best = min(BASELINES, key=lambda baseline: scores[baseline]["wql"])
        said = (
            f"{name} has a WQL of {own:.4f} over {windows}, beside the {scores[best]['wql']:.4f} of the best baseline's, "
            f"{best.replace('_', ' ')}."
        )
    left_out = found["left_out"]
    if not left_out["cutoffs"]:
        return said
    asked = len(found["windows"]) + len(left_out["cutoffs"])
    were = "was" if len(left_out["cutoffs"]) == 1 else "were"
    return f"{said} {len(left_out['cutoffs'])} of the {asked} windows {were} left out: {left_out['reason']}."


class _Clock:
    """Tells progress, and raises when `max_seconds` are over."""

    def __init__(self, limit: float, report: Report) -> None:
        self._started = time.monotonic()
        self._limit = limit
        self._report = report
        self._trained = Progress(0.0, 0, 0, None, None, None, "backtesting")

    def training(self, progress: Progress) -> None:
        """A training's own progress, as the greater part of the backtest's."""
        stage = "backtesting" if progress.stage == "done" else progress.stage
        self._trained = replace(progress, fraction=TRAINING_SHARE * progress.fraction, stage=stage)
        self._report(self._trained)

    def window(self, done: int, windows: int) -> None:
        spent = time.monotonic() - self._started
        if done < windows and spent > self._limit:
            raise TimeLimitReached(
                f"The backtest was stopped after its limit of {self._limit:.0f} s, {done} of {windows} windows done."
            )
        begun = self._trained.fraction
        fraction = begun + (1 - begun) * done / windows
        left = spent * (1 - fraction) / fraction if fraction > 0.01 else None
        self._report(replace(self._trained, fraction=fraction, eta_seconds=left, stage="backtesting"))


def _tables(windows: Iterator[Scored], keep: Callable[[Scored], None], clock: _Clock, count: int) -> Iterator[pa.Table]:
    """The table of each window as it is scored; of the window itself only the scores are kept, for tables may be large."""
    clock.window(0, count)
    for done, window in enumerate(windows, start=1):
        yield window.table
        keep(replace(window, table=TABLE.empty_table()))
        clock.window(done, count)


def _described(request: dict[str, Any], panel: Panel, plan: Plan) -> dict[str, Any]:
    used = dict.fromkeys(window.weights for window in plan.windows)
    return {
        "model": plan.windows[0].forecaster.architecture,
        "model_version": request.get("model_version"),
        "horizon": request["horizon"],
        "step": request["step"],
        "newest_day": str(panel.end),
        "left_out": {"cutoffs": [str(day) for day in plan.left_out], "reason": plan.why or None},
        "note": " ".join(NOTES[weights] for weights in used),
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
