"""A training that tunes, in the training child: trials first, then the winner trained like any other.

Trials are told to the parent as they end, which keeps them behind its fence (queue.py); an attempt after a crash goes on from
those. How a trial is chosen, judged and pruned is models/tuning.py's.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from app.jobs.task import Reading, training_config
from models.panel import Panel
from models.placement import Placement
from models.progress import Progress, Report, TimeLimitReached
from models.training import Trained
from models.training_config import TrainingConfig
from models.tuning import Budget, tune

TUNING_SHARE = 0.6
"""Of the progress of a job that tunes."""
LEAST_SECONDS = 1.0

Train = Callable[[TrainingConfig, Report], Trained]


def tuned(
    request: dict[str, Any],
    reading: Reading,
    panel: Panel,
    *,
    keep: Callable[[dict[str, Any]], None],
    report: Report,
    train: Train,
    placement: Placement,
) -> tuple[Trained, dict[str, Any]]:
    """Try, then train the winner with `train`; what was trained, and what was found as plain JSON.

    `max_seconds` holds for both. Raises what a training raises.
    """
    started = time.monotonic()
    budget = Budget(request["tune"]["trials"], request["tune"]["timeout_s"])
    found = tune(
        panel,
        training_config(request, panel),
        budget,
        done=reading.trials,
        keep=lambda trial: keep(asdict(trial)),
        report=lambda progress: report(_scaled(progress, 0.0, TUNING_SHARE)),
        placement=placement,
    )
    spent = time.monotonic() - started
    limit: float = request["max_seconds"]
    config = replace(found.config, max_seconds=max(limit - spent, LEAST_SECONDS))
    try:
        trained = train(config, lambda progress: report(_scaled(progress, TUNING_SHARE, 1.0)))
    except TimeLimitReached as error:
        raise TimeLimitReached(
            f"The job was stopped after its limit of {limit:.0f} s, of which its trials took {spent:.0f} s; give it more "
            "max_seconds or its trials less timeout_s."
        ) from error
    return trained, found.findings


def _scaled(progress: Progress, begin: float, end: float) -> Progress:
    return replace(progress, fraction=begin + (end - begin) * progress.fraction)
