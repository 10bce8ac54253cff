"""What is won back after level shifts put into real sales: python -m benchmarks.shifts --data FILE

On some days of the last 364, a third of the series that sell at least one a day is multiplied by 1.8 from then on, another third
by 0.5, in whole units. Of the forecasts issued 14 to 20 days after, four are compared on the same shifted sales: blind (the
context unshifted, as if nobody had noticed), frozen (the networks read the shifted days), with levels (L1: the past is brought
to its present level), and an oracle whose past is brought by the true factor. Won back is (blind - it) / (blind - oracle) in WQL.
The unshifted series are scored beside, and all series of the untouched file over the year.

The champion is trained once before the year, or read from the work folder of `benchmarks.updates`.
"""

import argparse
import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy import read_panel
from benchmarks.runs import circumstances
from benchmarks.updates.__main__ import HORIZON, Trainer, add_replay_options
from models import metrics
from models.days import take_days
from models.evaluation import SCORED_LEVELS
from models.forecaster import Forecaster
from models.inference import answerable, predict
from models.online.common_shifts import common_shifts
from models.online.tracking import untracked
from models.panel import Panel
from models.quantiles import interpolate_levels
from models.training_config import TrainingConfig

SHIFTS_AFTER = (30, 120, 210, 300)
ISSUED_AFTER = range(14, 21)
FACTORS = (1.8, 0.5, 1.0)
UNTOUCHED_STEP = 7
CODE = ("models", "benchmarks/shifts.py", "benchmarks/updates", "benchmarks/accuracy.py")
Selection = NDArray[np.bool_]


class Sums:
    """Pinball loss and sales added up, by name."""

    def __init__(self) -> None:
        self.total: dict[str, NDArray[np.float64]] = {}

    def add(
        self, name: str, panel: Panel, forecaster: Forecaster, cutoff: int, chosen_S: Selection, *, of: Panel
    ) -> None:
        """Forecast `of` at a cutoff, score the chosen series beside what the panel sold."""
        series = np.flatnonzero(chosen_S & answerable(panel, cutoff))
        forecast = predict(forecaster, of.rows(series), cutoff)
        at = np.array(SCORED_LEVELS)
        quantiles_SHQ = interpolate_levels(forecast.quantiles_SHQ, forecast.levels_Q, at)
        y_SH = take_days(panel.quantity_ST, series, np.full(len(series), cutoff + 1), HORIZON)
        loss = np.nansum(metrics.pinball(y_SH, quantiles_SHQ.astype(np.float64), at).mean(axis=2))
        sold = np.nansum(y_SH, dtype=np.float64)
        self.total[name] = self.total.get(name, np.zeros(2)) + np.array([loss, sold])

    def wql(self, name: str) -> float:
        loss, sold = self.total[name]
        return float(loss / sold)


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    unseen = args.days + 1
    panel, known, past = read_panel(args.data, args.covariates, country=args.country, end=args.end, unseen=unseen)
    first = panel.days - 1 - args.days
    config = partial(TrainingConfig, model=args.model, horizon=HORIZON, known=known, past=past)
    found = []
    for seed in range(args.seeds):
        folder = args.work / f"{args.data.stem}-{args.end or 'end'}-{seed}"
        champion, _ = Trainer(folder, panel, config(seed=seed))(first)
        found.append(measured(panel, replace(champion, twin=None), first, seed))
        print(seed, json.dumps(found[-1]), file=sys.stderr)
    mean = {name: round(float(np.mean([one[name] for one in found])), 2) for name in found[0]}
    asked = {name: getattr(args, name) for name in ("model", "end", "days", "seeds", "covariates", "country")}
    print(json.dumps({"data": args.data.name, **asked, "mean": mean} | circumstances(args.threads, CODE)))
    return 0


def measured(panel: Panel, frozen: Forecaster, first: int, seed: int) -> dict[str, float]:
    """Percent won back by frozen and by levels, and what levels cost or win on unshifted series and on the untouched file."""
    shifted, unshifted, untouched = Sums(), Sums(), Sums()
    rng = np.random.default_rng(seed)
    for after in SHIFTS_AFTER:
        day = first + after
        factor_S = drawn_factors(panel, day, rng)
        there = with_shift(panel, day, factor_S)
        for cutoff in (day - 1 + issued for issued in ISSUED_AFTER):
            if cutoff + HORIZON >= panel.days:
                continue
            known = oracle(there, day, cutoff, factor_S)
            moved_S, levels = factor_S != 1, with_levels(frozen, there, cutoff)
            for name, forecaster, of in (
                ("blind", frozen, panel), ("frozen", frozen, there), ("levels", levels, there), ("oracle", frozen, known),
            ):  # fmt: skip
                shifted.add(name, there, forecaster, cutoff, moved_S, of=of)
                if name in ("frozen", "levels"):
                    unshifted.add(name, there, forecaster, cutoff, ~moved_S, of=of)
    everything = np.ones(panel.series, np.bool_)
    for cutoff in range(first, panel.days - HORIZON, UNTOUCHED_STEP):
        for name, forecaster in (("frozen", frozen), ("levels", with_levels(frozen, panel, cutoff))):
            untouched.add(name, panel, forecaster, cutoff, everything, of=panel)
    lost = shifted.wql("blind") - shifted.wql("oracle")
    return {
        "won_back_frozen": 100 * (shifted.wql("blind") - shifted.wql("frozen")) / lost,
        "won_back_levels": 100 * (shifted.wql("blind") - shifted.wql("levels")) / lost,
        "unshifted_percent": 100 * (unshifted.wql("levels") / unshifted.wql("frozen") - 1),
        "untouched_percent": 100 * (untouched.wql("levels") / untouched.wql("frozen") - 1),
    }


def with_levels(frozen: Forecaster, panel: Panel, cutoff: int) -> Forecaster:
    """The same networks with levels on, and with what all series of the panel say of shifts at a cutoff."""
    state = untracked(list(panel.keys), frozen.trained_until)
    return replace(frozen, tracking=replace(state, common=common_shifts(panel, cutoff)))


def drawn_factors(panel: Panel, day: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A factor for each series: 1 for those that sold less than one a day in the eight weeks before."""
    before_ST = panel.quantity_ST[:, max(day - 56, 0) : day]
    count_S = np.isfinite(before_ST).sum(axis=1)
    mean_S = np.nansum(before_ST, axis=1) / np.maximum(count_S, 1)
    group_S = rng.permutation(panel.series) % len(FACTORS)
    return np.where(mean_S >= 1, np.array(FACTORS)[group_S], 1.0)


def with_shift(panel: Panel, day: int, factor_S: NDArray[np.float64]) -> Panel:
    """The panel with sales from a day on multiplied, in whole units where they were whole."""
    quantity_ST = panel.quantity_ST.copy()
    after_ST = quantity_ST[:, day:] * factor_S[:, None]
    whole_S = (np.nan_to_num(quantity_ST) == np.rint(np.nan_to_num(quantity_ST))).all(axis=1)
    quantity_ST[:, day:] = np.where(whole_S[:, None], np.rint(after_ST), after_ST)
    return replace(panel, quantity_ST=quantity_ST.astype(np.float32))


def oracle(panel: Panel, day: int, cutoff: int, factor_S: NDArray[np.float64]) -> Panel:
    """The same with what lies before the shift brought to the level since."""
    quantity_ST = panel.quantity_ST.copy()
    before_ST = quantity_ST[:, :day] * factor_S[:, None]
    whole_S = (np.nan_to_num(quantity_ST) == np.rint(np.nan_to_num(quantity_ST))).all(axis=1)
    quantity_ST[:, :day] = np.where(whole_S[:, None], np.rint(before_ST), before_ST)
    return replace(panel, quantity_ST=quantity_ST.astype(np.float32))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_replay_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
