"""One peer on one file: its forecasts, their scores and what they cost, as one line of JSON.

python -m benchmarks.peers.one --peer lightgbm --data FILE.parquet --horizon 28 --windows 5 --step 28
"""

import argparse
import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers.data import public_holidays, read_data
from benchmarks.peers.task import CODE, PEERS, Answer, Peer, Task
from benchmarks.runs import add_window_options, circumstances, in_whole_units, scores, settings_of, write_forecasts
from models.evaluation import window_cutoffs


def main(argv: list[str]) -> int:
    args = parse(argv)
    days = pd.to_datetime(pd.read_parquet(args.data, columns=["date"])["date"])
    holidays = public_holidays(args.country, days.min().year - 1, days.max().year + 2)
    data = read_data(args.data, args.covariates, holidays=holidays, ahead=args.horizon)
    if args.end:
        data = data.until(np.datetime64(args.end))
    data = data.repeated(args.series)
    cutoffs = window_cutoffs(data.panel.days, horizon=args.horizon, windows=args.windows, step=args.step)
    if len(cutoffs) < args.windows:
        print(f"The data holds only {len(cutoffs)} windows.", file=sys.stderr)
        return 1
    peer = PEERS[args.peer]
    task = Task(
        data, cutoffs, args.horizon, args.season, args.seed, args.threads, args.steps, settings_of(args.set)
    )  # fmt: skip
    answer = peer.function()(*peer.arguments, task)
    whole = [in_whole_units(f) for f in answer.forecasts]
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        chosen = whole if args.whole_units else answer.forecasts
        write_forecasts(args.out / f"{args.peer}.parquet", data.panel, cutoffs, chosen)
    told = {
        name: scores(forecasts, data.panel, cutoffs, horizon=args.horizon, season=args.season)
        for name, forecasts in (("metrics", answer.forecasts), ("metrics_whole", whole))
    }
    print(json.dumps(described(args, peer, task, answer) | told))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_window_options(parser)
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--steps", type=int, default=500, help="training steps of the networks of neuralforecast")
    parser.add_argument("--whole-units", action="store_true", help="written forecasts in whole units")
    parser.add_argument("--out", type=Path, help="folder for the forecasts")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="settings of the peer")
    return parser.parse_args(argv)


def described(args: argparse.Namespace, peer: Peer, task: Task, answer: Answer) -> dict[str, Any]:
    forecast = task.data.panel.series * len(task.cutoffs)
    return {
        "peer": args.peer,
        "data": args.data.name,
        "end": args.end,
        "horizon": args.horizon,
        "windows": args.windows,
        "step": args.step,
        "covariates": args.covariates,
        "country": args.country,
        "seed": args.seed,
        "series": args.series,
        "whole_units": args.whole_units,
        "trained": answer.trained,
        "train_seconds": round(answer.train_seconds, 1),
        "predict_seconds": round(answer.predict_seconds, 2),
        "series_per_second": round(forecast / max(answer.predict_seconds, 1e-9), 1),
        "cpu_seconds": round(time.process_time(), 1),
        "parameters": answer.parameters,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "threads": args.threads,
        "versions": {name: version(name) for name in peer.packages},
        "detail": answer.detail,
    } | circumstances(args.threads, CODE)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
