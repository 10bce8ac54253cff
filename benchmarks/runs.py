"""What every accuracy run has in common: options that pick its windows, a process of its own, scores, forecasts, the log.

Only runs on reported windows are logged. Shared by `benchmarks.accuracy` and `benchmarks.peers`, so that their figures
stand side by side.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.evaluation import SCORED_LEVELS, Scores, average_scores, score_window
from models.forecast import Forecast
from models.panel import Panel
from models.quantiles import interpolate_levels

LOG = Path(__file__).parent / "results" / "log.csv"
LOGGED = ("mase", "sql", "wape", "wql", "rmsse", "bias")
FILES = (".parquet", ".csv")
WINDOW_OPTIONS = (
    "data", "horizon", "windows", "step", "covariates", "country", "season", "end", "seed", "threads", "series"
)  # fmt: skip


def add_window_options(parser: argparse.ArgumentParser) -> None:
    """The file, its windows and what may be known of them: the same words in every command."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--windows", type=int, required=True)
    parser.add_argument("--step", type=int, required=True)
    parser.add_argument("--covariates", default="", help="known:promo,known:price,past:rain,static:brand")
    parser.add_argument("--country", help="public holidays of all series, such as IT, or DE-BY for a part of a country")
    parser.add_argument("--season", type=int, default=7)
    parser.add_argument("--end", help="last day used, inclusive; for choices on earlier windows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--series", type=positive, help="repeat the file's series under new names until there are so many"
    )


def add_hiding_options(parser: argparse.ArgumentParser) -> None:
    """What commands have in common that hide SKUs or pasts, on windows before the reported ones."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--covariates", default="", help="known:promo,past:rain,static:brand")
    parser.add_argument("--country", help="public holidays of all series, such as IT, or DE-BY for a part of a country")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--folds", type=int, default=4, help="parts of the SKUs, hidden one after the other")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument(
        "--end", required=True, help="last day used, inclusive: this is measured on earlier windows alone"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the training")


def hiding_run(args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What such a command was asked for, as its line of JSON tells it."""
    names = ("end", "model", "covariates", "folds", "windows", "seed")
    return {"data": args.data.name, **{name: getattr(args, name) for name in names}, "settings": dict(settings)}


def natural(text: str, *, least: int = 0) -> int:
    """A whole number from `least` on, for argparse."""
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{text} is not {least} or more.")
    return number


def positive(text: str) -> int:
    return natural(text, least=1)


def window_words(args: argparse.Namespace) -> list[str]:
    """The options of `add_window_options` as words again, for another command."""
    given = ((name, getattr(args, name)) for name in WINDOW_OPTIONS)
    return [word for name, value in given if value not in (None, "") for word in (f"--{name}", str(value))]


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Fields as they are given to --set: FIELD=VALUE, the value as JSON."""
    return {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in pairs)}


def set_words(settings: Mapping[str, Any]) -> list[str]:
    """The inverse, for another command."""
    return ["--set", *(f"{name}={json.dumps(value)}" for name, value in settings.items())] if settings else []


def line_of(module: str, words: Sequence[str], *, threads: int) -> dict[str, Any]:
    """What a benchmark says in its last line, as JSON, from a process of its own: its memory and processor time are its own.

    Libraries beneath are held to `threads`. What else it says goes to stderr. Raises CalledProcessError where it fails.
    """
    bounded = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    command = [sys.executable, "-m", module, *words]
    ended = subprocess.run(command, env=os.environ | bounded, stdout=subprocess.PIPE, text=True, check=False)
    said = ended.stdout.splitlines()
    sys.stderr.writelines(f"{line}\n" for line in (said if ended.returncode else said[:-1]))
    ended.check_returncode()
    found: dict[str, Any] = json.loads(said[-1])
    return found


def repeated(panel: Panel, series: int | None) -> Panel:
    """The panel's series again and again, until there are so many; each further round has its SKUs under new names.

    Fewer than the panel has are its first ones; None leaves it as it is.
    """
    if series is None:
        return panel
    rows = np.arange(series)
    part = panel.rows(rows % panel.series)
    skus = [f"{sku}#{row // panel.series + 1}" if row >= panel.series else sku for row, sku in enumerate(part.skus)]
    return replace(part, skus=skus)


def scores(forecasts: list[Forecast], panel: Panel, cutoffs: list[int], *, horizon: int, season: int = 7) -> Scores:
    """The scores of forecasts, one a cutoff, averaged over these windows."""
    return average_scores(
        [score_window(f, panel, c, horizon=horizon, season=season) for f, c in zip(forecasts, cutoffs, strict=True)]
    )


def in_whole_units(forecast: Forecast) -> Forecast:
    """The forecast with its quantiles rounded; the mean stays as it is."""
    return Forecast(forecast.mean_SH, np.round(forecast.quantiles_SHQ), forecast.levels_Q)


def write_forecasts(path: Path, panel: Panel, cutoffs: list[int], forecasts: list[Forecast]) -> None:
    """One row per series, cutoff and day ahead, in the layout that the public scorer reads."""
    parts = []
    for cutoff, forecast in zip(cutoffs, forecasts, strict=True):
        alive = np.flatnonzero(np.isfinite(panel.quantity_ST[:, : cutoff + 1]).any(axis=1))
        horizon = forecast.mean_SH.shape[1]
        quantiles = interpolate_levels(forecast.quantiles_SHQ[alive], forecast.levels_Q, SCORED_LEVELS)
        day = panel.start + np.timedelta64(cutoff, "D")
        part: dict[str, Any] = {
            "sku": np.repeat(np.array(panel.skus, dtype=object)[alive], horizon),
            "location": np.repeat(np.array(panel.locations, dtype=object)[alive], horizon),
            "cutoff": pd.Timestamp(day),
            "date": np.tile(day + np.arange(1, horizon + 1), len(alive)).astype("datetime64[ns]"),
            "mean": forecast.mean_SH[alive].reshape(-1),
        }
        part |= {str(v): quantiles[:, :, i].reshape(-1) for i, v in enumerate(SCORED_LEVELS)}
        parts.append(pd.DataFrame(part))
    pd.concat(parts, ignore_index=True).to_parquet(path)


def append_log(
    log: Path, result: dict[str, Any], *, module: str, argv: Sequence[str], code: Sequence[str], libraries: str
) -> None:
    """Every run on reported windows, so that anyone can count them. `code` is what the figures depend on."""
    row: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(code),
        "command": shlex.join(["python", "-m", module, *_without_folders(argv)]),
    }
    row |= {name: f"{result['metrics'][name]:.6f}" for name in LOGGED}
    row |= {
        "train_seconds": result["train_seconds"],
        "cpu_seconds": result["cpu_seconds"],
        "parameters": result["parameters"],
        "machine": machine(result["threads"]) + f", {libraries}",
    }
    log.parent.mkdir(exist_ok=True)
    new = not log.exists()
    with log.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def circumstances(threads: int, code: Sequence[str]) -> dict[str, str]:
    """When and where a run was made, and of which commit; `code` is what its figures depend on."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    return {"date": now, "machine": machine(threads), "commit": commit(code)}


def commit(code: Sequence[str]) -> str:
    """The commit, marked where the code that the figures depend on has changes that are not in it."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "--", *code], capture_output=True, text=True, check=False
    )  # fmt: skip
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def machine(threads: int) -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, Python {platform.python_version()}"


def _without_folders(argv: Sequence[str]) -> list[str]:
    """The command with files by their names alone."""
    parts = [word.rpartition("=") for word in argv]
    return [
        f"{head}{equals}{Path(value).name if Path(value).suffix in FILES else value}" for head, equals, value in parts
    ]
