"""How far a forecast lets itself be moved: by a change of its past made on purpose, and by one absurd day.

    python -m benchmarks.robustness --data FILE.parquet --model mlp [--noise 0 0.1] [--windows 3] [--step 28] --end DATE

For each --noise a forecaster is trained on what precedes the first cutoff, scored on the windows, and then attacked at the last
cutoff. On purpose: every day of the last 392 that sold something may change by 5 % up or down, as gradients through features and
networks say (projected sign steps, Madry et al. 2018, arXiv 1706.06083), once to raise and once to lower the mean of the days
ahead. Absurd: one day of the last 56 times ten, each day that sold something tried, with cleaning as the service does it. What
counts is how far the sum of the means of all days ahead moves. Series of fewer than one unit ahead are left out: a percentage
of nothing says nothing. Of a series sold in whole units such a change makes one sold by weight, which counts as well. Results:
results/robustness.md has a table a file, replaced when it is run again.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.accuracy import forecast_at, read_panel
from benchmarks.runs import scores, settings_of
from models.adjustment import AREA_Q, answer
from models.evaluation import window_cutoffs
from models.forecaster import Forecaster
from models.inference import AT_ONCE, members_of
from models.panel import Floats, Panel
from models.training import train
from models.training_config import MODELS, TrainingConfig
from models.windows import Windows, WindowSource, sells_whole_units

RESULTS = Path(__file__).parent / "results"
CHANGE = 0.05
STEPS = 10
ABSURD = 10.0
ABSURD_DAYS = 56
FEWEST_UNITS = 1.0
WANTED = 0.10


@dataclass(frozen=True)
class Moves:
    """By how much of itself each forecast moved, its worst case: 0.1 is ten percent. `left_out` sells too little to say."""

    moved: NDArray[np.float64]
    left_out: int

    def summary(self) -> dict[str, float]:
        return {
            "worst": round(float(self.moved.max()), 4),
            "q95": round(float(np.quantile(self.moved, 0.95)), 4),
            "median": round(float(np.median(self.moved)), 4),
            "above_wanted": round(float((self.moved > WANTED).mean()), 4),
            "series": len(self.moved),
            "left_out": self.left_out,
        }


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    panel, known, past = read_panel(args.data, args.covariates, end=args.end)
    cutoffs = window_cutoffs(panel.days, horizon=args.horizon, windows=args.windows, step=args.step)
    before = panel.until(panel.start + np.timedelta64(cutoffs[0], "D"))
    settings = settings_of(args.set)
    rows = []
    for noise in args.noise:
        config = TrainingConfig(
            model=args.model, horizon=args.horizon, seed=args.seed, known=known, past=past, noise=noise, **settings
        )  # fmt: skip
        trained = train(before, config)
        judged = scores(
            [forecast_at(trained.forecaster, panel, c) for c in cutoffs], panel, cutoffs, horizon=args.horizon
        )
        found: dict[str, Any] = {"noise": noise, "wql": round(judged["wql"], 4), "sql": round(judged["sql"], 4)}
        found["on_purpose"] = on_purpose(trained.forecaster, panel, cutoffs[-1]).summary()
        found["absurd_day"] = absurd_day(trained.forecaster, panel, cutoffs[-1]).summary()
        rows.append(found)
        print(json.dumps(found), flush=True)
    if args.write:
        write(args, rows)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--step", type=int, default=28)
    parser.add_argument("--covariates", default="", help="known:promo,known:price,past:rain,static:brand")
    parser.add_argument(
        "--end", required=True, help="last day used, inclusive: this is measured on earlier windows alone"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the training")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave the results as they are")
    return parser.parse_args(argv)


def on_purpose(forecaster: Forecaster, panel: Panel, cutoff: int) -> Moves:
    """The answer's move under the change of the whole past by at most CHANGE a day that gradients find worst.

    What is sold by the piece still is: a few percent of a count are no count, and would make another kind of series of it.
    """
    source = forecaster.source(panel)
    totals, worst = [], []
    for series_B in _batches(_alive(panel, cutoff)):
        windows = source.windows(series_B, np.full(len(series_B), cutoff))
        total_B = totals_of(forecaster, windows)
        whole_B = sells_whole_units(windows.quantity_BM.numpy())
        moved = [
            np.abs(totals_of(forecaster, replace(windows, quantity_BM=changed_BM), whole_B) - total_B)
            for changed_BM in (attacked(forecaster, windows, raise_it=raise_it) for raise_it in (True, False))
        ]
        totals.append(total_B)
        worst.append(np.maximum(*moved))
    return _moves(np.concatenate(totals), np.concatenate(worst))


def attacked(forecaster: Forecaster, windows: Windows, *, raise_it: bool) -> Tensor:
    """The quantities (B, M) within CHANGE of the windows' own that raise, or lower, the networks' mean most; zeros stay zero.

    Each window keeps the best of its steps, so that the answer is never less than what was found on the way.
    """
    original_BM = windows.quantity_BM
    sign = 1.0 if raise_it else -1.0
    share_BM = torch.zeros_like(original_BM)
    best_BM, best_B = original_BM.clone(), torch.full((len(original_BM),), -torch.inf)
    for _ in range(STEPS + 1):
        share_BM.requires_grad_(True)
        changed_BM = original_BM * (1 + share_BM)
        gained_B = sign * _network_total(forecaster, replace(windows, quantity_BM=changed_BM))
        (gradient_BM,) = torch.autograd.grad(gained_B.sum(), share_BM)
        with torch.no_grad():
            better_B = gained_B > best_B
            best_B = torch.where(better_B, gained_B, best_B)
            best_BM = torch.where(better_B[:, None], changed_BM, best_BM)
            step_BM = 2.5 * CHANGE / STEPS * torch.nan_to_num(gradient_BM).sign()
            share_BM = (share_BM + step_BM).clamp(-CHANGE, CHANGE).detach()
    return best_BM.detach()


def _network_total(forecaster: Forecaster, windows: Windows) -> Tensor:
    """The sum over the days ahead of the members' weighted mean, drawn roughly as the answer's to the area, with gradients."""
    total_B = torch.zeros(len(windows.quantity_BM))
    area_Q, share = torch.from_numpy(AREA_Q).float(), forecaster.adjustment.area
    for member, weight in zip(forecaster.members, forecaster.adjustment.weights_M.tolist(), strict=True):
        output = member.network.eval()(windows)
        mean_BH = output.mean_BH
        if output.quantiles_BHQ is not None:
            mean_BH = (1 - share) * mean_BH + share * (output.quantiles_BHQ.clamp(min=0.0) @ area_Q)
        total_B = total_B + weight * mean_BH.sum(1) * output.scale_B
    return total_B


def absurd_day(forecaster: Forecaster, panel: Panel, cutoff: int) -> Moves:
    """The answer's move when one of the last ABSURD_DAYS days is multiplied with ABSURD: of each series, its worst day."""
    alive_B = _alive(panel, cutoff)
    total_B = _totals(forecaster, panel, alive_B, cutoff)
    worst_B = np.zeros_like(total_B)
    for day in range(max(cutoff - ABSURD_DAYS + 1, 0), cutoff + 1):
        sold_B = alive_B[np.nan_to_num(panel.quantity_ST[alive_B, day]) > 0]
        if not sold_B.size:
            continue
        quantity_ST = panel.quantity_ST.copy()
        quantity_ST[:, day] *= ABSURD
        at_B = np.searchsorted(alive_B, sold_B)
        changed_B = _totals(forecaster, replace(panel, quantity_ST=quantity_ST), sold_B, cutoff)
        worst_B[at_B] = np.maximum(worst_B[at_B], np.abs(changed_B - total_B[at_B]))
    return _moves(total_B, worst_B)


def _totals(forecaster: Forecaster, panel: Panel, series_B: NDArray[np.int64], cutoff: int) -> Floats:
    source: WindowSource = forecaster.source(panel)
    return np.concatenate(
        [totals_of(forecaster, source.windows(part, np.full(len(part), cutoff))) for part in _batches(series_B)]
    )


def totals_of(forecaster: Forecaster, windows: Windows, whole_B: NDArray[np.bool_] | None = None) -> Floats:
    """The sum of the answer's means over the days ahead, (B,): climatology's share and calibration included."""
    mixture = replace(members_of(forecaster, windows), whole=whole_B)
    mean_BH, _ = answer(mixture, forecaster.adjustment)
    total_B: Floats = mean_BH.sum(axis=1)
    return total_B


def _moves(total_B: Floats, moved_B: Floats) -> Moves:
    enough_B = total_B >= FEWEST_UNITS
    if not enough_B.any():
        raise SystemExit(f"No series has a forecast of at least {FEWEST_UNITS:g} units.")
    return Moves(moved_B[enough_B].astype(np.float64) / total_B[enough_B], int((~enough_B).sum()))


def _alive(panel: Panel, cutoff: int) -> NDArray[np.int64]:
    """The series with a fortnight of days up to the cutoff, one of them in the last ABSURD_DAYS."""
    seen_ST = np.isfinite(panel.quantity_ST[:, : cutoff + 1])
    return np.flatnonzero((seen_ST.sum(axis=1) >= 14) & seen_ST[:, -ABSURD_DAYS:].any(axis=1))


def _batches(series_B: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [series_B[first : first + AT_ONCE] for first in range(0, len(series_B), AT_ONCE)]


def write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Replace this file's and model's part of results/robustness.json, and write the tables anew."""
    kept = RESULTS / "robustness.json"
    parts: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    parts[f"{args.data.stem}, {args.model}"] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} threads",
        "end": args.end,
        "covariates": args.covariates,
        "windows": args.windows,
        "step": args.step,
        "seed": args.seed,
        "set": args.set,
        "rows": rows,
    }
    kept.write_text(json.dumps(parts, indent=2) + "\n")
    (RESULTS / "robustness.md").write_text(
        "\n".join(["# Robustness", "", INTRODUCTION, *(table(name, part) for name, part in parts.items())])
    )


INTRODUCTION = f"""\
How far the sum of the means of the days ahead moves (`python -m benchmarks.robustness`): when every past day is
changed by at most {CHANGE:.0%} as gradients say ("on purpose"), and when one day of the last {ABSURD_DAYS} is multiplied
with {ABSURD:g} ("absurd day", the worst of all days tried). Wanted: at most {WANTED:.0%}. Scaling the whole past by
{CHANGE:.0%} moves any forecast by about as much.
"""
COLUMNS = ("worst", "95 %", "median", f"above {WANTED:.0%}")


def table(name: str, part: dict[str, Any]) -> str:
    lines = [
        f"## {name}",
        "",
        f"{part['date']}, {part['machine']}; {part['windows']} windows, step {part['step']}, "
        + (f"up to {part['end']}" if part["end"] else "up to the last day")
        + f", seed {part['seed']}"
        + "".join(f", {pair}" for pair in part["set"])
        + (f"; covariates {part['covariates']}" if part["covariates"] else "")
        + ".",
        "",
        "| noise | SQL | WQL | "
        + " | ".join(f"{kind}: {c}" for kind in ("on purpose", "absurd day") for c in COLUMNS)
        + " |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in part["rows"]:
        shown = [f"{row['noise']:g}", f"{row['sql']:.4f}", f"{row['wql']:.4f}"]
        for kind in ("on_purpose", "absurd_day"):
            shown += [f"{row[kind][column]:.1%}" for column in ("worst", "q95", "median", "above_wanted")]
        lines.append("| " + " | ".join(shown) + " |")
    counted = part["rows"][0]["on_purpose"]
    lines += [
        "",
        f"{counted['series']} series; {counted['left_out']} sell less than a unit in the days ahead and are left out.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
