"""Our MASE, SQL, WAPE and WQL beside those of the package fev, window by window; the exit status tells whether they agree.

    .venv-peers/bin/python -m benchmarks.peers.agreement [--data FILE.parquet]

Without a file on sales made by formula: series that start late, missing days, one that never sells, one that never
changes. fev leaves out series whose in-sample seasonal error is zero or cannot be told, and so do we.

Shapes: S series, H horizon, Q scored levels, T days of history up to the cutoff.
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from fev.metrics import get_metric

from models.baselines import climatology
from models.evaluation import SCORED_LEVELS, score_window, window_cutoffs
from models.forecast import Forecast
from models.panel import Panel, panel_from_frame
from models.quantiles import interpolate_levels
from models.windows import Index, take_days

METRICS = ("mase", "sql", "wape", "wql")
SEASONS = (1, 7)
HORIZON, WINDOWS = 28, 3
TOLERANCE = 1e-9
"""Relative: both compute in double precision, only the order of their sums differs."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a file of sales instead of those made by formula")
    args = parser.parse_args(argv)
    panel = panel_from_frame(pd.read_parquet(args.data)) if args.data else some_sales()
    apart = dict.fromkeys(METRICS, 0.0)
    for cutoff in window_cutoffs(panel.days, horizon=HORIZON, windows=WINDOWS, step=HORIZON):
        forecast = climatology(panel, cutoff, HORIZON)
        for season in SEASONS:
            ours = score_window(forecast, panel, cutoff, horizon=HORIZON, season=season)
            theirs = by_fev(forecast, panel, cutoff, season=season)
            for name in METRICS:
                apart[name] = float(np.maximum(apart[name], abs(ours[name] / theirs[name] - 1)))  # NaN stays NaN
    agree = all(difference <= TOLERANCE for difference in apart.values())
    print(json.dumps({"fev": version("fev"), "agree": agree, "largest_relative_difference": apart}))
    return 0 if agree else 1


def by_fev(forecast: Forecast, panel: Panel, cutoff: int, *, season: int) -> dict[str, float]:
    """fev's scores of one window; it takes each series' past from its first observed day on."""
    past_ST = panel.quantity_ST[:, : cutoff + 1].astype(np.float64)
    alive = np.flatnonzero(np.isfinite(past_ST).any(axis=1))
    pasts = [past_ST[row, np.isfinite(past_ST[row]).argmax() :] for row in alive]
    first_S: Index = np.full(len(alive), cutoff + 1, dtype=np.int64)
    quantiles_SHQ = interpolate_levels(forecast.quantiles_SHQ[alive], forecast.levels_Q, SCORED_LEVELS)
    median_SH = quantiles_SHQ[:, :, SCORED_LEVELS.index(0.5)]
    asked = {
        "y_true": take_days(panel.quantity_ST, alive, first_S, HORIZON).astype(np.float64)[:, :, None],
        "y_pred": median_SH.astype(np.float64)[:, :, None],
        "y_past": np.concatenate(pasts)[:, None],
        "y_past_lengths": np.array([len(past) for past in pasts]),
        "q_pred": quantiles_SHQ.astype(np.float64)[:, :, None, :],
        "seasonality": season,
        "quantile_levels": list(SCORED_LEVELS),
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        return {name: get_metric(name).compute(**asked) for name in METRICS}


def some_sales(series: int = 12, days: int = 300) -> Panel:
    rng = np.random.default_rng(0)
    weekday_T = 1 + 0.5 * np.sin(2 * np.pi * np.arange(days) / 7)
    quantity_ST = rng.poisson(rng.gamma(1.0, 5.0, (series, 1)) * weekday_T).astype(np.float32)
    quantity_ST[rng.random(quantity_ST.shape) < 0.05] = np.nan
    quantity_ST[0], quantity_ST[1] = 0, 4
    for row, first in ((2, 100), (3, 205), (4, 240)):
        quantity_ST[row, :first] = np.nan
    names = [f"sku-{row}" for row in range(series)]
    return Panel(names, [""] * series, np.datetime64("2026-01-05"), quantity_ST)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
