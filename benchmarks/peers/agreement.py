"""Our MASE, SQL, WAPE and WQL beside those of the package fev, window by window; the exit status tells whether they agree.

    .venv-peers/bin/python -m benchmarks.peers.agreement [--data FILE.parquet] [--write FILE.json]

Without a file on sales made by formula: series that start late, missing days, one that never sells, one that never
changes. fev leaves out series whose in-sample seasonal error is zero or cannot be told, and so do we. Forecasts are drawn
from each series' past: nothing of ours but the metrics is judged. --write keeps fev's own figures, so that ours are compared
with them also where fev is not (tests/models/test_fev.py).

Shapes: S series, H horizon, Q scored levels, T days of history up to the cutoff.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.days import Index, take_days
from models.evaluation import SCORED_LEVELS, score_window, window_cutoffs
from models.forecast import Forecast
from models.panel import Panel, panel_from_frame
from models.quantiles import interpolate_levels
from models.training_config import LEVELS

METRICS = ("mase", "sql", "wape", "wql")
SEASONS = (1, 7)
HORIZON, WINDOWS = 28, 3
TOLERANCE = 1e-9
"""Relative: both compute in double precision, only the order of their sums differs."""

Rows = list[dict[str, Any]]
Scored = Callable[..., dict[str, float]]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a file of sales instead of those made by formula")
    parser.add_argument("--write", type=Path, help="a file for fev's figures, of each window and season")
    args = parser.parse_args(argv)
    panel = panel_from_frame(pd.read_parquet(args.data)) if args.data else some_sales()
    theirs = figures(panel, by_fev)
    apart = largest_differences(figures(panel, by_us), theirs)
    agree = all(difference <= TOLERANCE for difference in apart.values())
    print(json.dumps({"fev": version("fev"), "agree": agree, "largest_relative_difference": apart}))
    if args.write:
        kept = {"fev": version("fev"), "judged": fingerprint(panel), "figures": theirs}
        args.write.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if agree else 1


def cutoffs_of(panel: Panel) -> list[int]:
    return window_cutoffs(panel.days, horizon=HORIZON, windows=WINDOWS, step=HORIZON)


def figures(panel: Panel, scored: Scored) -> Rows:
    """The metrics in every window and season, one row each, as `by_fev` or `by_us` has them."""
    rows: Rows = []
    for cutoff in cutoffs_of(panel):
        forecast = some_forecast(panel, cutoff)
        rows += [{"cutoff": cutoff, "season": s, **scored(forecast, panel, cutoff, season=s)} for s in SEASONS]
    return rows


def largest_differences(ours: Rows, theirs: Rows) -> dict[str, float]:
    """How far each metric is apart at most, relative to theirs. NaN stays NaN, which agrees with nothing."""
    places = [[(row["cutoff"], row["season"]) for row in rows] for rows in (ours, theirs)]
    if places[0] != places[1]:
        raise ValueError(f"The windows and seasons differ: {places[0]} and {places[1]}.")
    ratios = {name: [a[name] / b[name] - 1 for a, b in zip(ours, theirs, strict=True)] for name in METRICS}
    return {name: float(np.max(np.abs(values))) for name, values in ratios.items()}


def by_us(forecast: Forecast, panel: Panel, cutoff: int, *, season: int) -> dict[str, float]:
    scores = score_window(forecast, panel, cutoff, horizon=HORIZON, season=season)
    return {name: scores[name] for name in METRICS}


def by_fev(forecast: Forecast, panel: Panel, cutoff: int, *, season: int) -> dict[str, float]:
    """fev's scores of one window; it takes each series' past from its first observed day on."""
    from fev.metrics import get_metric

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
        return {name: float(get_metric(name).compute(**asked)) for name in METRICS}


def some_forecast(panel: Panel, cutoff: int) -> Forecast:
    """Quantiles that are days drawn from each series' past, in order: no arithmetic, so the same bits everywhere."""
    rng = np.random.default_rng(cutoff)
    quantiles_SHQ = np.zeros((panel.series, HORIZON, len(LEVELS)), np.float32)
    for row, past_T in enumerate(panel.quantity_ST[:, : cutoff + 1]):
        seen_T = past_T[np.isfinite(past_T)]
        if seen_T.size:
            quantiles_SHQ[row] = np.sort(seen_T[rng.integers(0, seen_T.size, quantiles_SHQ[row].shape)], axis=-1)
    return Forecast(quantiles_SHQ[:, :, LEVELS.index(0.5)], quantiles_SHQ, np.array(LEVELS))


def fingerprint(panel: Panel) -> str:
    """Names what is judged: the sales and all forecasts of them, to the bit."""
    digest = hashlib.sha256(panel.fingerprint().encode())
    for cutoff in cutoffs_of(panel):
        digest.update(some_forecast(panel, cutoff).quantiles_SHQ.astype("<f4").tobytes())
    return digest.hexdigest()


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
