"""Charts of forecasts beside what came, as text that Markdown viewers draw (Mermaid).

    python -m benchmarks.charts --data FILE.parquet --forecasts FORECASTS.parquet

Reads what `benchmarks.accuracy --out` wrote and shows six series at one cutoff, the middle one of the file: of all series with
sales in those days, ordered by their WQL, the ones at 5, 20, 40, 60, 80 and 95 % of the way from best to worst.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

SHOWN = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
LEVELS = tuple(round(0.1 * i, 1) for i in range(1, 10))
PAST_DAYS = 28


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--forecasts", type=Path, required=True)
    args = parser.parse_args(argv)
    sales = pd.read_parquet(args.data, columns=["sku", "location", "date", "quantity"])
    sales["date"] = pd.to_datetime(sales["date"])
    print("\n\n".join(charts(sales, pd.read_parquet(args.forecasts))))
    return 0


def charts(sales: pd.DataFrame, forecasts: pd.DataFrame) -> list[str]:
    """One chart a series, best first."""
    cutoffs = sorted(forecasts["cutoff"].unique())
    cutoff = cutoffs[len(cutoffs) // 2]
    one = forecasts[forecasts["cutoff"] == cutoff].merge(sales, on=["sku", "location", "date"], how="left")
    ranked = by_wql(one)
    picked = [ranked.index[round(share * (len(ranked) - 1))] for share in SHOWN]
    return [chart(sales, one, key, float(ranked[key]), pd.Timestamp(cutoff)) for key in picked]


def by_wql(one: pd.DataFrame) -> "pd.Series[float]":
    """WQL of each series that sold something, least first."""
    y = one["quantity"].to_numpy(np.float64)[:, None]
    error = y - one[[str(level) for level in LEVELS]].to_numpy(np.float64)
    level = np.array(LEVELS)
    loss = 2 * np.maximum(level * error, (level - 1) * error).mean(axis=1)
    sums = one.assign(loss=loss).groupby(["sku", "location"])[["loss", "quantity"]].sum()
    sold = sums[sums["quantity"] > 0]
    return (sold["loss"] / sold["quantity"]).sort_values(kind="stable")


def chart(sales: pd.DataFrame, one: pd.DataFrame, key: tuple[str, str], wql: float, cutoff: pd.Timestamp) -> str:
    """The last four weeks and what came after; levels 0.1, 0.5 and 0.9 of the forecast from the cutoff on."""
    own = sales[(sales["sku"] == key[0]) & (sales["location"] == key[1])].set_index("date")["quantity"]
    days = pd.date_range(cutoff - pd.Timedelta(days=PAST_DAYS - 1), periods=PAST_DAYS).union(
        pd.DatetimeIndex(one["date"].unique())
    )
    seen = own.reindex(days)
    mine = one[(one["sku"] == key[0]) & (one["location"] == key[1])].set_index("date")
    lines = {"sold": seen} | {
        name: seen.where(days <= cutoff, mine[name].reindex(days)) for name in ("0.1", "0.5", "0.9")
    }
    title = f"{key[0]} {key[1]}, from {cutoff:%Y-%m-%d}: WQL {wql:.2f}".replace('"', "'")
    drawn = [f"    line {[float(np.round(v, 2)) for v in values.ffill().fillna(0.0)]}" for values in lines.values()]
    axis = f'    x-axis "days before and after the cutoff" {1 - PAST_DAYS} --> {len(days) - PAST_DAYS}'
    return "\n".join(["```mermaid", "xychart-beta", f'    title "{title}"', axis, '    y-axis "units"', *drawn, "```"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
