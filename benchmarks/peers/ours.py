"""Our own forecaster in the peers' table: `benchmarks.accuracy` on the same windows, in a process of its own.

A run on reported windows is logged there, by itself.
"""

import argparse
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.runs import LOG, line_of, set_words, window_words

OURS = "shelfcast"
MOST_SECONDS = 86_400
"""No peer is stopped for its time, so neither are we; the most that a training may be told."""
SAME = (
    "data", "end", "horizon", "windows", "step", "covariates", "country", "seed", "series", "train_seconds",
    "predict_seconds", "series_per_second", "cpu_seconds", "parameters", "peak_memory_mb", "threads", "date", "machine",
    "commit",
)  # fmt: skip
DETAIL = ("adjustment", "steps", "update_seconds", "frozen", "climatology", "weekly")


def line(args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Our line on the windows of `args`, of the model `args.ours`, with fields of its training set. Raises as `line_of` does."""
    with tempfile.TemporaryDirectory() as folder:
        kept = args.out or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        own = ["--model", args.ours, "--out", str(kept / f"{OURS}.parquet"), *["--frozen"] * args.frozen]
        own += ["--max-seconds", str(MOST_SECONDS)]
        own += ["--log", str(args.log)] if args.log != LOG else []
        told = line_of(
            "benchmarks.accuracy", [*window_words(args), *own, *set_words(settings)], threads=args.threads
        )  # fmt: skip
    return as_peer(told, frozen=args.frozen, settings=settings)


def as_peer(told: dict[str, Any], *, frozen: bool, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What accuracy tells in the words of a peer: as forecast is unrounded, in whole units is what the service answers."""
    updates = "once" if frozen else f"once, updates {told['update_seconds']} s"
    return {
        "peer": f"{OURS} {told['model']}{' frozen' * frozen}",
        **{name: told[name] for name in SAME},
        "whole_units": told["adjustment"]["whole_units"],
        "trained": updates,
        "versions": {"torch": version("torch")},
        "detail": {name: told[name] for name in DETAIL if name in told} | {"settings": dict(settings)},
        "metrics": told["unrounded"],
        "metrics_whole": told["metrics"],
    }
