"""How fast the training panel is read: five million rows into a dense panel, beside a bare COPY of the same rows into NumPy.

    python -m benchmarks.panel [--postgres URL] [--rows 5000000] [--rounds 5]

On one database and in one run, in turns. The bare COPY takes the bytes as asyncpg hands them over and makes one array of
big-endian rows of them: no checks, no native columns, no panel. Results: results/panel.*.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from app.database.copy import HEADER, copy_in
from app.database.engine import Database
from app.database.migrate import upgrade
from app.sales.panel import read_context, read_panel
from benchmarks.reads import a_database, step

DAYS = 1000
FIRST = 19_000
VALUES = ("quantity", "price", "promo", "in_stock")
RESULTS = Path(__file__).parent / "results"
QUERY = "SELECT series_id, day, " + ", ".join(f"coalesce({name}, 'NaN')" for name in VALUES) + " FROM sales"
ROW = np.dtype(
    [("fields", ">i2"), *((f"{part}{i}", kind) for i, size in enumerate((4, 4, 8, 8, 8, 8))
     for part, kind in (("length", ">i4"), ("value", ">i4" if size == 4 else ">f8")))]
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--postgres", help="A superuser's URL; without it the embedded Postgres is started.")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        result = asyncio.run(measure(args, Path(home)))
    print(json.dumps(result, indent=2))
    if args.rows == 5_000_000:
        write(result)


async def measure(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    async with a_database(args.postgres, home) as url:
        await upgrade(url)
        connection = await asyncpg.connect(url)
        with step("loading"):
            await load(connection, args.rows // DAYS)
        database = Database(url)
        bare, ours = [], []
        for number in range(args.rounds + 1):  # the first warms the caches and does not count
            bare.append(await bare_copy(connection, args.rows))
            ours.append(await panel(database, args.rows))
            print(f"round {number}: bare {bare[-1]:.2f} s, panel {ours[-1]:.2f} s", file=sys.stderr, flush=True)
        context = await contexts(database, args.rows // DAYS)
        await database.close()
        await connection.close()
    bare, ours = bare[1:], ours[1:]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[1], 1),
        "rows": args.rows,
        "bare_seconds": round(statistics.median(bare), 3),
        "panel_seconds": round(statistics.median(ours), 3),
        "ratio": round(statistics.median(b / o for b, o in zip(bare, ours, strict=True)), 3),
        "ratio_wanted": 0.5,
        "context_of_one_series_ms": context,
    }


async def load(connection: asyncpg.Connection, series: int) -> None:
    """Series of DAYS days with quantity, price, promotion and stock."""
    await connection.execute(
        "INSERT INTO series (sku, location, revision, rows, first_day, last_day)"
        " SELECT 'SKU-' || i / 10, 'S' || i % 10, 1, $2::int,"
        " DATE '1970-01-01' + $3::int, DATE '1970-01-01' + $3::int + $2::int - 1"
        " FROM generate_series(0, $1::int - 1) AS i",
        series, DAYS, FIRST,
    )  # fmt: skip
    random = np.random.default_rng(5)
    for first in range(0, series, 500):
        ids = np.arange(first + 1, min(first + 500, series) + 1, dtype=np.int32).repeat(DAYS)
        rows = len(ids)
        await copy_in(
            connection,
            "sales",
            [
                ("series_id", "int4", ids),
                ("day", "date", np.tile(np.arange(FIRST, FIRST + DAYS, dtype=np.int32), rows // DAYS)),
                ("post_id", "int8", np.ones(rows, np.int64)),
                ("quantity", "float8", random.poisson(3, rows).astype(np.float64)),
                ("price", "float8", np.round(random.gamma(4, 1, rows), 2)),
                ("promo", "float8", (random.random(rows) < 0.1).astype(np.float64)),
                ("in_stock", "float8", np.where(random.random(rows) < 0.02, np.nan, 1.0)),
            ],
        )
    await connection.execute("VACUUM ANALYZE sales, series")


async def bare_copy(connection: asyncpg.Connection, rows: int) -> float:
    started = time.perf_counter()
    buffer = bytearray()

    async def take(data: bytes) -> None:
        buffer.extend(data)

    await connection.copy_from_query(QUERY, output=take, format="binary")
    found = np.frombuffer(buffer, ROW, rows, len(HEADER))
    seconds = time.perf_counter() - started
    assert float(found["value2"].sum()) > 0
    return seconds


async def panel(database: Database, rows: int) -> float:
    started = time.perf_counter()
    async with database.snapshot() as connection:
        data = await read_panel(connection)
    seconds = time.perf_counter() - started
    assert data is not None
    assert data.rows == rows
    assert data.panel.quantity_ST.shape == (rows // DAYS, DAYS)
    return seconds


async def contexts(database: Database, series: int, *, times: int = 300) -> float:
    """Median milliseconds to read one series' last 90 days, with price and promotion, inside an open snapshot."""
    spent = []
    for number in range(times):
        async with database.snapshot() as connection:
            started = time.perf_counter()
            found = await read_context(
                connection, [1 + number * 7 % series], days=90, ahead=28, known=("price", "promo"), past=("in_stock",)
            )
            spent.append(time.perf_counter() - started)
        assert found is not None
    return round(1000 * statistics.median(spent), 3)


def write(result: dict[str, Any]) -> None:
    (RESULTS / "panel.json").write_text(json.dumps(result, indent=2) + "\n")
    rows = result["rows"] / 1e6
    (RESULTS / "panel.md").write_text(
        f"""# Reading the training panel

{result["date"]}, {result["machine"]}, load average {result["load_average"]}; \
{result["rows"]:,} rows; `python -m benchmarks.panel`, medians.

| what | seconds | million rows/s |
| --- | --- | --- |
| bare COPY of the same rows into NumPy | {result["bare_seconds"]:.2f} | {rows / result["bare_seconds"]:.2f} |
| `read_panel`: dense panel with price, promotion and stock | {result["panel_seconds"]:.2f} | \
{rows / result["panel_seconds"]:.2f} |

Ratio {result["ratio"]} (wanted: at least {result["ratio_wanted"]}). The context of one series (90 days) is read in \
{result["context_of_one_series_ms"]} ms.
"""
    )


if __name__ == "__main__":
    main()
