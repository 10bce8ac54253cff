"""What wrong sales of a few series do to the forecasts of all others: python -m benchmarks.poison --data FILE

From four weeks into the replayed year on, a share of the series is posted wrong for two weeks: multiplied by 12 (units instead of
cases), or drawn anew between zero and five times the most they ever sold. Nothing holds these days here, as the quarantine would:
this is what the updates themselves withstand. Two streams of all speeds, with the wrong days and without, from the same champion;
WQL of the other series at the cutoffs of the three weeks after, in percent.
"""

import argparse
import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks.accuracy import read_panel
from benchmarks.runs import circumstances
from benchmarks.updates.__main__ import HORIZON, Trainer, add_replay_options
from benchmarks.updates.losses import Losses
from models.days import Index
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.inference import answerable
from models.online.stream import Speeds, Stream
from models.panel import Panel
from models.training_config import TrainingConfig

WRONG_FROM, WRONG_DAYS, SCORED_DAYS = 28, 14, 21
KINDS = ("units", "noise")
CODE = ("models", "benchmarks/poison.py", "benchmarks/updates", "benchmarks/accuracy.py")


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    panel, known, past = read_panel(
        args.data, args.covariates, country=args.country, end=args.end, unseen=args.days + 1
    )
    first = panel.days - 1 - args.days
    config = partial(TrainingConfig, model=args.model, horizon=HORIZON, known=known, past=past)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in range(args.seeds):
        folder = args.work / f"{args.data.stem}-{args.end or 'end'}-{seed}"
        champion, _ = Trainer(folder, panel, config(seed=seed))(first)
        rng = np.random.default_rng(seed)
        wrong = rng.choice(panel.series, max(round(args.share * panel.series), 1), replace=False)
        clean = lived(replace(champion, twin=None), panel, panel, wrong, first, seed=seed)
        for kind in KINDS:
            posted = poisoned(panel, wrong, first, kind, rng)
            other = lived(replace(champion, twin=None), posted, panel, wrong, first, seed=seed)
            found[kind].append(100 * (other / clean - 1))
            print(seed, kind, round(found[kind][-1], 3), file=sys.stderr)
    asked = {name: getattr(args, name) for name in ("model", "end", "days", "seeds", "share", "covariates", "country")}
    percent = {kind: round(float(np.mean(values)), 3) for kind, values in found.items()}
    print(json.dumps({"data": args.data.name, **asked, "percent": percent} | circumstances(args.threads, CODE)))
    return 0


def lived(champion: Forecaster, posted: Panel, true: Panel, wrong: Index, first: int, *, seed: int) -> float:
    """WQL of the series that were posted right, after a life on what was posted."""
    stream = Stream(champion, posted, speeds=Speeds(), seed=seed)
    right = np.setdiff1d(np.arange(true.series), wrong)
    scored_from = first + WRONG_FROM + WRONG_DAYS
    losses = Losses.empty(SCORED_DAYS, HORIZON)
    for cutoff in range(first, scored_from + SCORED_DAYS):
        if cutoff > first:
            stream.learn(cutoff)
        forecast = stream.issue(cutoff).forecast
        if cutoff >= scored_from:
            rows = right[answerable(true, cutoff)[right]]
            some = Forecast(forecast.mean_SH[rows], forecast.quantiles_SHQ[rows], forecast.levels_Q)
            losses.add(some, true.rows(rows), cutoff, cutoff - scored_from)
    return losses.figures()["wql"]


def poisoned(panel: Panel, wrong: Index, first: int, kind: str, rng: np.random.Generator) -> Panel:
    """The panel as it was posted, wrong days and all."""
    quantity_ST = panel.quantity_ST.copy()
    days = slice(first + WRONG_FROM, first + WRONG_FROM + WRONG_DAYS)
    part = quantity_ST[wrong, days]
    if kind == "units":
        quantity_ST[wrong, days] = part * 12
    else:
        most_S1 = np.nanmax(quantity_ST[wrong, : first + WRONG_FROM], axis=1, keepdims=True, initial=1.0)
        quantity_ST[wrong, days] = np.rint(rng.uniform(0, 5, part.shape) * most_S1)
    return replace(panel, quantity_ST=quantity_ST.astype(np.float32))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_replay_options(parser)
    parser.add_argument("--share", type=float, default=0.05, help="of the series that are posted wrong")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
