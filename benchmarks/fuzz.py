"""Requests made up from the OpenAPI document, valid and not, against a real API process.

    python -m benchmarks.fuzz [--seconds 600]

Looks for: a 5xx, a status, header, content type or body that the document does not list, a method that is answered though it
is not listed, a request without a key that is let in, a body against its schema that is accepted. That a body by its schema
may still be refused is no fault: repeated rows, dates in the future or a garbled page token are beyond what a schema says.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx

from app.database.embedded import EmbeddedPostgres
from app.database.migrate import upgrade

_START_SECONDS = 120
_HOOKS = str(Path(__file__).with_name("fuzz_hooks.py"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long to fuzz")
    seconds = parser.parse_args().seconds
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded(Path(folder)) as url,
        api(Path(folder), url) as (address, key),
    ):
        return fuzz(
            address,
            key,
            "--phases=examples,coverage,fuzzing,stateful",
            f"--max-time={seconds}",
            "--generation-database=none",
        ).returncode


def fuzz(address: str, key: str, *options: str, output: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run schemathesis over the API at `address`; a return code other than 0 means that it found something."""
    prepare(address, key)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--exclude-checks=positive_data_acceptance"]
    command += ["--suppress-health-check=all", "--continue-on-failure", "--no-color", "--warnings=off"]
    command += options
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": _HOOKS}
    with jobs_ending(address, key):
        return subprocess.run(command, env=environment, stdout=output, stderr=output, text=True, check=False)


def prepare(address: str, key: str) -> None:
    """Post what the document's examples speak of, so that they are answered with more than 404."""
    first = date(2026, 9, 1)
    days = [(first + timedelta(days=day)).isoformat() for day in range(84)]
    rows = [
        {"sku": sku, "location": location, "date": day, "quantity": 3}
        for sku, location in (("A-1", "S1"), ("A-2", ""))
        for day in days
    ]
    headers = {"Authorization": f"Bearer {key}"}
    httpx.post(f"{address}/v1/sales", json={"sales": rows}, headers=headers, timeout=60).raise_for_status()
    job = {"model": "lstm"}
    httpx.post(f"{address}/v1/training-jobs", json=job, headers=headers, timeout=60).raise_for_status()


@contextmanager
def jobs_ending(address: str, key: str) -> Iterator[None]:
    """Cancel every job that is made meanwhile: the stream of a job's events lasts as long as the job."""
    done = threading.Event()

    def cancel() -> None:
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            while not done.wait(0.3):
                for job in client.get("/v1/training-jobs", params={"status": "queued"}).json()["jobs"]:
                    client.post(f"/v1/training-jobs/{job['id']}/cancel").raise_for_status()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def embedded(folder: Path) -> Iterator[str]:
    """A Postgres of its own, migrated."""
    with asyncio.Runner() as runner:
        postgres = EmbeddedPostgres(folder / "database")
        runner.run(postgres.start())
        try:
            runner.run(upgrade(postgres.url))
            yield postgres.url
        finally:
            runner.run(postgres.stop())


@contextmanager
def api(folder: Path, database_url: str, **settings: str) -> Iterator[tuple[str, str]]:
    """An API process over a migrated database without keys; its address and its admin key."""
    home = folder / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHELFCAST_")}
    environment |= {
        "SHELFCAST_HOME": str(home),
        "SHELFCAST_PORT": "0",
        "SHELFCAST_DATABASE_URL": database_url,
        **settings,
    }
    printed, log = folder / "api.out", folder / "api.log"
    with printed.open("wb") as out, log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "api"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (ready := re.search(r"ready on (\S+)", printed.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the API did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield ready.group(1), (home / "admin.key").read_text().strip()
    finally:
        process.terminate()
        process.wait(30)
        sys.stdout.writelines(line + "\n" for line in log.read_text().splitlines() if '"level":"error"' in line)


if __name__ == "__main__":
    sys.exit(main())
