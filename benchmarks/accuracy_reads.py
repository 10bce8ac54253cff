"""How fast accuracy is read, and how much its aggregates keep, at a retailer's size.

    python -m benchmarks.accuracy_reads [--data ../shared/data/m5_280.parquet] [--postgres URL]

30,490 series (those of `m5_280`, repeated under new names) and the sums of their last 365 days: what came is the file's, the
forecasts of 28 cutoffs a day are quantiles of the 91 days before the earliest of them, shifted at random by `--seed`, so that no
network has to be trained. Days older than 56 are weeks, as housekeeping leaves them, but for one week that it then puts together.
Each question is asked in turns with a bare FastAPI route with key check and one asyncpg look-up that returns the same bytes.
Results go to results/accuracy_reads.md.

Shapes: S series of the file, R series that are kept, C sources, K stretches, X sums, J days ahead, Q levels.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import torch

from app.accuracy.blocks import BLOCK
from app.accuracy.sums import SOURCES, Doubles, packed
from app.accuracy.weeks import first_kept_daily, put_weeks_together
from app.auth import create_key
from app.database.engine import Database
from app.database.migrate import upgrade
from app.jobs.update_days import PAIRED
from benchmarks.reads import a_database, api_process, authorised, bare_process, step, whole_panel
from benchmarks.runs import circumstances
from models.days import take_days
from models.evaluation import SCORED_LEVELS
from models.online.scoring import naive_of_day, sums_of_day
from models.online.stream import scales
from models.panel import Floats, Panel
from models.quantiles import empirical_quantiles
from models.segments import SEGMENTS, bucket_names, segments
from models.windows import MEMORY

SERIES, DAYS, AHEAD = 30_490, 365, 28
CODE = ("app/accuracy", "benchmarks/accuracy_reads.py")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class ScoredDay:
    """One day of the file's series: their sums (S, C, K, X), and the segment of each."""

    day: date
    sums_SCKX: Floats
    segment_S: np.ndarray[Any, np.dtype[np.int64]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/m5_280.parquet"))
    parser.add_argument("--postgres", help="A superuser's URL; without it the embedded Postgres is started.")
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--times", type=int, default=20, help="how often each question is asked")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        result = asyncio.run(measure(args, Path(home)))
    print(json.dumps(result, indent=2))
    if (args.series, args.days) == (SERIES, DAYS):
        write(result)


async def measure(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    panel = whole_panel(args.data)
    where = circumstances(1, CODE)
    load_before = round(os.getloadavg()[0], 1)
    async with a_database(args.postgres, home) as url:
        await upgrade(url)
        database = Database(url)
        with step("scoring the file's series"):
            days = [scored(panel, panel.days - args.days + k, args.seed) for k in range(args.days)]
        with step("filling"):
            await fill(url, panel, days, args.series)
        with step("putting one week together") as weekly:
            rows = await put_weeks_together(database)
        async with database.transaction() as connection:
            key = await create_key(connection, "bench", ["forecasts:read"])
        await database.close()
        kept = await sizes(url)
        questions = asked(panel, days)
        with api_process(url, home) as port, bare_process(url) as bare_port:
            ours, bare = client_at(port, key), client_at(bare_port, key)
            bodies = await asyncio.to_thread(answers, ours, questions)
            await copy_answers(url, bodies)
            reads = {
                what: {"n": json.loads(bodies[what])["horizons"][-1]["n"]}
                | await asyncio.to_thread(in_turns, ours, bare, query, what=what, times=args.times)
                for what, query in questions.items()
            }
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{where['machine']}, commit {where['commit']}",
        "load_average_before": load_before,
        "seed": args.seed,
        "series": args.series,
        "days": args.days,
        "one_week_together": {"rows": rows, "seconds": round(weekly.seconds, 1)},
        "bytes": kept,
        "reads": reads,
    }


def scored(panel: Panel, day: int, seed: int) -> ScoredDay:
    rng = np.random.default_rng([seed, day])
    y_S, scale_S = panel.quantity_ST[:, day], scales(panel, day - 1)
    first_S = np.full(panel.series, day - MEMORY, np.int64)
    memory_SM = take_days(panel.quantity_ST, np.arange(panel.series), first_S, MEMORY)
    naive_SJ, naive_SJQ = naive_of_day(memory_SM, AHEAD)
    usual_SQ = np.nan_to_num(empirical_quantiles(memory_SM[:, -AHEAD - 91 : -AHEAD], SCORED_LEVELS))
    found = []
    for source in SOURCES:
        if source == "seasonal_naive":
            found.append(sums_of_day(y_S, naive_SJ, naive_SJQ, scale_S))
            continue
        factor_SJ1 = rng.gamma(50, 1 / 50, (panel.series, AHEAD, 1)).astype(np.float32)
        said_SJQ = usual_SQ[:, None] * factor_SJ1
        found.append(sums_of_day(y_S, said_SJQ.mean(axis=2), said_SJQ, scale_S))
    return ScoredDay(day_of(panel, day), np.stack(found, axis=1), segments(panel, day - 1))


def day_of(panel: Panel, day: int) -> date:
    found: date = (panel.start + np.timedelta64(day, "D")).item()
    return found


async def fill(url: str, panel: Panel, days: list[ScoredDay], series: int) -> None:
    """All rows as updates and housekeeping leave them, but that the newest week of those to put together is still days."""
    of_file_R = np.arange(series) % panel.series
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO series (sku, location, revision) SELECT n, p, 1 FROM unnest($1::text[], $2::text[]) AS u(n, p)",
        [f"{panel.skus[i % panel.series]}-{i // panel.series}" for i in range(series)],
        [panel.locations[i] for i in of_file_R.tolist()],
    )
    ids_R = np.array([row["id"] for row in await connection.fetch("SELECT id FROM series ORDER BY id")])
    jobs = {one.day: uuid.uuid4() for one in days}
    await connection.copy_records_to_table("scored_days", records=list(jobs.items()))
    await connection.copy_records_to_table("scores", records=list(daily_rows(days, of_file_R)))
    columns = ["block", "day", "job_id", "days", "series_ids", "sums"]
    together = first_kept_daily(days[-1].day) - timedelta(days=7)
    for monday in sorted({one.day - timedelta(days=one.day.weekday()) for one in days}):
        week = [one for one in days if 0 <= (one.day - monday).days < 7]
        if monday < together:
            total = np.sum([one.sums_SCKX for one in week], axis=0, dtype=np.float64)
            rows = [(monday, jobs[week[0].day], 7, total)]
        else:
            rows = [(one.day, jobs[one.day], 1, one.sums_SCKX) for one in week]
        for day, job, count, sums_SCKX in rows:
            records = list(blocks(day, job, count, sums_SCKX[of_file_R], ids_R))
            await connection.copy_records_to_table("series_scores", records=records, columns=columns)
    await connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
    await connection.close()


def blocks(
    day: date, job: uuid.UUID, days: int, sums_RCKX: Floats | Doubles, ids_R: np.ndarray[Any, np.dtype[np.int64]]
) -> Iterator[tuple[Any, ...]]:
    for block in np.unique(ids_R // BLOCK).tolist():
        at = np.flatnonzero(ids_R // BLOCK == block)
        yield block, day, job, days, ids_R[at].tolist(), packed(sums_RCKX[at])


def daily_rows(
    days: list[ScoredDay], of_file_R: np.ndarray[Any, np.dtype[np.int64]]
) -> Iterator[tuple[date, str, str, str, list[float]]]:
    """Rows of `scores`: of all copies together. What a lineage would have, and what stands beside it, is counted as what callers
    read."""
    copies_S = np.bincount(of_file_R).astype(np.float64)
    for one in days:
        for number, segment in enumerate(SEGMENTS):
            weight_S = np.where(one.segment_S == number, copies_S, 0.0)
            total_CKX = np.einsum("s,sckx->ckx", weight_S, one.sums_SCKX)
            for source in (*SOURCES, *PAIRED):
                total_KX = total_CKX[SOURCES.index("live" if source in PAIRED else source)]
                for stretch, total_X in zip(bucket_names(AHEAD), total_KX, strict=True):
                    if total_X[0] > 0:
                        yield one.day, source, segment, stretch, total_X.tolist()


async def sizes(url: str) -> dict[str, int]:
    """Bytes with indexes and what lies out of line, by table."""
    connection = await asyncpg.connect(url)
    found = {
        name: await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", name)
        for name in ("series_scores", "scores", "scored_days")
    }
    await connection.close()
    return found


def asked(panel: Panel, days: list[ScoredDay]) -> dict[str, dict[str, str]]:
    """Questions by what they are about, over four weeks and over all days."""
    sku, place = f"{panel.skus[0]}-0", panel.locations[0]
    questions: dict[str, dict[str, str]] = {
        "all series": {},
        "one segment": {"segment": "slow"},
        "one SKU at one location": {"sku": sku, "location": place},
        "one location": {"location": place},
    }
    spans: dict[str, dict[str, str]] = {"28 days": {}, f"{len(days)} days": {"from": str(days[0].day)}}
    return {
        f"{name}, {span}": question | bounds for name, question in questions.items() for span, bounds in spans.items()
    }


def answers(client: httpx.Client, questions: dict[str, dict[str, str]]) -> dict[str, bytes]:
    return {
        what: client.get("/v1/accuracy", params=query).raise_for_status().content for what, query in questions.items()
    }


async def copy_answers(url: str, bodies: dict[str, bytes]) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE bare (sku text, location text, body bytea, PRIMARY KEY (sku, location))")
    await connection.copy_records_to_table("bare", records=[(what, "", body) for what, body in bodies.items()])
    await connection.close()


def client_at(port: int, key: str) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=authorised(key), timeout=120)


def in_turns(
    ours: httpx.Client, bare: httpx.Client, question: dict[str, str], *, what: str, times: int
) -> dict[str, float]:
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(times):
        for side, client, path, query in (
            ("ours", ours, "/v1/accuracy", question),
            ("bare", bare, "/v1/forecasts", {"sku": what}),
        ):
            started = time.perf_counter()
            client.get(path, params=query).raise_for_status()
            seconds[side].append(time.perf_counter() - started)
    middle = {side: 1000 * statistics.median(found) for side, found in seconds.items()}
    return {
        "ms": round(middle["ours"], 1),
        "slowest_ms": round(1000 * max(seconds["ours"]), 1),
        "bare_ms": round(middle["bare"], 2),
        "ratio": round(middle["ours"] / middle["bare"], 1),
    }


def write(result: dict[str, Any]) -> None:
    week, kept = result["one_week_together"], result["bytes"]
    reads = "\n".join(
        f"| {what} | {one['n']:,} | {one['ms']:,} | {one['slowest_ms']:,} | {one['bare_ms']} | {one['ratio']:,} |"
        for what, one in result["reads"].items()
    )
    megabytes = {name: f"{size / 1e6:,.1f}" for name, size in kept.items()}
    (RESULTS / "accuracy_reads.md").write_text(
        f"""# Reading accuracy

{result["date"]}, {result["machine"]}, load average {result["load_average_before"]} before the run.
`python -m benchmarks.accuracy_reads --seed {result["seed"]}`: {result["series"]:,} series of `m5_280` under new names over
{result["days"]} days. One question at a time, in turns with a bare route that answers the same bytes after a key check and one
look-up; medians. Other work on the machine takes from both sides.

| `GET /v1/accuracy` of | forecasts counted | ms | slowest ms | bare ms | ratio |
| --- | --- | --- | --- | --- | --- |
{reads}

Kept: {megabytes["series_scores"]} MB of sums by series (by day for the newest 56 days, by week before) and
{megabytes["scores"]} MB of sums of all series by day and segment. The series of one location lie in all
{-(-result["series"] // BLOCK)} blocks here, which is the worst that can be. Housekeeping puts one week of all series together
in {week["seconds"]} s ({week["rows"]} rows).
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
