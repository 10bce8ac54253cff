"""New items: whole SKUs hidden at all locations, forecast from their siblings beside their category's weekday quantiles.

    python -m benchmarks.newcomers --data FILE.parquet --covariates known:promo,static:brand --end DATE

SKUs are split into folds. For each fold a network is trained on all other SKUs up to the first cutoff; at every cutoff the hidden
series, known by their attributes alone, get the service's answer (models/newcomers.py), and, with --own, the same after some days
of their own. Prints one line of JSON: WQL over all hidden series and windows. Attributes are the static covariates that are the
same for a SKU everywhere. The days after --end are dropped: it is measured on windows before the reported ones alone.
"""

import argparse
import json
import sys
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy import read_panel
from benchmarks.runs import add_hiding_options, hiding_run, settings_of
from models.evaluation import SCORED_LEVELS, window_cutoffs
from models.fallback import fallback
from models.forecast import Forecast
from models.inference import answerable, predict
from models.newcomers import FIRST_WEEKS, MOST_SIBLINGS, OwnDays, launch_factor, launches_of, likeness, of_siblings
from models.panel import Floats, Panel
from models.quantiles import empirical_quantiles, interpolate_levels
from models.training import train
from models.training_config import LEVELS, TrainingConfig


class Losses:
    """Pinball losses of everyone on the same days, and what was sold on them."""

    def __init__(self) -> None:
        self.loss: dict[str, float] = {}
        self.sold: dict[str, float] = {}

    def add(self, name: str, y_H: Floats, quantiles_HQ: Floats) -> None:
        seen_H = np.isfinite(y_H)
        wanted_HQ = interpolate_levels(quantiles_HQ, LEVELS, SCORED_LEVELS)
        error_HQ = (y_H[:, None] - wanted_HQ)[seen_H]
        pinball = np.maximum(np.array(SCORED_LEVELS) * error_HQ, (np.array(SCORED_LEVELS) - 1) * error_HQ)
        self.loss[name] = self.loss.get(name, 0.0) + 2 * float(pinball.mean(axis=1).sum())
        self.sold[name] = self.sold.get(name, 0.0) + float(y_H[seen_H].sum())

    def wql(self) -> dict[str, float]:
        return {name: round(loss / self.sold[name], 4) for name, loss in self.loss.items()}


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    panel, known, past = read_panel(args.data, args.covariates, country=args.country, end=args.end)
    names = attributes_of_items(panel)
    if not names:
        print("No static covariate is the same for each SKU at all of its locations.", file=sys.stderr)
        return 1
    cutoffs = window_cutoffs(panel.days, horizon=FIRST_WEEKS, windows=args.windows, step=FIRST_WEEKS)
    settings = settings_of(args.set)
    config = TrainingConfig(model=args.model, horizon=FIRST_WEEKS, seed=args.seed, known=known, past=past, **settings)
    skus = np.random.default_rng(args.seed).permutation(sorted(set(panel.skus)))
    losses, started = Losses(), time.perf_counter()
    for fold in range(args.folds):
        hidden = set(skus[fold :: args.folds].tolist())
        there = panel.rows([i for i, sku in enumerate(panel.skus) if sku not in hidden])
        trained = train(there.until(panel.start + np.timedelta64(cutoffs[0], "D")), config)
        new = panel.rows([i for i, sku in enumerate(panel.skus) if sku in hidden])
        for cutoff in cutoffs:
            siblings = predict(trained.forecaster, there, cutoff)
            score(losses, new, there, siblings, cutoff, names=names, own_days=args.own)
    result = {
        **hiding_run(args, settings), "attributes": names, "own_days": args.own,
        "wql": losses.wql(), "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    print(json.dumps(result))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_hiding_options(parser)
    parser.add_argument(
        "--own", type=int, default=7, help="days of their own that the hidden series show in a second round"
    )
    return parser.parse_args(argv)


def attributes_of_items(panel: Panel) -> list[str]:
    """The static covariates that are the same for a SKU at all locations: those of a location are not an item's."""
    return [
        name
        for name, texts in panel.static.items()
        if len(set(zip(panel.skus, texts, strict=True))) == len(set(panel.skus))
    ]


def score(
    losses: Losses, new: Panel, there: Panel, siblings: Forecast, cutoff: int, *, names: list[str], own_days: int
) -> None:
    """Everyone's losses on the days after a cutoff, for the hidden series that were sold in the year before it."""
    known_S = np.flatnonzero(answerable(there, cutoff))
    ahead = slice(cutoff + 1, cutoff + 1 + FIRST_WEEKS)
    told = [{name: there.static[name][i] for name in names} for i in known_S]
    for row in range(new.series):
        y_H = new.quantity_ST[row, ahead]
        if not np.nansum(new.quantity_ST[row, max(cutoff - 363, 0) : cutoff + 1]) > 0:
            continue
        own = {name: new.static[name][row] for name in names}
        same = [there.locations[i] == new.locations[row] for i in known_S]
        weight_S = likeness(own, told, same)
        best = np.argsort(-weight_S, kind="stable")[:MOST_SIBLINGS]
        best = best[weight_S[best] > 0]
        if not best.size:
            continue
        alike = siblings.rows(known_S[best])
        factor = launch_factor(launches_of(there, known_S[best].tolist(), cutoff))
        losses.add("siblings", y_H, of_siblings(alike, weight_S[best], factor=factor)[1])
        losses.add("siblings, no launch factor", y_H, of_siblings(alike, weight_S[best])[1])
        for name in names:
            for where, here in (("all locations", [True] * len(same)), ("same location", same)):
                member = [
                    i for i, own_kind, h in zip(known_S, told, here, strict=True) if h and own_kind[name] == own[name]
                ]
                if member:
                    losses.add(f"{name}, {where}", y_H, weekday_quantiles(there, member, cutoff))
        if own_days:
            with_own(
                losses, new.rows([row]), alike, weight_S[best], y_H=y_H, cutoff=cutoff, own_days=own_days, factor=factor
            )


def weekday_quantiles(panel: Panel, members: list[int], cutoff: int) -> Floats:
    """Pooled quantiles (H, Q) of a category's sales in the last year by weekday."""
    weeks_SW7 = panel.quantity_ST[members, cutoff - 363 : cutoff + 1].reshape(len(members), 52, 7)
    pooled_7Q = empirical_quantiles(weeks_SW7.transpose(2, 0, 1).reshape(7, -1), LEVELS)
    return pooled_7Q[np.arange(FIRST_WEEKS) % 7]


def with_own(
    losses: Losses,
    new: Panel,
    alike: Forecast,
    weight_S: NDArray[np.float64],
    *,
    y_H: Floats,
    cutoff: int,
    own_days: int,
    factor: float,
) -> None:
    """The same with a newcomer's own last days, beside what is answered for few days otherwise."""
    shown = new.quantity_ST.copy()
    shown[:, : cutoff + 1 - own_days] = np.nan
    seen = shown[0, : cutoff + 1][np.isfinite(shown[0, : cutoff + 1])]
    own = OwnDays(len(seen), float(seen.sum()))
    losses.add(f"siblings and {own_days} own days", y_H, of_siblings(alike, weight_S, factor=factor, own=own)[1])
    simple, _, _ = fallback(replace(new, quantity_ST=shown), cutoff, FIRST_WEEKS)
    losses.add(f"{own_days} own days alone", y_H, simple.quantiles_SHQ[0])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
