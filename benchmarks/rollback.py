"""How long after a roll-back callers read what they read before: python -m benchmarks.rollback

On an embedded Postgres: 1,000 series of `m5_280`, one process of the API, no worker. A champion, whose forecasts are read;
another version, promoted by force, whose forecasts are read; then a roll-back is asked for. The seconds are those from that
request until a hundred forecasts were read again, identical to the bit to what they were before. Results go to
results/rollback.json.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from app.auth import create_key
from app.config import Settings
from app.database.engine import Database
from app.database.migrate import upgrade
from benchmarks.reads import (
    a_database,
    api_process,
    authorised,
    load_sales,
    path_of,
    publish_network,
    step,
    whole_panel,
)

SERIES = 1_000
READ = 100
ROUNDS = 10
WANTED = 2.0
RESULTS = Path(__file__).parent / "results"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/m5_280.parquet"))
    parser.add_argument("--postgres", help="A superuser's URL; without it the embedded Postgres is started.")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        result = asyncio.run(measure(args, Path(home)))
    print(json.dumps(result, indent=2))
    (RESULTS / "rollback.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


async def measure(args: argparse.Namespace, home: Path) -> dict[str, Any]:
    settings, load_before = Settings(home=home), round(os.getloadavg()[0], 1)
    panel = whole_panel(args.data)
    async with a_database(args.postgres, home) as url:
        await upgrade(url)
        database = Database(url)
        keys = (await load_sales(url, panel, SERIES))[:READ]
        with step("training two networks"):
            await publish_network(database, settings, panel, "mlp")
            await publish_network(database, settings, panel, "cnn")
        async with database.transaction() as connection:
            key = await create_key(connection, "bench", ["forecasts:read", "models:write"])
        await database.close()
        with api_process(url, home) as port:
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, headers=authorised(key), timeout=60) as client:
                seconds = [await rolled_back(client, keys) for _ in range(ROUNDS)]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_before": load_before,
        "forecasts_read": READ,
        "seconds": {"each": seconds, "median": round(float(np.median(seconds)), 3), "most": max(seconds)},
        "wanted": WANTED,
    }


async def rolled_back(client: httpx.AsyncClient, keys: list[tuple[str, str]]) -> float:
    """Promote the other version by force, roll back, read all again; the seconds of the last two."""
    (await client.post("/v1/models/1/promote")).raise_for_status()
    before = [(await client.get(path_of(*one))).raise_for_status().content for one in keys]
    (await client.post("/v1/models/2/promote")).raise_for_status()
    other = [(await client.get(path_of(*one))).raise_for_status().content for one in keys]
    assert all(ours != theirs for ours, theirs in zip(before, other, strict=True))
    started = time.perf_counter()
    (await client.post("/v1/models/rollback")).raise_for_status()
    after = [(await client.get(path_of(*one))).raise_for_status().content for one in keys]
    took = time.perf_counter() - started
    assert after == before
    return round(took, 3)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
