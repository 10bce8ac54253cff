"""`shelfcast accuracy` and `shelfcast models verdict` as a person uses them, against a whole service of real processes."""

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.serve.service import Service

FIRST_DAY = datetime.date(2025, 1, 6)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "home").until_ready()
    yield service
    service.end()


def test_accuracy_and_verdicts_are_shown_once_updates_have_said_something_of_days_that_came(
    service: Service, tmp_path: Path
) -> None:
    def shelfcast(*arguments: str) -> subprocess.CompletedProcess[str]:
        own = {"SHELFCAST_HOME": str(service.home), "SHELFCAST_URL": service.url, "COLUMNS": "200"}
        command = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(command, check=False, env=os.environ | own, capture_output=True, text=True, timeout=120)

    def answer(*arguments: str) -> Any:
        done = shelfcast(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def load(first: int, last: int) -> None:
        rows = [
            {"sku": f"A-{sku}", "date": FIRST_DAY + datetime.timedelta(days=day), "quantity": float((sku + day) % 7)}
            for day in range(first, last)
            for sku in range(4)
        ]
        pd.DataFrame(rows).assign(location="S1").to_parquet(tmp_path / "sales.parquet", index=False)
        assert shelfcast("load", str(tmp_path / "sales.parquet")).returncode == 0

    assert shelfcast("schedules", "set", "daily-update", "--disable").returncode == 0
    load(0, 100)
    small = ("--set", "horizon=7", "--set", "epochs=1", "--set", "width=16")
    assert shelfcast("train", *small, "--promote", "always").returncode == 0
    assert shelfcast("accuracy").stdout == "No forecast of these days has been scored.\n"
    for first, last in ((100, 101), (101, 103)):
        load(first, last)
        updated = shelfcast("update")
        assert updated.returncode == 0, updated.stderr
    known = shelfcast("update", "--until", "2025-04-17")
    assert known.returncode == 0 and "without a new version. No sales after 2025-04-18" in known.stdout, known.stdout
    assert "until" in shelfcast("update", "--until", "yesterday").stderr
    judged = answer("models", "verdict", "3")
    shown = shelfcast("models", "verdict", "3").stdout
    assert judged["sentence"] in " ".join(shown.split())
    assert "near_copy" in shown and "undecided" in shown and "version 3 against version" in shown
    missing = shelfcast("models", "verdict", "9999")
    assert missing.returncode == 1 and "9999" in missing.stderr
    found = answer("accuracy")
    assert (found["from"], found["to"]) == ("2025-04-17", "2025-04-18")
    assert [(part["days"], part["n"]) for part in found["horizons"]] == [("1-7", 8), ("all", 8)]
    shown = shelfcast("accuracy", "--location", "S1", "--from", "2025-04-18").stdout
    for part in ("2025-04-18 to 2025-04-18", "WAPE", "≤ 0.9", "seasonal naive", "frozen", "1-7", "all"):
        assert part in shown, shown
    unknown = shelfcast("accuracy", "--sku", "B-1")
    assert answer("drifts", "--scope", "segment", "--from", "2025-04-01") == []
    assert shelfcast("drifts").stdout == "No drift was found.\n"
    assert "YYYY-MM-DD" in shelfcast("drifts", "--to", "today").stderr
    assert unknown.returncode == 1 and "There is no series of SKU 'B-1'." in unknown.stderr
