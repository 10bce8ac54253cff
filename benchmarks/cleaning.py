"""What cleaning touches on real files of sales, how many errors put into them it finds, and how long it takes.

    python -m benchmarks.cleaning [--data ../shared/data] [--rounds 5] [--seed 0]

Each file is read with the covariates that its protocol allows, up to the day before its reported windows. Errors are put in
one at a time for each series: a day with sales, no promotion, event or holiday, after four weeks of history, times 10 or 50.
`found` is the share of them that becomes missing: in the contexts ("input") and in the loss. Results: results/cleaning.*.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import read_panel
from models.cleaning import clean, clean_memory
from models.cleaning.days import covariates_of, days_of
from models.cleaning.findings import DONE, KINDS
from models.panel import Panel
from models.windows import MEMORY

RESULTS = Path(__file__).parent / "results"
FACTORS = (10, 50)
FEW_DAYS = 28
FEW_UNITS = 3
SERIES, DAYS = 30_000, 2_000


@dataclass(frozen=True)
class File:
    """A file of real sales, the covariates that may be used, and how many days at its end are reported windows."""

    name: str
    covariates: str
    reported: int


FILES = (
    File("hierarchical_sales", "", 280),
    File("bakery", "known:promo,known:is_holiday,known:is_holiday_next2days,known:is_schoolholiday", 140),
    File("m5_280", "known:snap,known:event_name_1,known:event_type_1,past:price", 140),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the public sales files")
    parser.add_argument("--rounds", type=int, default=5, help="errors put into each series, one at a time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    files = [file for file in FILES if (args.data / f"{file.name}.parquet").exists()]
    if not files:
        print(f"There are no files of sales in {args.data}.", file=sys.stderr)
        return 1
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "seed": args.seed,
        "rounds": args.rounds,
        "files": {file.name: measured(file, args) for file in files},
        "speed": speed(args.seed),
    }
    print(json.dumps(result, indent=2))
    (RESULTS / "cleaning.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "cleaning.md").write_text(page(result))
    return 0


def measured(file: File, args: argparse.Namespace) -> dict[str, Any]:
    panel, _, _ = read_panel(args.data / f"{file.name}.parquet", file.covariates)
    panel = panel.until(panel.end - np.timedelta64(file.reported, "D"))
    cleaned = clean(panel)
    observed = int(np.isfinite(panel.quantity_ST).sum())
    findings = cleaned.findings
    days_F = findings.last_F - findings.first_F + 1
    special_ST = days_of(covariates_of(panel, (*panel.known, *panel.past))).special_ST
    usable_ST = panel.quantity_ST > 0
    usable_ST &= np.cumsum(np.isfinite(panel.quantity_ST), axis=1) > FEW_DAYS
    if special_ST is not None:
        usable_ST &= ~special_ST
    return {
        "series": panel.series,
        "last_day": str(panel.end),
        "observed_days": observed,
        "days_that_cannot_be_outliers": 0.0 if special_ST is None else float(special_ST[np.isfinite(panel.quantity_ST)].mean()),
        "findings": {kind: int((findings.kind_F == k).sum()) for k, kind in enumerate(KINDS)},
        "days": {kind: int(days_F[findings.kind_F == k].sum()) for k, kind in enumerate(KINDS)},
        "outlier_days_done": {
            done: int(days_F[(findings.kind_F == KINDS.index("outlier")) & (findings.done_F == d)].sum())
            for d, done in enumerate(DONE)
        },
        "touched_in_input": int(masked(panel, cleaned.inputs.quantity_ST).sum()) / observed,
        "touched_in_loss": int(masked(panel, cleaned.targets_ST).sum()) / observed,
        "found": {str(factor): found(panel, usable_ST, factor, args) for factor in FACTORS},
    }  # fmt: skip


def masked(panel: Panel, values_ST: Any) -> Any:
    return np.isfinite(panel.quantity_ST) & np.isnan(values_ST)


def found(panel: Panel, usable_ST: Any, factor: int, args: argparse.Namespace) -> dict[str, float]:
    """Shares of the errors that were found: of all, of those on days with FEW_UNITS units or more, and by volume."""
    rng = np.random.default_rng(args.seed)
    rows = np.flatnonzero(usable_ST.any(axis=1))
    sold, inputs, loss = [], [], []
    for _ in range(args.rounds):
        day = np.array([rng.choice(np.flatnonzero(usable_ST[row])) for row in rows])
        broken = replace(panel, quantity_ST=panel.quantity_ST.copy())
        broken.quantity_ST[rows, day] *= factor
        cleaned = clean(broken)
        sold.append(panel.quantity_ST[rows, day])
        inputs.append(np.isnan(cleaned.inputs.quantity_ST[rows, day]))
        loss.append(np.isnan(cleaned.targets_ST[rows, day]))
    sold_N, input_N, loss_N = (np.concatenate(part) for part in (sold, inputs, loss))
    some_N = sold_N >= FEW_UNITS
    return {
        "errors": len(sold_N),
        "input": float(input_N.mean()),
        "loss": float(loss_N.mean()),
        "input_3_units": float(input_N[some_N].mean()),
        "loss_3_units": float(loss_N[some_N].mean()),
        "loss_by_volume": float((loss_N * sold_N).sum() / sold_N.sum()),
    }


def speed(seed: int) -> dict[str, float]:
    """Processor seconds to clean a large panel, and milliseconds to clean the memory of one window and of 512."""
    rng = np.random.default_rng(seed)
    level_S1 = rng.gamma(0.5, 6.0, (SERIES, 1))
    quantity = np.concatenate(
        [rng.poisson(level_S1, (SERIES, DAYS // 10)).astype(np.float32) for _ in range(10)], axis=1
    )
    quantity[rng.random(quantity.shape, dtype=np.float32) < 0.01] = np.nan
    in_stock = (rng.random(quantity.shape, dtype=np.float32) > 0.01).astype(np.float32)
    panel = Panel(
        [f"sku-{i // 100}" for i in range(SERIES)], [f"shop-{i % 100}" for i in range(SERIES)],
        np.datetime64("2020-01-01"), quantity, past={"in_stock": in_stock},
    )  # fmt: skip
    seconds = {}
    for treatment in ("mask", "seasonal"):
        started = time.process_time()
        findings = len(clean(panel, treatment).findings)
        seconds[treatment] = round(time.process_time() - started, 1)
    return {
        "panel_seconds_mask": seconds["mask"],
        "panel_seconds_seasonal": seconds["seasonal"],
        "panel_findings": findings,
        "one_window_ms": window_ms(quantity, in_stock, 1, times=500),
        "512_windows_ms": window_ms(quantity, in_stock, 512, times=5),
    }


def window_ms(quantity: Any, in_stock: Any, count: int, *, times: int) -> float:
    memory, stock = quantity[:count, -MEMORY:].copy(), {"in_stock": in_stock[:count, -MEMORY:].copy()}
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        clean_memory(memory, stock, "mask")
        spent.append(time.perf_counter() - started)
    return round(1000 * float(np.median(spent)), 3)


def page(result: dict[str, Any]) -> str:
    files, speeds = result["files"], result["speed"]
    touched = "\n".join(
        f"| {name} | {one['observed_days']:,} | {one['days_that_cannot_be_outliers']:.1%} "
        f"| {one['touched_in_input']:.3%} | {one['touched_in_loss']:.3%} |"
        for name, one in files.items()
    )
    counted = "\n".join(
        f"| {name} | "
        + " | ".join(f"{one['findings'][kind]:,} ({one['days'][kind]:,})" for kind in KINDS if kind != "stray")
        + " |"
        for name, one in files.items()
    )
    errors = "\n".join(
        f"| {name} | x {factor} | {one['errors']:,} | {one['input']:.1%} | {one['loss']:.1%} "
        f"| {one['input_3_units']:.1%} | {one['loss_3_units']:.1%} | {one['loss_by_volume']:.1%} |"
        for name, file in files.items()
        for factor, one in file["found"].items()
    )
    return f"""# Cleaning

{result["date"]}, {result["machine"]}; `python -m benchmarks.cleaning`, seed {result["seed"]}. Files up to the day before \
their reported windows.

Days with a quantity that became missing, of all that have one. Nothing in these files says which days are wrong: read the
shares as the most that true sales lose.

| file | days with a quantity | promotion, event, holiday | contexts | loss |
| --- | --- | --- | --- | --- |
{touched}

Findings (days) of each kind:

| file | gap | closed | outlier | out of stock |
| --- | --- | --- | --- | --- |
{counted}

Errors put in, one at a time for each series, and the share that was found; "{FEW_UNITS} or more": on days that had sold as \
many units:

| file | error | number | contexts | loss | contexts, {FEW_UNITS} or more | loss, {FEW_UNITS} or more | loss, by volume |
| --- | --- | --- | --- | --- | --- | --- | --- |
{errors}

What is not found is mostly a slow day's error: ten times one or two units is what such a series sells at once now and then.

{SERIES:,} series of {DAYS:,} days are cleaned in {speeds["panel_seconds_mask"]:.1f} s of one processor (`mask`; \
{speeds["panel_findings"]:,} findings), {speeds["panel_seconds_seasonal"]:.1f} s (`seasonal`). Before a forecast \
the {MEMORY} days of one series take {speeds["one_window_ms"]:.2f} ms, those of 512 series \
{speeds["512_windows_ms"]:.0f} ms.
"""


if __name__ == "__main__":
    sys.exit(main())
