"""New and rare series: what is answered for an item that replaces another, after a gap of half a year, for one sale a month.

    python -m benchmarks.rare --data FILE.parquet --covariates known:promo,static:brand --end DATE [--what replaces gap monthly]

By hiding real series' pasts, on windows before --end alone:
"replaces": whole SKUs come under a new name, or as something new that replaces the most similar SKU (successors.py).
"gap": 182 days before the last 14, 28 or 56 are missing, the sales and what was told of them; forecast by a network that was
trained on whole pasts, and by one that was trained on series of which half of every year is missing, each at its own time of it.
"monthly": copies of all series, of whose units so few are kept, at random, that each sells about one in thirty days, past and
future (binomial thinning); the network is trained on series and copies, and scored on the copies.

Prints one line of JSON: scores by who answers, pooled over series and windows.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy import forecast_at, read_panel, seen
from benchmarks.newcomers import attributes_of_items
from benchmarks.pooled import Pooled, rounded, truth_of
from benchmarks.runs import add_hiding_options, hiding_run, machine, settings_of
from benchmarks.successors import YEAR, Alike, joined, score_look_alikes, score_relaunch, sold_before
from benchmarks.weekly import score_sums, sums
from models.dependence import usual_dependence
from models.evaluation import SCORED_LEVELS, average, window_cutoffs
from models.fallback import fallback
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.panel import Floats, Panel
from models.quantiles import empirical_quantiles
from models.training import train
from models.training_config import TrainingConfig

HORIZON = 28
GAP_DAYS = 182
DAYS_SINCE_GAP = (14, 28, 56)
OWN_DAYS = (0, 7, 28)
DAYS_A_UNIT = 30
Training = Callable[[Panel], Forecaster]
Results = dict[str, Any]


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    panel, known, past = read_panel(args.data, args.covariates, country=args.country, end=args.end)
    cutoffs = window_cutoffs(panel.days, horizon=HORIZON, windows=args.windows, step=HORIZON)
    settings = settings_of(args.set)
    config = TrainingConfig(model=args.model, horizon=HORIZON, seed=args.seed, known=known, past=past, **settings)
    training = partial(trained, config)
    rng, started = np.random.default_rng(args.seed), time.perf_counter()
    found: Results = {}
    if "replaces" in args.what:
        found["replaces"] = replaces(panel, cutoffs, training, rng, folds=args.folds)
    if "gap" in args.what:
        found["gap"] = gap(panel, cutoffs, training, rng)
    if "monthly" in args.what:
        found["monthly"] = monthly(panel, cutoffs, training, rng)
    result = {
        **hiding_run(args, settings), "machine": machine(args.threads),
        "seconds": round(time.perf_counter() - started, 1), **found,
    }  # fmt: skip
    print(json.dumps(result))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_hiding_options(parser)
    parser.add_argument(
        "--what", nargs="+", choices=["replaces", "gap", "monthly"], default=["replaces", "gap", "monthly"]
    )
    return parser.parse_args(argv)


def trained(config: TrainingConfig, panel: Panel) -> Forecaster:
    return train(panel, config).forecaster


def replaces(panel: Panel, cutoffs: list[int], training: Training, rng: np.random.Generator, *, folds: int) -> Results:
    """Relaunches by one network that knows the old names; look-alikes, where items have attributes, fold by fold."""
    pooled, names = Pooled(), attributes_of_items(panel)
    forecaster = training(seen(panel, cutoffs[0]))
    for cutoff in cutoffs:
        score_relaunch(pooled, forecaster, panel, cutoff, names=names, own_days=OWN_DAYS)
    skus = rng.permutation(sorted(set(panel.skus)))
    for fold in range(folds if names else 0):
        hidden_skus = set(skus[fold::folds].tolist())
        is_new = np.array([sku in hidden_skus for sku in panel.skus])
        new, there = panel.rows(np.flatnonzero(is_new)), panel.rows(np.flatnonzero(~is_new))
        forecaster = training(seen(there, cutoffs[0]))
        for cutoff in cutoffs:
            score_look_alikes(pooled, forecaster, new, Alike(forecaster, there, cutoff, names), own_days=OWN_DAYS)
    return pooled.scores()


def gap(panel: Panel, cutoffs: list[int], training: Training, rng: np.random.Generator) -> Results:
    pooled = Pooled()
    before = seen(panel, cutoffs[0])
    phase_S1 = rng.integers(0, YEAR, (panel.series, 1))
    paused_ST = (np.arange(before.days) - phase_S1) % YEAR < GAP_DAYS
    plain, used_to_gaps = training(before), training(without(before, paused_ST))
    for cutoff in cutoffs:
        rows = sold_before(panel, cutoff)
        whole, truth = panel.rows(rows), truth_of(panel, cutoff, HORIZON).rows(rows)
        pooled.add("network, no gap", truth, forecast_at(plain, whole, cutoff))
        pooled.add("network trained with gaps, no gap", truth, forecast_at(used_to_gaps, whole, cutoff))
        pooled.add("climatology, no gap", truth, fallback(whole, cutoff, HORIZON)[0])
        for since in DAYS_SINCE_GAP:
            missing_T = (np.arange(panel.days) > cutoff - since - GAP_DAYS) & (np.arange(panel.days) <= cutoff - since)
            gapped = without(whole, np.broadcast_to(missing_T, whole.quantity_ST.shape))
            pooled.add(f"network, {since} days since", truth, forecast_at(plain, gapped, cutoff))
            pooled.add(
                f"network trained with gaps, {since} days since", truth, forecast_at(used_to_gaps, gapped, cutoff)
            )
            pooled.add(f"climatology, {since} days since", truth, fallback(gapped, cutoff, HORIZON)[0])
            recent = without(whole, np.broadcast_to(np.arange(panel.days) <= cutoff - since, whole.quantity_ST.shape))
            pooled.add(f"days since alone, {since} days since", truth, fallback(recent, cutoff, HORIZON)[0])
    return pooled.scores()


def without(panel: Panel, missing_ST: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Panel:
    """The panel as if these days had never been posted: no sales, no past covariates; known ones are told all the same."""
    return replace(
        panel,
        quantity_ST=np.where(missing_ST, np.nan, panel.quantity_ST).astype(np.float32),
        past={name: np.where(missing_ST, np.nan, values).astype(np.float32) for name, values in panel.past.items()},
    )


def monthly(panel: Panel, cutoffs: list[int], training: Training, rng: np.random.Generator) -> Results:
    """The days' scores by who answers, and under `sums` those of all 28 days as one."""
    copies = thinned(panel.rows(sold_before(panel, cutoffs[0])), cutoffs[0], rng)
    forecaster = training(seen(joined([panel, copies]), cutoffs[0]))
    pooled = Pooled()
    totals: dict[str, list[dict[str, float]]] = {}
    month = [slice(0, HORIZON)]
    for cutoff in cutoffs:
        truth = truth_of(copies, cutoff, HORIZON)
        usual = fallback(copies, cutoff, HORIZON)[0]
        network = forecast_at(forecaster, copies, cutoff)
        nothing = Forecast(np.zeros_like(usual.mean_SH), np.zeros_like(usual.quantiles_SHQ), usual.levels_Q)
        for name, forecast in (("network", network), ("climatology", usual), ("zeros", nothing)):
            pooled.add(name, truth, forecast)
        sold_SG = truth.y_SH.sum(axis=1, keepdims=True)
        said = {
            "network": sums(network, forecaster.dependence, month),
            "climatology": sums(usual, usual_dependence(HORIZON), month),
            "own four weeks of a year": own_months(copies, cutoff),
            "zeros": np.zeros((copies.series, 1, len(SCORED_LEVELS)), np.float32),
        }
        for name, sums_SGQ in said.items():
            totals.setdefault(name, []).append(score_sums(sold_SG, sums_SGQ))
    return pooled.scores(rare=True) | {"sums": {name: rounded(average(rows)) for name, rows in totals.items()}}


def thinned(panel: Panel, cutoff: int, rng: np.random.Generator) -> Panel:
    """The same series under other names, each unit kept with such a probability that one in DAYS_A_UNIT days remains.

    The probability comes from the year up to the cutoff; a series that sells less stays as it is.
    """
    year_SM = panel.quantity_ST[:, max(cutoff + 1 - YEAR, 0) : cutoff + 1]
    kept_S1 = np.minimum(1 / (DAYS_A_UNIT * np.nanmean(year_SM, axis=1, keepdims=True)), 1.0)
    units_ST = np.rint(np.nan_to_num(panel.quantity_ST)).astype(np.int64)
    left_ST = rng.binomial(units_ST, np.broadcast_to(kept_S1, units_ST.shape)).astype(np.float32)
    return replace(
        panel,
        skus=[f"{sku}, thinned" for sku in panel.skus],
        quantity_ST=np.where(np.isnan(panel.quantity_ST), np.float32(np.nan), left_ST),
    )


def own_months(panel: Panel, cutoff: int) -> Floats:
    """Quantiles (S, 1, Q) of what each series sold in the 13 times four weeks up to a cutoff."""
    weeks_SN = panel.quantity_ST[:, cutoff + 1 - YEAR : cutoff + 1].reshape(panel.series, 13, HORIZON).sum(axis=2)
    return np.nan_to_num(empirical_quantiles(weeks_SN, SCORED_LEVELS))[:, None]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
