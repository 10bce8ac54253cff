"""A network that is trained on the sums of weeks, beside paths of days: weeks by hand, and the command on a small file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.trained_sums import TrainedSums, in_weeks, main
from models.fitting import examples_of
from models.identities import identities_of
from models.networks.network import Network
from models.windows import WindowSource
from tests.models.panels import make_panel, resolved


def test_weeks_are_means_of_their_days_and_missing_where_a_day_is() -> None:
    panel = make_panel(missing=0)
    panel.quantity_ST[0, 140] = np.nan
    config = resolved("mlp", horizon=16)
    source = WindowSource(
        panel, identities_of(panel).of(panel), context_length=28, horizon=16, known=(), past=(), cleaning="none"
    )
    series, cutoff = np.array([0, 1]), np.array([130, 130])
    network = Network(config, sizes=identities_of(panel).sizes)
    days = examples_of(source.windows(series, cutoff), source.targets(series, cutoff), network.statistics, 28)
    weeks = in_weeks(days)
    assert weeks.target_BH.shape == (2, 2) and weeks.features.ahead_BHF.shape[1] == 2
    np.testing.assert_allclose(
        weeks.target_BH[1] * 7, [panel.quantity_ST[1, 131:138].sum(), panel.quantity_ST[1, 138:145].sum()]
    )
    assert torch.isnan(weeks.target_BH[0]).tolist() == [False, True]
    torch.testing.assert_close(weeks.features.ahead_BHF[:, 1], days.features.ahead_BHF[:, 7:14].mean(1))
    torch.testing.assert_close(weeks.unit_B, days.unit_B / 7)


def test_it_learns_what_a_week_sells_and_reads_no_later_day() -> None:
    panel = make_panel(days=220, missing=0)
    config = resolved("mlp", horizon=14, epochs=12)
    weeks = TrainedSums(panel.until(panel.start + 199), config)
    sold, sums = weeks.beside_sold(panel, 199)
    assert sums.shape == (5, 2, 9) and (np.diff(sums, axis=2) >= 0).all()
    np.testing.assert_allclose(sums[1:, :, 4], sold[1:], rtol=0.5)
    changed = replace(panel, quantity_ST=np.where(np.arange(220) > 199, 1000, panel.quantity_ST).astype(np.float32))
    np.testing.assert_array_equal(weeks.beside_sold(changed, 199)[1], sums)


def test_the_command_tells_both_beside_independent_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = make_panel(missing=0)
    rows = [
        {"sku": sku, "date": panel.start + day, "quantity": float(panel.quantity_ST[row, day])}
        for row, sku in enumerate(panel.skus)
        for day in range(panel.days)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "data.parquet")
    words = [
        "--data",
        str(tmp_path / "data.parquet"),
        "--end",
        "2025-06-01",
        "--horizon",
        "7",
        "--windows",
        "2",
        "--step",
        "7",
    ]
    assert main([*words, "--set", "epochs=1", "width=16", "context_length=28"]) == 0
    told = json.loads(capsys.readouterr().out)
    for kind in ("independent", "paths", "paths_of_unrounded_days", "trained"):
        assert told[kind].keys() == {"wql", "covered", "inside"} and 0 < told[kind]["wql"] < 2
    with pytest.raises(SystemExit):
        main(words[:2] + words[4:])
