"""The accuracy command, as a user runs it: one line of JSON, and a file that the independent scorer accepts."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import accuracy
from benchmarks.accuracy import main
from tests.models.test_metrics import scored

QUICK = ["--set", "epochs=2", "width=16", "layers=1", "batch_size=64", "--threads", "1"]


def run(data: Path, out: Path, *more: str) -> int:
    windows = ["--model", "lstm", "--horizon", "7", "--windows", "3", "--step", "7"]
    return main(["--data", str(data), "--out", str(out), *windows, *more, *QUICK])


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of reported runs, in a place of its own."""
    path = tmp_path / "log.csv"
    monkeypatch.setattr(accuracy, "LOG", path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three series, one of which starts six days before the first cutoff, with text and number covariates."""
    rng = np.random.default_rng(0)
    date = pd.date_range("2025-01-01", periods=150)
    rows = []
    for i, first in enumerate((0, 0, 108)):
        days = date[first:]
        rows.append(
            pd.DataFrame(
                {
                    "sku": f"sku-{i}",
                    "location": "",
                    "date": days.date,
                    "quantity": rng.poisson(5 + i, len(days)).astype(float),
                    "event": np.where(days.day == 1, "first", None),
                    "rain": rng.random(len(days)),
                }
            )
        )
    path = tmp_path / "data.parquet"
    pd.concat(rows).to_parquet(path)
    return path


def test_its_forecasts_are_accepted_and_its_scores_are_the_scorers(
    data: Path, tmp_path: Path, scorer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "forecasts.parquet"
    flags = ["--covariates", "known:event,past:rain", "--end", "2025-05-20"]
    assert run(data, out, *flags) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["parameters"] > 0 and result["train_seconds"] > 0 and result["peak_memory_mb"] > 0
    forecasts = pd.read_parquet(out)
    assert len(forecasts) == 3 * 3 * 7
    if result["adjustment"]["whole_units"]:
        assert (forecasts.loc[forecasts["sku"] != "sku-2", "0.5"] % 1 == 0).all()  # the short one has a fallback
    else:
        assert result["metrics"] == result["unrounded"]
    weekly = result["weekly"]
    assert 0 <= weekly["inside"] <= weekly["covered"] <= 1 and 0 < weekly["wql"] < 1
    assert weekly["independent"].keys() == weekly.keys() - {"independent"}
    command = [sys.executable, str(scorer), str(data), str(out), "--horizon", "7", "--windows", "3", "--step", "7"]
    judged = subprocess.run([*command, "--end", "2025-05-20"], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    theirs = scored(judged.stdout)
    for name in ("mase", "sql", "wape", "wql", "rmsse", "bias"):
        assert result["metrics"][name] == pytest.approx(theirs[name], abs=2e-6), name


def test_climatology_is_the_quantiles_of_the_weekdays_of_the_last_year(data: Path) -> None:
    panel, _, _ = accuracy.read_panel(data, "")
    found = accuracy.climatology_at(panel, 120, 10)
    for ahead in (1, 4, 10):
        same_weekday = panel.quantity_ST[0, [day for day in range(121) if (120 + ahead - day) % 7 == 0]]
        np.testing.assert_allclose(
            found.quantiles_SHQ[0, ahead - 1], np.quantile(same_weekday, found.levels_Q), rtol=1e-5
        )
        np.testing.assert_allclose(found.mean_SH[0, ahead - 1], same_weekday.mean(), rtol=1e-5)
    late = accuracy.climatology_at(panel, 107, 7)
    assert (late.quantiles_SHQ[2] == 0).all() and (late.mean_SH[2] == 0).all()


def test_updates_between_cutoffs_read_no_later_day_and_frozen_leaves_them_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The days after the second cutoff are ten times as large: what was forecast at the first two stays to the bit."""
    flags = ["--end", "2025-05-20"]
    assert run(data, tmp_path / "plain.parquet", *flags) == 0
    result = json.loads(capsys.readouterr().out)
    assert run(data, tmp_path / "frozen.parquet", *flags, "--frozen") == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == result["frozen"] != result["metrics"]
    changed = pd.read_parquet(data)
    cutoffs = sorted(pd.read_parquet(tmp_path / "plain.parquet")["cutoff"].unique())
    later = pd.to_datetime(changed["date"]) > cutoffs[1]
    changed.loc[later, "quantity"] *= 10
    changed.to_parquet(tmp_path / "changed.parquet")
    assert run(tmp_path / "changed.parquet", tmp_path / "other.parquet", *flags) == 0
    one, other = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("plain", "other"))
    pd.testing.assert_frame_equal(one[one["cutoff"] <= cutoffs[1]], other[other["cutoff"] <= cutoffs[1]])
    assert not one[one["cutoff"] == cutoffs[2]].equals(other[other["cutoff"] == cutoffs[2]])
    frozen = pd.read_parquet(tmp_path / "frozen.parquet")
    pd.testing.assert_frame_equal(one[one["cutoff"] == cutoffs[0]], frozen[frozen["cutoff"] == cutoffs[0]])


def test_what_is_said_after_the_first_cutoff_decides_no_flag_of_a_past_covariate(data: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(data)
    weather = np.array(["rain", "sun", "fog"])[np.arange(len(frame)) % 3 * (np.arange(len(frame)) % 2)]
    frame["weather"] = weather
    changed = frame.copy()
    late = pd.to_datetime(changed["date"]) > pd.Timestamp("2025-05-08")
    changed.loc[late, "weather"] = "hail"
    names = []
    for one in (frame, changed):
        one.to_parquet(tmp_path / "weather.parquet")
        _, _, past = accuracy.read_panel(tmp_path / "weather.parquet", "past:weather", unseen=22)
        names.append(past)
    assert names[0] == names[1] and len(names[0]) == 3
    _, _, past = accuracy.read_panel(tmp_path / "weather.parquet", "past:weather")
    assert "weather=hail" in past


def test_a_student_is_scored_beside_its_ensemble(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--end", "2025-05-20", "--compress"]
    assert run(data, tmp_path / "out.parquet", *flags, "--model", "ensemble") == 0
    result = json.loads(capsys.readouterr().out)
    found = result["compressed"]
    assert found["kept"] in ("ensemble", "student") and found["speed_ratio"] > 0
    assert found["wql"].keys() == {"ensemble", "student"}
    assert found["parameters"] < result["parameters"] and found["steps"] in (20, 40)
    assert found["metrics"].keys() == result["metrics"].keys()
    assert found["metrics"]["wql"] != result["frozen"]["wql"]
    with pytest.raises(SystemExit):
        run(data, tmp_path / "out.parquet", *flags)
    assert "--compress needs --model ensemble" in capsys.readouterr().err


def test_only_runs_on_reported_windows_are_logged(data: Path, tmp_path: Path, log: Path) -> None:
    assert run(data, tmp_path / "out.parquet", "--end", "2025-05-20") == 0
    assert not log.exists()
    for _ in range(2):
        assert run(data, tmp_path / "out.parquet") == 0
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert len(rows) == 2 and rows[0]["sql"] == rows[1]["sql"]
    assert "--data data.parquet" in rows[0]["command"] and str(tmp_path) not in rows[0]["command"]


def test_too_few_days_and_unknown_covariates_are_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, tmp_path / "out.parquet", "--end", "2025-01-20") == 1
    assert "windows" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="known:colour"):
        run(data, tmp_path / "out.parquet", "--end", "2025-05-20", "--covariates", "known:colour")


def test_series_are_repeated_under_new_names_with_all_that_is_known_of_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_parquet(data)
    frame.assign(brand=frame["sku"].str.upper()).to_parquet(data)
    panel, _, _ = accuracy.read_panel(data, "known:event,past:rain,static:brand", country="IT", series=7)
    assert panel.skus == ["sku-0", "sku-1", "sku-2", "sku-0#2", "sku-1#2", "sku-2#2", "sku-0#3"]
    assert panel.static["brand"] == ["SKU-0", "SKU-1", "SKU-2", "SKU-0", "SKU-1", "SKU-2", "SKU-0"]
    for values_ST in (panel.quantity_ST, panel.known["event=first"], panel.past["rain"], panel.known["holiday"]):
        assert len(values_ST) == 7
        np.testing.assert_array_equal(values_ST[3:6], values_ST[:3])
    fewer, _, _ = accuracy.read_panel(data, "", series=2)
    assert fewer.skus == ["sku-0", "sku-1"]
    out = tmp_path / "out.parquet"
    assert run(data, out, "--end", "2025-05-20", "--series", "5", "--frozen") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["series"] == 5 and pd.read_parquet(out)["sku"].nunique() == 5
    with pytest.raises(SystemExit):
        run(data, out, "--series", "0")


def test_a_day_of_launch_is_told_as_an_age_and_not_as_an_attribute(data: Path) -> None:
    frame = pd.read_parquet(data)
    frame["launched_on"] = np.where(frame["sku"] == "sku-2", None, "2025-01-03")
    frame.to_parquet(data)
    panel, known, _ = accuracy.read_panel(data, "static:launched_on,known:event")
    assert known == ("event=first", "age") and panel.static == {}
    assert panel.known["age"][:2, :5].tolist() == [[1, 1, 1, 2, 3]] * 2
    assert np.isnan(panel.known["age"][2]).all()


def test_holidays_of_a_country_are_known_covariates_of_all_series(data: Path) -> None:
    panel, known, past = accuracy.read_panel(data, "known:event,past:rain", country="IT")
    assert known == ("event=first", "holiday", "before_holiday", "after_holiday")
    assert past == ("rain",)
    assert panel.known["holiday"].shape == panel.known["event=first"].shape == (3, 150 + 365)
    liberation = panel.day_index(np.datetime64("2025-04-25"))
    assert panel.known["holiday"][:, liberation - 1 : liberation + 2].tolist() == [[0, 1, 0]] * 3
    with pytest.raises(SystemExit, match=r"country XX: .*'XX' are not known"):
        accuracy.read_panel(data, "", country="XX")
