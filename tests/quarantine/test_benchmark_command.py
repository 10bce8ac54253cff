"""The benchmark of the quarantine on a small file: what it counts of true days, and that it finds what it puts in."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.quarantine import ACCIDENTS, main
from tests.quarantine.places import sold


def test_true_days_and_accidents_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history = sold(12, 460)
    history[4, 450] = 2_000  # a mistake that the file itself has
    frame = pd.DataFrame(
        {
            "sku": np.repeat([f"A-{sku}" for sku in range(12)], 460),
            "date": np.tile(pd.date_range("2025-01-01", periods=460), 12),
            "quantity": history.ravel(),
        }
    )
    frame.to_parquet(tmp_path / "shop.parquet")
    options = ["--data", str(tmp_path / "shop.parquet"), "--days", "40", "--places", "12", "--country", "IT"]
    monkeypatch.setattr(sys, "argv", ["quarantine", *options])
    assert main() == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["true_days"]["rows"], found["true_days"]["held"]) == (480, 1)
    assert found["true_days"]["by_reason"] == {"factor": 1}
    assert found["true_days"]["named"][0].startswith("2026-03-27 factor: 2000 is")
    assert set(found["accidents"]) == set(ACCIDENTS)
    for name in ("all x 12", "all / 12", "the file of the day before", "a wall of zeros"):
        assert found["accidents"][name] == {"places": 12, "found": 1.0}, name
