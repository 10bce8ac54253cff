"""How long it takes from a posted day until all forecasts are fresh: python -m benchmarks.freshness

On an embedded Postgres: the series of `m5_280` under new names, their last 448 days, a network as champion, every forecast
stored; one process of the API and one worker. Day after day is posted for all series over HTTP (CSV); the seconds are those from
the request's first byte until the last series' stored forecast has seen its day. For 1,000 series and for 30,490, with nothing
else going on: no update is made meanwhile. Results go to results/freshness.json.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import torch

from app.auth import create_key
from app.config import Settings
from app.database.engine import Database
from app.database.migrate import upgrade
from benchmarks.accuracy import seen
from benchmarks.daily import HISTORY, add_days, add_series, day_of
from benchmarks.reads import a_database, api_process, authorised, publish_network, step, whole_panel
from models.panel import Panel

ROUNDS = {1_000: 20, 30_490: 3}
WANTED = {1_000: 3.0, 30_490: 20.0}
NAMES = "SELECT sku, location FROM series ORDER BY id"
RESULTS = Path(__file__).parent / "results"
FRESH = """
    SELECT count(*) FROM series s JOIN aliases a ON a.alias = 'champion'
    JOIN forecasts f ON f.series_id = s.id AND f.version = a.version AND f.series_revision = s.revision"""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/m5_280.parquet"))
    parser.add_argument("--postgres", help="A superuser's URL; without it the embedded Postgres is started.")
    parser.add_argument("--series", type=int, nargs="*", default=list(ROUNDS))
    parser.add_argument("--model", default="mlp")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    load_before = round(os.getloadavg()[0], 1)
    found = {}
    for series in args.series:
        with tempfile.TemporaryDirectory() as home:
            found[series] = asyncio.run(measure(args, series, Path(home)))
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_before": load_before,
        "model": args.model,
        "seconds": found,
    }
    print(json.dumps(result, indent=2))
    if args.series == list(ROUNDS):
        (RESULTS / "freshness.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


async def measure(args: argparse.Namespace, series: int, home: Path) -> dict[str, Any]:
    panel, settings, rounds = whole_panel(args.data), Settings(home=home), ROUNDS.get(series, 3)
    until = panel.days - rounds
    async with a_database(args.postgres, home) as url:
        await upgrade(url)
        connection = await asyncpg.connect(url)
        with step("loading sales"):
            ids = await add_series(connection, panel, series)
            await add_days(connection, panel, ids, range(until - HISTORY, until))
            await connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
        database = Database(url)
        with step("training"):
            await publish_network(database, settings, seen(panel, until - 1), args.model)
        async with database.transaction() as writing:
            key = await create_key(writing, "bench", ["sales:write", "forecasts:read"])
        await database.close()
        await connection.execute("UPDATE schedules SET enabled = false")
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.jobs.worker", env=os.environ | environment(url, home)
        )
        try:
            with step("storing every forecast"):
                await until_fresh(connection, series)
            with api_process(url, home) as port:
                names = [(row["sku"], row["location"]) for row in await connection.fetch(NAMES)]
                await warmed_up(port)
                bodies = [(until + n, body_of(names, panel, until + n)) for n in range(rounds)]
                each = [await posted(connection, day_of(panel, day), body, port, key) for day, body in bodies]
        finally:
            worker.terminate()
            await worker.wait()
            await connection.close()
    p95 = float(np.quantile(each, 0.95))
    return {
        "each": each,
        "median": round(float(np.median(each)), 2),
        "p95": round(p95, 2),
        "wanted": WANTED.get(series),
    }


def environment(url: str, home: Path) -> dict[str, str]:
    return {"SHELFCAST_DATABASE_URL": url, "SHELFCAST_HOME": str(home), "SHELFCAST_READY_CHILD": "false"}


def body_of(names: list[tuple[str, str]], panel: Panel, day: int) -> bytes:
    """One day of all series, as CSV."""
    date, values = day_of(panel, day), panel.quantity_ST[:, day]
    rows = [f"{sku},{location},{date},{values[i % panel.series]:g}" for i, (sku, location) in enumerate(names)]
    return "\n".join(["sku,location,date,quantity", *rows]).encode()


async def posted(connection: asyncpg.Connection, date: date, body: bytes, port: int, key: str) -> float:
    """Post a day; the seconds until every forecast has seen it."""
    headers = authorised(key) | {"Content-Type": "text/csv"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120) as client:
        started = time.perf_counter()
        answer = await client.post("/v1/sales", content=body)
        answer.raise_for_status()
        accepted = time.perf_counter() - started
        await until_fresh(connection, answer.json()["received"])
    took = time.perf_counter() - started
    print(f"{date}: posted in {accepted:.2f} s, fresh after {took:.2f} s", file=sys.stderr, flush=True)
    return round(took, 2)


async def warmed_up(port: int) -> None:
    """Wait until the API has imported everything."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        (await client.get("/readyz")).raise_for_status()


async def until_fresh(connection: asyncpg.Connection, series: int) -> None:
    while await connection.fetchval(FRESH) < series:  # noqa: ASYNC110 - another process does the work
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
