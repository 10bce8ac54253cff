"""`make image-test`: builds the image and uses it as an operator would, with nothing of the code around it.

First `migrate`, `api` and `worker` over a Postgres on 127.0.0.1: sales are posted, a network is trained, its forecast read.
Then the bare image on its embedded Postgres: ready, closed to strangers, stopped in time with nothing left. It uses docker;
where no engine runs, SHELFCAST_IMAGE_TOOL may name a script that stands in for it (see engines.py).
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.image.engines import Docker, Running, Script
from tests.image.postgres import free_port, postgres

ROOT = Path(__file__).parents[2]
TAG = "shelfcast-image-test"
QUIET = {"SHELFCAST_LOG_LEVEL": "warning"}
TINY = {"model": "lstm", "horizon": 7, "context_length": 14, "width": 8, "epochs": 2, "promote": "always"}
SERIES, DAYS = 3, 150
START_SECONDS, TRAINING_SECONDS = 90, 300


def main() -> int:
    engine = _engine()
    if engine is None:
        print("There is no docker here; SHELFCAST_IMAGE_TOOL may name a script that builds and runs.", file=sys.stderr)
        return 1
    began = time.monotonic()
    size = engine.build(ROOT)
    _say(f"built in {time.monotonic() - began:.0f} s: {size}")
    _over_a_server(engine)
    _bare(engine)
    _say(f"what this run held: {engine.holds}")
    return 0


def _engine() -> Docker | Script | None:
    script = os.environ.get("SHELFCAST_IMAGE_TOOL")
    if script:
        return Script(script, TAG)
    return Docker(TAG) if shutil.which("docker") else None


def _over_a_server(engine: Docker | Script) -> None:
    port = free_port()
    with postgres() as url:
        settings = QUIET | {"SHELFCAST_HOST": "127.0.0.1", "SHELFCAST_PORT": str(port), "SHELFCAST_DATABASE_URL": url}
        assert "the schema is at head" in engine.command(settings, "migrate")
        key = engine.command(settings, "keys", "create", "--name", "image-test", "--scopes", "admin").splitlines()[-1]
        _say("migrated a Postgres on 127.0.0.1 and made a key")
        began = time.monotonic()
        with engine.running(settings, "api", "worker") as running, _client(port, key) as client:
            _until(lambda: _ready(client, running)["workers"] == 1, START_SECONDS)
            _say(f"api and worker ready after {time.monotonic() - began:.1f} s")
            if isinstance(engine, Docker):
                _until(lambda: engine.healthy(running.names[0]), START_SECONDS)
            _post_sales(client)
            version = _train(client)
            _check_forecast(_read(client, "/v1/forecasts", sku="A-1", location="S1"), version)
        _say("api and worker stopped in time")


def _bare(engine: Docker | Script) -> None:
    port = free_port()
    settings = QUIET | {"SHELFCAST_HOST": "127.0.0.1", "SHELFCAST_PORT": str(port)}
    began = time.monotonic()
    with engine.running(settings, "serve") as running, _client(port, "") as client:
        _until(lambda: _ready(client, running)["workers"] == 1, START_SECONDS)
        _say(f"the bare image is ready after {time.monotonic() - began:.1f} s, on its embedded Postgres")
        if isinstance(engine, Docker):
            _until(lambda: engine.healthy(running.names[0]), START_SECONDS)
        assert client.get("/v1/sales").status_code == 401
    _say("the bare image stopped in time")


def _client(port: int, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)


def _ready(client: httpx.Client, running: Running) -> dict[str, Any]:
    assert not running.ended(), "a command of the image ended by itself"
    try:
        answer = client.get("/readyz")
    except httpx.TransportError:
        return {"workers": None}
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 200 else {"workers": None}


def _post_sales(client: httpx.Client) -> None:
    days = [_yesterday() - timedelta(days=back) for back in reversed(range(DAYS))]
    rows = [
        {"sku": f"A-{number}", "location": "S1", "date": str(day), "quantity": (day.weekday() + 1) * (number + 1)}
        for number in range(SERIES)
        for day in days
    ]
    answer = client.post("/v1/sales", json={"sales": rows}).raise_for_status().json()
    assert answer["inserted"] == len(rows), answer
    _say(f"posted {len(rows)} rows")


def _train(client: httpx.Client) -> int:
    began = time.monotonic()
    job = client.post("/v1/training-jobs", json=TINY).raise_for_status().json()["id"]
    _until(lambda: _read(client, f"/v1/training-jobs/{job}")["finished_at"], TRAINING_SECONDS)
    ended = _read(client, f"/v1/training-jobs/{job}")
    assert ended["status"] == "succeeded", ended
    _say(f"trained in {time.monotonic() - began:.1f} s: {ended['outcome']}")
    return int(ended["model_version"])


def _check_forecast(forecast: dict[str, Any], version: int) -> None:
    assert forecast["model_version"] == version, forecast
    assert forecast["fallback"] is None, forecast
    assert forecast["cutoff"] == str(_yesterday()), forecast
    assert len(forecast["forecast"]) == TINY["horizon"], forecast
    for day in forecast["forecast"]:
        levels = [day["quantiles"][level] for level in ("0.1", "0.5", "0.9")]
        assert math.isfinite(day["mean"]), day
        assert levels == sorted(levels), day
        assert levels[0] >= 0, day
    _say(f"read a forecast of version {version}: {forecast['forecast'][0]}")


def _read(client: httpx.Client, path: str, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(path, params=query).raise_for_status().json()
    return found


def _yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


def _until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.2)


def _say(sentence: str) -> None:
    print(f"image-test: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
