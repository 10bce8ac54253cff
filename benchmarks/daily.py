"""How long a daily update takes for 30,490 series, reading and writing included: python -m benchmarks.daily

On an embedded Postgres: the series of `m5_280` under new names, their last 448 days and more, a network as champion, and what
it would have issued at 28 cutoffs before. Then day after day the real worker takes an update job: at L1 and L2, and at L3 too. A
job's seconds are those from its claim to its published version. The worker was idle for a while before, as it is between two
days, so that its next process waits ready. Results go to results/daily.*.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import orjson
import torch

from app.config import Settings
from app.database.copy import copy_in
from app.database.engine import Database
from app.database.migrate import upgrade
from app.jobs.schemas import UpdateRequest
from benchmarks.accuracy import seen
from benchmarks.reads import a_database, publish_network, step, whole_panel
from models.panel import Panel

SERIES = 30_490
HISTORY = 448
CUTOFFS = 28
ROUNDS = 3
AT_ONCE = 2_000
IDLE_SECONDS = 10.0
RESULTS = Path(__file__).parent / "results"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/m5_280.parquet"))
    parser.add_argument("--postgres", help="A superuser's URL; without it the embedded Postgres is started.")
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--model", default="mlp")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        result = asyncio.run(measure(args, Path(home)))
    print(json.dumps(result, indent=2))
    if args.series == SERIES:
        (RESULTS / "daily.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


async def measure(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    settings = Settings(home=home)
    load_before = round(os.getloadavg()[0], 1)
    panel = whole_panel(args.data)
    days = 2 * ROUNDS + 1
    until = panel.days - days  # day indices from here on are posted one by one
    async with a_database(args.postgres, home) as url:
        await upgrade(url)
        connection = await asyncpg.connect(url)
        with step("loading sales"):
            ids = await add_series(connection, panel, args.series)
            await add_days(connection, panel, ids, range(until - HISTORY, until))
            await connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
        database = Database(url)
        with step("training"):
            await publish_network(database, settings, seen(panel, until - 1), args.model)
        await database.close()
        seconds: dict[str, list[float]] = {"L1 and L2": [], "L3 as well": []}
        await connection.execute("UPDATE schedules SET enabled = false")
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.jobs.worker", env=os.environ | environment(url, home)
        )
        try:
            for number in range(days):
                await add_days(connection, panel, ids, range(until + number, until + number + 1))
                await asyncio.sleep(IDLE_SECONDS)
                fine_tune = number > 0 and number % 2 == 0
                took = await update(connection, fine_tune=fine_tune)
                print(f"day {number}, fine-tuning {fine_tune}: {took:.1f} s", file=sys.stderr, flush=True)
                if number == 0:
                    await issue_earlier(connection)
                else:
                    seconds["L3 as well" if fine_tune else "L1 and L2"].append(round(took, 2))
        finally:
            worker.terminate()
            await worker.wait()
        kept = await connection.fetchval("SELECT pg_total_relation_size('issued') / count(DISTINCT job_id) FROM issued")
        await connection.close()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_before": load_before,
        "series": args.series,
        "model": args.model,
        "seconds": {name: {"each": found, "median": statistics.median(found)} for name, found in seconds.items()},
        "bytes_issued_a_day": kept,
    }


def environment(url: str, home: Path) -> dict[str, str]:
    return {
        "SHELFCAST_DATABASE_URL": url,
        "SHELFCAST_HOME": str(home),
        "SHELFCAST_REFRESH": "false",
        "SHELFCAST_POLL_SECONDS": "0.1",
        "SHELFCAST_TRAINING_THREADS": "2",
    }


async def add_series(connection: asyncpg.Connection, panel: Panel, count: int) -> list[int]:
    """So many series, the panel's again and again under new names; their ids."""
    names = [f"{panel.skus[i % panel.series]}-{i // panel.series}" for i in range(count)]
    places = [panel.locations[i % panel.series] for i in range(count)]
    rows = await connection.fetch(
        "INSERT INTO series (sku, location) SELECT * FROM unnest($1::text[], $2::text[]) RETURNING id", names, places
    )
    return [row["id"] for row in rows]


async def add_days(connection: asyncpg.Connection, panel: Panel, ids: list[int], days: range) -> None:
    """Sales of some days of all series, as a post would leave them."""
    post = await connection.fetchval(
        "INSERT INTO posts (kind, received, inserted, series_ids, first_day, last_day)"
        " VALUES ('sales', $1, $1, $2, $3, $4) RETURNING id",
        len(ids) * len(days), ids, day_of(panel, days.start), day_of(panel, days.stop - 1),
    )  # fmt: skip
    first = panel.start.astype("datetime64[D]").astype(np.int64)
    for begin in range(0, len(ids), AT_ONCE):
        part = np.array(ids[begin : begin + AT_ONCE])
        values = panel.quantity_ST[np.arange(begin, begin + len(part)) % panel.series][:, days.start : days.stop]
        series, day = np.repeat(part, len(days)), np.tile(int(first) + np.arange(days.start, days.stop), len(part))
        columns = [
            ("series_id", "int4", series),
            ("day", "date", day),
            ("post_id", "int8", np.full(len(day), post, np.int64)),
        ]
        await copy_in(connection, "sales", [*columns, ("quantity", "float8", values.ravel().astype(np.float64))])  # type: ignore[list-item]
    await connection.execute(
        "UPDATE series SET revision = revision + 1, rows = rows + $1, first_day = least(first_day, $2), last_day = $3",
        len(days), day_of(panel, days.start), day_of(panel, days.stop - 1),
    )  # fmt: skip


def day_of(panel: Panel, index: int) -> date:
    return date.fromisoformat(str(panel.start + np.timedelta64(index, "D")))


async def update(connection: asyncpg.Connection, *, fine_tune: bool) -> float:
    """One update job, by the worker; its seconds."""
    request = UpdateRequest(kind="update", fine_tune=fine_tune, promote="always").filled_in()
    job = await connection.fetchval(
        "INSERT INTO jobs (kind, request) VALUES ('update', $1::text::jsonb) RETURNING id",
        orjson.dumps(request).decode(),
    )
    await connection.execute("SELECT pg_notify('shelfcast_jobs', $1)", str(job))
    while True:
        row = await connection.fetchrow(
            "SELECT status, error::text, result::text, extract(epoch FROM finished_at - started_at)::float8 AS seconds"
            " FROM jobs WHERE id = $1", job,
        )  # fmt: skip
        if row["status"] == "failed":
            raise SystemExit(f"The update failed: {row['error']}")
        if row["status"] == "succeeded":
            assert orjson.loads(row["result"])["version"] is not None, row["result"]
            return float(row["seconds"])
        await asyncio.sleep(0.05)


async def issue_earlier(connection: asyncpg.Connection) -> None:
    """Let the first update's forecasts stand for those of the cutoffs before, so that a day is read as in everyday use."""
    first = await connection.fetchrow("SELECT * FROM issuances")
    versions = await connection.fetchval("SELECT max(version) FROM versions")
    for back in range(1, CUTOFFS):
        job = uuid.uuid4()
        await connection.execute(
            "INSERT INTO issued SELECT $2, block, series_ids, scales, trained, lineage, candidate, champion, frozen"
            " FROM issued WHERE job_id = $1",
            first["job_id"], job,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO issuances (cutoff, job_id, version, champion, horizon) VALUES ($1, $2, $3, $3, $4)",
            first["cutoff"] - timedelta(days=back), job, versions, first["horizon"],
        )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
