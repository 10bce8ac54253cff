"""The command that hides whole SKUs, on a small file: everyone is scored on the same days."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.newcomers import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-01", periods=460)
    rows = [
        {"sku": f"s{sku}", "location": place, "date": day.date(), "quantity": float(rng.poisson(2 + sku)),
         "kind": "ab"[sku // 3], "town": place.upper()}
        for sku in range(6) for place in ("x", "y") for day in dates
    ]  # fmt: skip
    path = tmp_path / "data.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_hidden_items_are_scored_beside_their_category(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--folds", "3", "--windows", "2", "--set", "epochs=1", "width=8", "batch_size=32", "layers=1"]
    assert main(["--data", str(data), "--covariates", "static:kind,static:town", "--end", "2025-04-04", *quick]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["attributes"] == ["kind"]  # the town is not an item's
    wql = result["wql"]
    assert set(wql) == {
        "siblings", "siblings, no launch factor", "kind, all locations", "kind, same location",
        "siblings and 7 own days", "7 own days alone",
    }  # fmt: skip
    assert all(0 < score < 2 for score in wql.values())
    assert main(["--data", str(data), "--covariates", "static:town", "--end", "2025-04-04", *quick]) == 1
