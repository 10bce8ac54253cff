"""Equally many trials for all: the same number of random settings for every peer that has settings, and for ours.

Trial 0 is the settings as they stand. Each further one draws every field of its space by itself, with the run's seed. Trials are
judged on as many windows, of the same step, as are asked for, ending on the day before the first of those begins: no day that
is asked for is read. The best has the least product of SQL and WQL as forecast, so a percent of either counts alike. Here: what
is tried, where, and which is best; not how a peer takes its settings.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers.ours import OURS

Settings = dict[str, Any]
Ask = Callable[[argparse.Namespace, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, evenly, or evenly in the logarithm."""

    low: float
    high: float
    log: bool = False


Space = dict[str, Between | tuple[Any, ...]]
"""What each field is drawn from: a range, or a few values."""

DAYS_BACK = (28, 56, 112)


def spaces(steps: int) -> dict[str, Space]:
    """Five fields each: of a network its pace, size, memory, dropout and length of training; of trees what comes near to that.

    Learning rates go from a quarter of what stands to four times it; widths of neuralforecast's networks are half, the same and
    twice. `steps` are those that they are asked to take.
    """
    trees: Space = {
        "learning_rate": Between(0.02, 0.32, log=True),
        "leaves": (15, 31, 63),
        "leaf_rows": (30, 100, 300),
        "feature_share": Between(0.2, 0.8),
        "row_share": Between(0.3, 0.9),
    }
    own: Space = {
        "learning_rate": Between(0.0015, 0.024, log=True),
        "width": (32, 64, 128),
        "context_length": DAYS_BACK,
        "dropout": Between(0.0, 0.3),
        "epochs": (30, 60, 90),
    }
    widths = {"nf_lstm": 64, "nf_tft": 32, "nf_nhits": 512, "nf_patchtst": 64, "nf_tide": 128}
    networks: dict[str, Space] = {
        name: {
            "learning_rate": Between(0.00025, 0.004, log=True),
            "width": (width // 2, width, 2 * width),
            "input_size": DAYS_BACK,
            "dropout": Between(0.0, 0.3),
            "max_steps": (max(steps // 2, 1), steps, 2 * steps),
        }
        for name, width in widths.items()
    }
    return {OURS: own, "lightgbm": trees} | networks


def best(peer: str, args: argparse.Namespace, ask: Ask) -> dict[str, Any] | None:
    """What `args.trials` trials found, as plain JSON: `settings` are the best's. None without trials, or a space for them.

    `ask` runs the peer on the windows of its arguments with some settings; a trial that fails has no score. Raises ValueError
    where all fail.
    """
    space = spaces(args.steps).get(peer)
    if not args.trials or space is None:
        return None
    before = argparse.Namespace(**(vars(args) | {"end": day_before(args), "out": None}))
    tried = [trial(settings, before, ask) for settings in drawn(space, args.trials, seed=args.seed)]
    judged = [one for one in tried if one["score"] is not None]
    if not judged:
        raise ValueError(f"All {args.trials} trials of {peer} failed on the windows that end {before.end}.")
    chosen = min(judged, key=lambda one: one["score"])
    return {
        "trials": args.trials,
        "end": before.end,
        "chosen": tried.index(chosen),
        "settings": chosen["settings"],
        "seconds": round(sum(one["seconds"] for one in tried), 1),
        "tried": tried,
    }


def day_before(args: argparse.Namespace) -> str:
    """The day before the first window that is asked for begins: its cutoff."""
    rows = pd.read_parquet(args.data, columns=["date", "quantity"])
    newest = pd.to_datetime(rows.loc[rows["quantity"].notna(), "date"]).max()
    if args.end:
        newest = min(newest, pd.Timestamp(args.end))
    days = args.horizon + (args.windows - 1) * args.step
    return str((newest - pd.Timedelta(days=days)).date())


def drawn(space: Space, trials: int, *, seed: int) -> list[Settings]:
    """The settings of each trial: none for the first, so that all stay as they stand. More trials begin with the same ones."""
    rng = np.random.default_rng(seed)
    return [{}, *({name: value(field, rng) for name, field in space.items()} for _ in range(trials - 1))]


def value(field: Between | tuple[Any, ...], rng: np.random.Generator) -> Any:
    """One value, of three significant digits where it is any number."""
    if isinstance(field, tuple):
        return field[rng.integers(len(field))]
    low, high = (np.log(field.low), np.log(field.high)) if field.log else (field.low, field.high)
    number = rng.uniform(low, high)
    return float(f"{np.exp(number) if field.log else number:.3g}")


def trial(settings: Settings, before: argparse.Namespace, ask: Ask) -> dict[str, Any]:
    print(f"   trial {settings or 'as it stands'}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        metrics = ask(before, settings)["metrics"]
    except subprocess.CalledProcessError:
        metrics = {"sql": None, "wql": None}
    sql, wql = metrics["sql"], metrics["wql"]
    return {
        "settings": settings,
        "sql": sql,
        "wql": wql,
        "score": None if sql is None or wql is None else sql * wql,
        "seconds": round(time.perf_counter() - started, 1),
    }
