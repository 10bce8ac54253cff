"""How fast forecasts are read: with nothing stale, and right after a post.

    python -m benchmarks.reads [--data ../shared/data/m5_280.parquet] [--postgres URL]

On one database and in one run: 30,490 series (those of `m5_280`, repeated under new names, their last 112 days), an
LSTM as champion, every forecast stored. Then, in turns, one API process and a bare FastAPI route with key check and one
asyncpg look-up that returns the same bytes; the load comes from a process of its own. Results go to results/reads.*.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import torch

from app.auth import create_key
from app.config import Settings
from app.database.embedded import EmbeddedPostgres
from app.database.engine import Database
from app.database.migrate import upgrade
from app.forecasts.inference import Inference
from app.forecasts.refresh import refresh_stale
from app.registry.artifacts import save
from app.registry.store import Candidate, TrainedOn, publish
from benchmarks.accuracy import read_panel
from models.checkpoint import serialise
from models.panel import Panel
from models.training import train
from models.training_config import Model, TrainingConfig

SERIES = 30_490
DAYS = 112
ROUNDS = 3
WARM_UP_SECONDS = 15.0
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/m5_280.parquet"))
    parser.add_argument("--postgres", help="A superuser's URL; without it the embedded Postgres is started.")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--series", type=int, default=SERIES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        result = asyncio.run(measure(args, Path(home)))
    print(json.dumps(result, indent=2))
    if args.series == SERIES:
        write(result)


async def measure(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    settings = Settings(home=home)
    load_before = round(os.getloadavg()[0], 1)
    async with a_database(args.postgres, home) as url:
        await upgrade(url)
        database = Database(url)
        panel = whole_panel(args.data)
        with step("loading sales"):
            keys = await load_sales(url, panel, args.series)
        with step("training an LSTM"):
            await publish_network(database, settings, panel)
        inference = Inference(database, settings.artifacts_location)
        with step("storing every forecast") as storing:
            stored = await refresh_stale(inference)
        await inference.close()
        assert stored == args.series, stored
        async with database.transaction() as connection:
            key = await create_key(connection, "bench", ["sales:write", "forecasts:read"])
        await database.close()
        with api_process(url, home) as port:
            fresh = await fresh_reads(args, url, home, port, keys=keys, key=key)
            posted = post_then_read(port, keys, key)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_before": load_before,
        "series": args.series,
        "refresh_series_per_second": round(stored / storing.seconds),
        **fresh,
        **posted,
    }


class step(contextlib.AbstractContextManager["step"]):  # noqa: N801 - reads as a statement
    """Says what takes long, and how long it took."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds = 0.0

    def __enter__(self) -> "step":
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        print(f"{self.name}: {self.seconds:.1f} s", file=sys.stderr, flush=True)


@contextlib.asynccontextmanager
async def a_database(postgres: str | None, home: Path) -> AsyncIterator[str]:
    """The URL of an empty database, dropped afterwards."""
    if postgres is None:
        embedded = EmbeddedPostgres(home / "bench")
        await embedded.start()
        try:
            # asyncpg itself does not know SQLAlchemy's name for it.
            yield embedded.url_of("postgres", role="postgres").replace("+asyncpg", "")
        finally:
            await embedded.stop()
        return
    name = f"bench_{uuid.uuid4().hex[:8]}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urllib.parse.urlsplit(postgres)._replace(path=f"/{name}").geturl()
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


def whole_panel(data: Path) -> Panel:
    if not data.exists():
        raise SystemExit(f"{data} is not there; give another file with --data.")
    panel, _, _ = read_panel(data, "")
    return panel


async def load_sales(url: str, panel: Panel, series: int) -> list[tuple[str, str]]:
    """The panel's series repeated under new names until there are so many, as one post would leave them."""
    first = panel.start.astype("datetime64[D]").astype(date) + timedelta(days=panel.days - DAYS)
    names = [f"{panel.skus[i % panel.series]}-{i // panel.series}" for i in range(series)]
    places = [panel.locations[i % panel.series] for i in range(series)]
    newest = panel.quantity_ST[:, -DAYS:]
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        post = await connection.fetchval(
            "INSERT INTO posts (kind, received, inserted) VALUES ('sales', $1, $1) RETURNING id", series * DAYS
        )
        days = [first + timedelta(days=d) for d in range(DAYS)]
        ids = await connection.fetch(
            "INSERT INTO series (sku, location, revision, first_day, last_day, rows) "
            "SELECT n, p, 1, $3, $4, $5 FROM unnest($1::text[], $2::text[]) AS u(n, p) RETURNING id, sku, location",
            names, places, days[0], days[-1], DAYS,
        )  # fmt: skip
        row_of = {(n, p): i % panel.series for i, (n, p) in enumerate(zip(names, places, strict=True))}

        def rows() -> Iterator[tuple[Any, ...]]:
            for series_id, sku, location in ids:
                values = newest[row_of[sku, location]].tolist()
                yield from (
                    (series_id, day, post, None if math.isnan(v) else v) for day, v in zip(days, values, strict=True)
                )

        await connection.copy_records_to_table(
            "sales", records=rows(), columns=["series_id", "day", "post_id", "quantity"]
        )
    await connection.execute("VACUUM (ANALYZE, PARALLEL 0)")
    await connection.close()
    return list(zip(names, places, strict=True))


async def publish_network(database: Database, settings: Settings, panel: Panel, model: Model = "lstm") -> None:
    """A network of the default size; how long it trained does not change how fast it answers."""
    trained = train(panel, TrainingConfig(model=model, epochs=2))
    weights, description = serialise(trained.forecaster)
    job_id = uuid.uuid4()
    candidate = Candidate(
        job_id=job_id,
        kind="train",
        architecture=trained.forecaster.architecture,
        parent=None,
        horizon=trained.forecaster.horizon,
        context_length=trained.forecaster.config.context_length,
        trained_on=TrainedOn(date.fromisoformat(str(panel.end)), 1, panel.series, panel.fingerprint()),
        config=trained.forecaster.config.as_dict(),
        metrics=trained.metrics,
        artifact=save(settings.artifacts_location, weights, description, job_id=job_id),
        judged_against=None,
        promote="always",
    )
    async with database.transaction() as connection:
        await publish(connection, candidate)


async def fresh_reads(
    args: argparse.Namespace, url: str, home: Path, port: int, *, keys: list[tuple[str, str]], key: str
) -> dict[str, Any]:
    """Rounds in turns: ours, bare, ours, bare …"""
    paths = home / "paths.txt"
    paths.write_text("\n".join(path_of(*name) for name in keys))
    with step("copying every answer for the bare route"):
        await copy_answers(url, port, keys, key)
    rounds: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
    with bare_process(url) as bare:
        for at in (port, bare):
            load(at, paths, key, WARM_UP_SECONDS)
        for _ in range(ROUNDS):
            rounds["ours"].append(load(port, paths, key, args.seconds))
            rounds["bare"].append(load(bare, paths, key, args.seconds))
    assert abs(rounds["ours"][0]["bytes"] - rounds["bare"][0]["bytes"]) < 1
    middle = {
        side: {name: statistics.median(r[name] for r in found) for name in found[0]} for side, found in rounds.items()
    }
    ratio = middle["ours"]["requests_per_second"] / middle["bare"]["requests_per_second"]
    return {"fresh": middle["ours"], "bare": middle["bare"], "ratio": round(ratio, 3), "ratio_wanted": 0.7}


async def copy_answers(url: str, port: int, keys: list[tuple[str, str]], key: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE bare (sku text, location text, body bytea, PRIMARY KEY (sku, location))")
    everything = {"json": {"all": True}, "headers": authorised(key) | {"Accept": "application/x-ndjson"}}
    bodies = []
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300) as client,
        client.stream("POST", "/v1/forecasts/query", **everything) as answer,  # type: ignore[arg-type]
    ):
        async for line in answer.aiter_lines():
            said = json.loads(line)
            bodies.append((said["sku"], said["location"], line.encode()))
    assert len(bodies) == len(keys)
    await connection.copy_records_to_table("bare", records=bodies)
    await connection.execute("VACUUM (ANALYZE, PARALLEL 0) bare")
    await connection.close()


def post_then_read(port: int, keys: list[tuple[str, str]], key: str, *, times: int = 200) -> dict[str, Any]:
    """One connection: post a correction of a series' last day, read it, read it again fresh."""
    draw = random.Random(1)
    posts, stale, fresh = [], [], []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=authorised(key)) as client:
        for sku, location in draw.sample(keys, times):
            path = path_of(sku, location)
            cutoff = client.get(path).json()["cutoff"]
            row = {"sku": sku, "location": location, "date": cutoff, "quantity": draw.randint(100, 999)}
            started = time.perf_counter()
            client.post("/v1/sales", json={"sales": [row]}).raise_for_status()
            posted = time.perf_counter()
            seen = client.get(path).raise_for_status()
            read = time.perf_counter()
            again = client.get(path).raise_for_status()
            ended = time.perf_counter()
            assert seen.content == again.content
            posts.append(posted - started)
            stale.append(read - posted)
            fresh.append(ended - read)
    middle = {name: round(1000 * statistics.median(v), 3) for name, v in (("p", posts), ("s", stale), ("f", fresh))}
    return {
        "post_ms": middle["p"],
        "read_after_post_ms": middle["s"],
        "fresh_read_ms": middle["f"],
        "after_post_ratio": round(middle["s"] / middle["f"], 2),
        "after_post_ratio_wanted": 10,
    }


def path_of(sku: str, location: str) -> str:
    return "/v1/forecasts?" + urllib.parse.urlencode({"sku": sku, "location": location})


def authorised(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def load(port: int, paths: Path, key: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.http_load", "--port", str(port), "--seconds", str(seconds)]
    done = subprocess.run(
        [*command, "--paths", str(paths), "--key", key], check=True, stdout=subprocess.PIPE, timeout=seconds + 90
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def api_process(url: str, home: Path) -> Iterator[int]:
    """The real API, one process, its log in a file as a service's is."""
    port = free_port()
    environment = {
        **os.environ,
        "SHELFCAST_DATABASE_URL": url,
        "SHELFCAST_PORT": str(port),
        "SHELFCAST_HOME": str(home),
    }
    code = "import sys; from app.running.api import api; from app.config import Settings; sys.exit(api(Settings()))"
    with running([sys.executable, "-c", code], environment, home / "api.log", port):
        yield port


@contextlib.contextmanager
def bare_process(url: str) -> Iterator[int]:
    port = free_port()
    environment = {**os.environ, "BARE_DATABASE_URL": url}
    with running([sys.executable, "-m", "benchmarks.bare_reads", str(port)], environment, Path(os.devnull), port):
        yield port


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], output: Path, port: int) -> Iterator[None]:
    with output.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(port, process)
            yield
        finally:
            process.terminate()
            process.wait(30)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"The server ended with {process.returncode}.")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("The server did not listen within a minute.")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def write(result: dict[str, Any]) -> None:
    (RESULTS / "reads.json").write_text(json.dumps(result, indent=2) + "\n")
    ours, bare = result["fresh"], result["bare"]
    (RESULTS / "reads.md").write_text(
        f"""# Reading forecasts

{result["date"]}, {result["machine"]}, load average {result["load_average_before"]} before the run (other work on the
machine takes from both sides alike, and blurs the ratio); {result["series"]:,} series stored; `python -m benchmarks.reads`.

| what | requests/s | median ms | 99th percentile ms |
| --- | --- | --- | --- |
| `GET /v1/forecasts`, nothing stale, one process, 32 connections | {ours["requests_per_second"]:,.0f} | \
{ours["p50_ms"]} | {ours["p99_ms"]} |
| bare FastAPI route, key check, one asyncpg look-up, the same bytes | {bare["requests_per_second"]:,.0f} | \
{bare["p50_ms"]} | {bare["p99_ms"]} |

Ratio {result["ratio"]} (wanted: at least {result["ratio_wanted"]}).

One post and then a read of its series (LSTM champion), one connection: post {result["post_ms"]} ms, read after it
{result["read_after_post_ms"]} ms, fresh read {result["fresh_read_ms"]} ms: ratio {result["after_post_ratio"]}
(wanted: at most {result["after_post_ratio_wanted"]}).

The worker's refresh stores {result["refresh_series_per_second"]:,} series/s.
"""
    )


if __name__ == "__main__":
    main()
