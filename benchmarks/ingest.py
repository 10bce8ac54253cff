"""How fast sales go in: two million rows over HTTP as Parquet beside a raw binary COPY of the same rows, and the same rows again.

    python -m benchmarks.ingest [--postgres URL] [--rows 2000000] [--rounds 3]

On one database and in one run, in turns: COPY of rows encoded beforehand, straight into an empty `sales`; then the post of
the same rows to an API process of its own; then the same post again, which must write no row. Results: results/ingest.*.
"""

import argparse
import asyncio
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import psutil
import pyarrow as pa
from pyarrow import parquet

from app.auth import create_key
from app.database.copy import HEADER, TRAILER, encoded
from app.database.engine import Database
from app.database.migrate import upgrade
from app.tabular.formats import Format
from benchmarks.reads import a_database, api_process, authorised, step

DAYS = 500
FIRST = 19_500  # 2023-05-23
VALUES = ("quantity", "price", "promo", "in_stock")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--postgres", help="A superuser's URL; without it the embedded Postgres is started.")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        result = asyncio.run(measure(args, Path(home)))
    print(json.dumps(result, indent=2))
    if args.rows == 2_000_000:
        write(result)


async def measure(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    columns = sales(args.rows // DAYS)
    body, raw = as_parquet(columns), as_copy(columns)
    print(f"{len(body) / 2**20:.0f} MiB of Parquet, {len(raw) / 2**20:.0f} MiB of COPY", file=sys.stderr)
    rounds: list[dict[str, float]] = []
    async with a_database(args.postgres, home) as url:
        await upgrade(url)
        database = Database(url)
        async with database.transaction() as connection:
            key = await create_key(connection, "bench", ["sales:write"])
        await database.close()
        with api_process(url, home) as port:
            connection = await asyncpg.connect(url)
            for number in range(args.rounds):
                rounds.append(await one_round(connection, Sender(port, key, body), raw=raw, rows=args.rows))
                print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr, flush=True)
            await connection.close()
    middle = {name: round(statistics.median(r[name] for r in rounds), 3) for name in rounds[0]}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[1], 1),
        "rows": args.rows,
        **middle,
        "ratio": round(statistics.median(r["copy_seconds"] / r["post_seconds"] for r in rounds), 3),
        "ratio_wanted": 0.35,
        "again_ratio": round(statistics.median(r["post_seconds"] / r["again_seconds"] for r in rounds), 3),
        "again_ratio_wanted": 1,
        "memory_growth_mb": round(max(r["memory_growth_mb"] for r in rounds)),
        "memory_growth_wanted_mb": 300,
        "rows_written_again": max(r["rows_written_again"] for r in rounds),
    }


async def one_round(connection: asyncpg.Connection, sender: "Sender", *, raw: bytes, rows: int) -> dict[str, float]:
    """Raw COPY, then the post, then the post again; each begins after a checkpoint, the first two on empty tables."""
    await empty(connection)
    with step("raw COPY") as copying:
        names = ["series_id", "day", "post_id", *VALUES]
        await connection.copy_to_table("sales", columns=names, source=io.BytesIO(raw), format="binary")
    await empty(connection)
    memory = Memory(sender.port)
    posting, counts = sender.post()
    growth = memory.growth()
    assert (counts["inserted"], counts["received"]) == (rows, rows), counts
    assert await connection.fetchval("SELECT count(*) FROM sales") == rows
    await connection.execute("CHECKPOINT")
    before = await written(connection)
    again, counts = sender.post()
    assert counts["unchanged"] == rows, counts
    return {
        "copy_seconds": copying.seconds,
        "post_seconds": posting,
        "again_seconds": again,
        "memory_growth_mb": max(growth, memory.growth()),
        "rows_written_again": await written(connection) - before,
    }


def sales(series: int) -> dict[str, Any]:
    """Rows by series and day, as an export of a shop's history has them: whole units, prices in cents."""
    random = np.random.default_rng(11)
    rows = series * DAYS
    return {
        "series": np.repeat(np.arange(series, dtype=np.int32), DAYS),
        "day": np.tile(np.arange(FIRST, FIRST + DAYS, dtype=np.int32), series),
        "quantity": random.poisson(random.gamma(1, 4, series).repeat(DAYS)).astype(np.float64),
        "price": np.round(random.gamma(4, 1, series).repeat(DAYS) * random.choice([1, 1, 1, 0.8], rows), 2),
        "promo": (random.random(rows) < 0.1).astype(np.float64),
        "in_stock": np.where(random.random(rows) < 0.02, np.nan, 1.0),
    }


def as_parquet(columns: dict[str, Any]) -> bytes:
    series = columns["series"]
    table = pa.table(
        {
            "sku": pa.array(np.char.add("SKU-", (series // 10).astype(str))),
            "location": pa.array(np.char.add("S", (series % 10).astype(str))),
            "date": pa.array(columns["day"], pa.int32()).cast(pa.date32()),
            **{name: pa.array(columns[name], pa.float64(), from_pandas=True) for name in VALUES},
        }
    )
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def as_copy(columns: dict[str, Any]) -> bytes:
    """The same rows as binary COPY takes them, in the order of the primary key."""
    post = np.ones(len(columns["series"]), np.int64)
    rows = encoded(
        [
            ("int4", columns["series"] + 1),
            ("date", columns["day"]),
            ("int8", post),
            *(("float8", columns[name]) for name in VALUES),
        ]  # type: ignore[arg-type]
    )
    return HEADER + rows + TRAILER


@dataclass(frozen=True)
class Sender:
    """One body, posted to one server."""

    port: int
    key: str
    body: bytes

    def post(self) -> tuple[float, dict[str, int]]:
        """Seconds until the answer, and its counts."""
        started = time.perf_counter()
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/v1/sales",
            content=self.body,
            headers=authorised(self.key) | {"Content-Type": Format.PARQUET.value},
            timeout=900,
        )
        seconds = time.perf_counter() - started
        print(f"post: {seconds:.1f} s", file=sys.stderr, flush=True)
        counts: dict[str, int] = answer.raise_for_status().json()
        return seconds, counts


class Memory:
    """How far the peak memory of the process behind a port rises above where it stood."""

    def __init__(self, port: int) -> None:
        mine = [child for child in psutil.Process().children() if f"SHELFCAST_PORT={port}" in _environment(child.pid)]
        self._status = Path(f"/proc/{mine[0].pid}/status")
        Path(f"/proc/{mine[0].pid}/clear_refs").write_text("5")  # the peak begins anew
        self._before = self._megabytes("VmRSS")

    def growth(self) -> float:
        return self._megabytes("VmHWM") - self._before

    def _megabytes(self, name: str) -> float:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024


def _environment(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


async def empty(connection: asyncpg.Connection) -> None:
    await connection.execute("TRUNCATE sales, replaced_sales, posts, series, forecasts RESTART IDENTITY CASCADE")
    await connection.execute("CHECKPOINT")


async def written(connection: asyncpg.Connection) -> int:
    """Rows of `sales` inserted, updated or deleted so far, once the API's session has told."""
    await asyncio.sleep(2)
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return int(
        await connection.fetchval(
            "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'sales'"
        )
    )


def write(result: dict[str, Any]) -> None:
    (RESULTS / "ingest.json").write_text(json.dumps(result, indent=2) + "\n")
    rate = result["rows"] / 1e6
    (RESULTS / "ingest.md").write_text(
        f"""# Posting sales

{result["date"]}, {result["machine"]}, load average {result["load_average"]}; \
{result["rows"]:,} rows as Parquet over HTTP; `python -m benchmarks.ingest`, medians.

| what | seconds | million rows/s |
| --- | --- | --- |
| raw binary COPY of the same rows into the same table | {result["copy_seconds"]:.1f} | \
{rate / result["copy_seconds"]:.2f} |
| `POST /v1/sales`, new rows | {result["post_seconds"]:.1f} | {rate / result["post_seconds"]:.2f} |
| the same rows again | {result["again_seconds"]:.1f} | {rate / result["again_seconds"]:.2f} |

New rows reach {result["ratio"]} of the raw COPY (wanted: at least {result["ratio_wanted"]}). The same rows again are \
{result["again_ratio"]} times as fast as new ones (wanted: at least 1) and wrote {result["rows_written_again"]:.0f} rows of \
`sales`. Peak memory of the API process grew by {result["memory_growth_mb"]} MB (wanted: less than 300).
"""
    )


if __name__ == "__main__":
    main()
