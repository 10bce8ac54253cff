"""Accuracy of one network on a file of daily sales, without a database.

    python -m benchmarks.accuracy --data FILE.parquet --out FORECASTS.parquet --model lstm --horizon 28 --windows 10 --step 28

Trains once on what precedes the first cutoff; before each later one updates it, as the service would, by a few steps on the days
that have come in since. Forecasts at every cutoff, writes the forecasts (with `mean`) and prints one line of JSON: `metrics` of
what the service answers, in whole units where it says so, the same `unrounded`, those of the version that was trained, `frozen`,
without any update, those of `climatology` (each series' own quantiles of the last year by weekday, not rounded: what no forecast
may be worse than), and those of the sums of the `weekly` stretches ahead, beside what independent days would give. Cutoffs are
END - HORIZON - k * STEP for k = 0 … WINDOWS - 1. With --end the days after it are dropped: that is how choices are made. A
run without --end is on reported windows and is appended to results/log.csv. With --compress the ensemble is also distilled:
`compressed` has what was decided on the days held out before the windows, and the student's `metrics` on the windows themselves.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.runs import (
    LOG,
    add_window_options,
    append_log,
    circumstances,
    repeated,
    scores,
    settings_of,
    write_forecasts,
)
from benchmarks.weekly import weekly_scores
from models.ages import AGE, with_ages
from models.climatology import YEAR, own_year
from models.days import take_days
from models.distilling import distil
from models.evaluation import window_cutoffs
from models.fallback import fallback
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.holidays import HOLIDAYS, place_of, with_holidays
from models.inference import answerable, predict
from models.online.finetuning import UpdateConfig, carried_on
from models.panel import Panel, panel_from_frame
from models.placement import CPU, NoSuchDevice, Placement, placement_of
from models.progress import Clock
from models.training import Trained, train
from models.training_config import LEVELS, MODELS, TrainingConfig

MOST_CATEGORIES = 20
LAUNCHED = "launched_on"
"""The static covariate of a day, as text, from which the age of an item is told instead."""
CODE = ("models", "benchmarks/accuracy.py", "benchmarks/runs.py", "benchmarks/weekly.py")


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    reach = args.horizon + (args.windows - 1) * args.step
    panel, known, past = read_panel(
        args.data, args.covariates, country=args.country, end=args.end, unseen=reach, series=args.series
    )
    cutoffs = window_cutoffs(panel.days, horizon=args.horizon, windows=args.windows, step=args.step)
    if len(cutoffs) < args.windows:
        print(f"The data holds only {len(cutoffs)} windows.", file=sys.stderr)
        return 1
    config = TrainingConfig(
        model=args.model, horizon=args.horizon, seed=args.seed, known=known, past=past,
        max_seconds=args.max_seconds, **settings_of(args.set),
    )  # fmt: skip
    before = seen(panel, cutoffs[0])
    trained = train(before, config, placement=args.device)
    judge = partial(scores, panel=panel, cutoffs=cutoffs, horizon=args.horizon, season=args.season)
    result = judged(args, trained, panel, cutoffs, judge)
    if args.compress:
        student, compressed = compress(trained, before, config, args.device)
        alone = forecasts_of([student.forecaster] * len(cutoffs), panel, cutoffs)
        result["compressed"] = compressed | {"metrics": judge(alone)}
    print(json.dumps(result))
    if not args.end:
        append_log(
            args.log, result, module="benchmarks.accuracy", argv=argv,
            libraries=f"torch {torch.__version__}" + ("" if args.device == CPU else f", {args.device.device}"),
            code=CODE,
        )  # fmt: skip
    return 0


def judged(
    args: argparse.Namespace,
    trained: Trained,
    panel: Panel,
    cutoffs: list[int],
    judge: Callable[[list[Forecast]], dict[str, Any]],
) -> dict[str, Any]:
    """Forecasts at every cutoff, written to `args.out`; their scores, and those of what they are to be compared with."""
    frozen = [trained.forecaster] * len(cutoffs)
    started = time.perf_counter()
    lineage = frozen if args.frozen else updated(trained.forecaster, panel, cutoffs, args.seed)
    update_seconds = time.perf_counter() - started
    forecasts = forecasts_of(lineage, panel, cutoffs)
    predict_seconds = time.perf_counter() - started - update_seconds
    write_forecasts(args.out, panel, cutoffs, forecasts)
    result = summary(args, trained, judge(forecasts), predict_seconds)
    result["series_per_second"] = round(panel.series * len(cutoffs) / max(predict_seconds, 1e-9), 1)
    plain = forecasts_of(lineage, panel, cutoffs, whole_units=False)
    result |= {"update_seconds": round(update_seconds, 1), "unrounded": judge(plain)}
    if not args.frozen:
        result["frozen"] = judge(forecasts_of(frozen, panel, cutoffs))
    result["climatology"] = judge([climatology_at(panel, cutoff, args.horizon) for cutoff in cutoffs])
    dependence = trained.forecaster.dependence
    return result | {"weekly": weekly_scores(forecasts, panel, cutoffs, dependence, horizon=args.horizon)}


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_window_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--max-seconds", type=float, default=1800.0)
    parser.add_argument(
        "--device",
        type=placement,
        default=CPU,
        help="where to train and predict: cpu (the default), cuda, cuda:1, auto",
    )
    parser.add_argument("--frozen", action="store_true", help="do not update between cutoffs")
    parser.add_argument(
        "--compress", action="store_true", help="distil the ensemble as well, and score the student beside it"
    )
    parser.add_argument("--log", type=Path, default=LOG, help="where runs on reported windows are appended to")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the training")
    args = parser.parse_args(argv)
    if args.compress and args.model != "ensemble":
        parser.error("--compress needs --model ensemble")
    return args


def compress(
    trained: Trained, before: Panel, config: TrainingConfig, placed: Placement
) -> tuple[Trained, dict[str, Any]]:
    """The ensemble's student in its place, whatever the rule says, and what the rule says. `before` is what it was trained on."""
    student = config.student()
    clock = Clock(config.max_seconds, student.epochs, lambda progress: None)
    distilled = distil(before, trained, student, clock, always=True, placement=placed)
    assert distilled.student is not None
    figures = {
        "seconds": round(distilled.seconds, 1),
        "steps": distilled.steps,
        "parameters": distilled.student.parameters(),
    }
    return replace(trained, forecaster=distilled.student), distilled.compressed | figures


def placement(name: str) -> Placement:
    try:
        return placement_of(name)
    except NoSuchDevice as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read_panel(
    path: Path,
    covariates: str,
    *,
    country: str | None = None,
    end: str | None = None,
    unseen: int = 0,
    series: int | None = None,
) -> tuple[Panel, tuple[str, ...], tuple[str, ...]]:
    """A file's panel up to the day `end`, its known and its past covariates; text becomes one flag per category.

    Which categories of a past covariate get a flag is decided without the newest `unseen` days. `series` repeats the file's.
    """
    frame = pd.read_parquet(path)
    dates = pd.to_datetime(frame["date"])
    newest = pd.Timestamp(end) if end else dates.max()
    seen_before = dates <= newest - pd.Timedelta(days=unseen)
    names: dict[str, list[str]] = {"known": [], "past": [], "static": []}
    for item in filter(None, covariates.split(",")):
        role, _, column = item.partition(":")
        if role not in names or column not in frame.columns:
            raise SystemExit(f"--covariates {item}: known:COLUMN, past:COLUMN or static:COLUMN of the file is needed.")
        counted = seen_before if role == "past" else np.ones(len(frame), np.bool_)
        names[role] += [column] if role == "static" else flags(frame, column, counted)
    panel = panel_from_frame(frame, known=names["known"], past=names["past"], static=names["static"])
    panel = repeated(panel, series)
    if LAUNCHED in names["static"]:
        launched = panel.static.pop(LAUNCHED)
        panel = with_ages(panel, np.array([day or "NaT" for day in launched], "datetime64[D]"), ahead=0)
        names["known"] += [AGE]
    if country:
        try:
            panel = with_holidays(panel, [place_of(country)] * panel.series)
        except ValueError as error:
            raise SystemExit(f"--country {country}: {error}") from error
        names["known"] += [name for name in HOLIDAYS if name not in names["known"]]
        names["past"] = [name for name in names["past"] if name not in HOLIDAYS]
    if end:
        panel = panel.until(np.datetime64(end))
    return panel, tuple(names["known"]), tuple(names["past"])


def flags(frame: pd.DataFrame, column: str, counted: "pd.Series[bool] | NDArray[np.bool_]") -> list[str]:
    """The column's own name when it is numeric; else a flag for each of its most frequent values, added to the frame.

    Frequent are those of the rows `counted`.
    """
    if pd.api.types.is_numeric_dtype(frame[column]):
        return [column]
    values = frame[column].fillna("")
    frequent = [v for v in values[counted].value_counts().index if v != ""][:MOST_CATEGORIES]
    for value in frequent:
        frame[f"{column}={value}"] = (values == value).astype(np.float32)
    return [f"{column}={value}" for value in frequent]


def seen(panel: Panel, cutoff: int) -> Panel:
    """What is known at a cutoff."""
    return panel.until(panel.start + np.timedelta64(cutoff, "D"))


def updated(forecaster: Forecaster, panel: Panel, cutoffs: list[int], seed: int) -> list[Forecaster]:
    """The forecaster at each cutoff: from the second on updated by the days that have come in since the one before."""
    lineage = [forecaster]
    for cutoff in cutoffs[1:]:
        lineage.append(carried_on(lineage[-1], seen(panel, cutoff), config=UpdateConfig(seed=seed + cutoff)))
    return lineage


def forecasts_of(
    lineage: list[Forecaster], panel: Panel, cutoffs: list[int], *, whole_units: bool = True
) -> list[Forecast]:
    """The forecasts of one forecaster a cutoff."""
    return [forecast_at(one, panel, c, whole_units=whole_units) for one, c in zip(lineage, cutoffs, strict=True)]


def forecast_at(forecaster: Forecaster, panel: Panel, cutoff: int, *, whole_units: bool = True) -> Forecast:
    """The forecast; a series too short for the networks is answered as the service would, by the fallback."""
    forecast = predict(forecaster, panel, cutoff, whole_units=whole_units)
    short = np.flatnonzero(~answerable(panel, cutoff))
    if short.size:
        simple, _, _ = fallback(panel.rows(short), cutoff, forecaster.horizon)
        forecast.mean_SH[short], forecast.quantiles_SHQ[short] = simple.mean_SH, simple.quantiles_SHQ
    return forecast


def climatology_at(panel: Panel, cutoff: int, horizon: int) -> Forecast:
    """Each series' own quantiles of the last year by weekday; zeros for a series without a day in it."""
    first_S = np.full(panel.series, cutoff - YEAR + 1, np.int64)
    year_SM = take_days(panel.quantity_ST, np.arange(panel.series), first_S, YEAR)
    mean_SH, quantiles_SHQ = own_year(year_SM, horizon)
    return Forecast(np.nan_to_num(mean_SH), np.nan_to_num(quantiles_SHQ), np.array(LEVELS))


def summary(
    args: argparse.Namespace, trained: Trained, metrics: dict[str, Any], predict_seconds: float
) -> dict[str, Any]:
    return {
        "model": args.model,
        "data": args.data.name,
        "end": args.end,
        "horizon": args.horizon,
        "windows": args.windows,
        "step": args.step,
        "covariates": args.covariates,
        "country": args.country,
        "seed": args.seed,
        "series": args.series,
        "adjustment": {
            name: value
            for name, value in trained.forecaster.adjustment.as_dict().items()
            if name not in ("levels", "evidence")
        },
        "metrics": metrics,
        "train_seconds": round(trained.seconds, 1),
        "predict_seconds": round(predict_seconds, 2),
        "cpu_seconds": round(time.process_time(), 1),
        "steps": trained.steps,
        "parameters": trained.forecaster.parameters(),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "threads": args.threads,
        "device": str(args.device.device),
    } | circumstances(args.threads, CODE)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
