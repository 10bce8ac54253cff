"""What peers are given: features that see nothing after a cutoff, filled days, and figures that the public scorer agrees with.

Their libraries live in an environment of their own; everything here runs without them.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers import race
from benchmarks.peers.data import Data, number_holidays, number_texts, read_data
from benchmarks.peers.features import Features, Rows
from benchmarks.peers.filled import filled_past, held, simple_forecast
from benchmarks.peers.sums import usual_sales
from benchmarks.peers.table import rendered
from benchmarks.peers.task import Task
from benchmarks.runs import in_whole_units, scores, write_forecasts
from models.evaluation import window_cutoffs
from models.panel import Panel
from tests.models.test_metrics import scored

DAYS, HORIZON, CUTOFF = 820, 28, 700
START = np.datetime64("2023-01-02")  # a Monday
COVARIATES = "known:promo,known:event,past:rain,static:brand"


def some_data(seed: int = 0) -> Data:
    """Six series in three shops, one of which starts late; promotions, events, rain, brands and holidays."""
    rng = np.random.default_rng(seed)
    series = 6
    promo_SA = (rng.random((series, DAYS)) < 0.1).astype(np.float32)
    quantity_ST = rng.poisson(4 * (1 + promo_SA)).astype(np.float32)
    quantity_ST[rng.random(quantity_ST.shape) < 0.03] = np.nan
    quantity_ST[5, :650] = np.nan
    panel = Panel(
        [f"sku-{i % 2}" for i in range(series)], [f"shop-{i // 2}" for i in range(series)], START, quantity_ST,
        known={"promo": promo_SA, "event": np.floor(rng.random((series, DAYS)) * 1.1 * 3).astype(np.float32)},
        past={"rain": rng.random((series, DAYS)).astype(np.float32)},
    )  # fmt: skip
    holiday_T = np.where(np.arange(DAYS + HORIZON) % 100 == 99, 1 + np.arange(DAYS + HORIZON) // 100 % 3, 0)
    static = {"brand": np.array([1, 2, 1, 2, 1, 2])}
    return Data(panel, ("promo", "event"), ("rain",), static, frozenset({"event"}), holiday_T)


def with_panel(data: Data, **changes: object) -> Data:
    return replace(data, panel=replace(data.panel, **changes))  # type: ignore[arg-type]


def features_at(data: Data, cutoff: int) -> Rows:
    """All series and all days ahead of one cutoff."""
    series = data.panel.series
    series_N, ahead_N = np.repeat(np.arange(series), HORIZON), np.tile(np.arange(1, HORIZON + 1), series)
    return Features(data).rows(series_N, np.full(len(series_N), cutoff), ahead_N)


def column(rows: Rows, name: str, *, series: int, ahead: int) -> float:
    return float(rows.x_NF[series * HORIZON + ahead - 1, rows.names.index(name)])


def test_nothing_after_a_cutoff_changes_a_feature() -> None:
    data = some_data()
    rng = np.random.default_rng(9)
    quantity_ST, rain_ST = data.panel.quantity_ST.copy(), data.panel.past["rain"].copy()
    quantity_ST[:, CUTOFF + 1 :] = rng.poisson(500, quantity_ST[:, CUTOFF + 1 :].shape)
    rain_ST[:, CUTOFF + 1 :] = -7
    before = features_at(data, CUTOFF)
    for changed in (
        with_panel(data, quantity_ST=quantity_ST, past={"rain": rain_ST}),
        data.until(START + np.timedelta64(CUTOFF, "D")),
    ):
        after = features_at(changed, CUTOFF)
        assert after.names == before.names
        np.testing.assert_array_equal(after.x_NF, before.x_NF)
        np.testing.assert_array_equal(after.level_N, before.level_N)


def test_a_series_that_starts_after_the_cutoff_says_nothing_of_its_future() -> None:
    data = some_data()
    hidden = data.panel.quantity_ST.copy()
    hidden[5, 601:] = np.nan
    hidden[:5, 601:] *= 3
    before, after = features_at(data, 600), features_at(with_panel(data, quantity_ST=hidden), 600)
    np.testing.assert_array_equal(after.x_NF, before.x_NF)


@pytest.mark.parametrize("what", ["quantity", "rain", "promo"])
def test_the_day_of_the_cutoff_and_what_is_known_ahead_do_change_features(what: str) -> None:
    data = some_data()
    before = features_at(data, CUTOFF)
    if what == "quantity":
        quantity_ST = data.panel.quantity_ST.copy()
        quantity_ST[:, CUTOFF] = 99
        changed = with_panel(data, quantity_ST=quantity_ST)
    elif what == "rain":
        rain_ST = data.panel.past["rain"].copy()
        rain_ST[:, CUTOFF] = 99
        changed = with_panel(data, past={"rain": rain_ST})
    else:
        promo_SA = data.panel.known["promo"].copy()
        promo_SA[:, CUTOFF + 5] = 1 - promo_SA[:, CUTOFF + 5]
        changed = with_panel(data, known=data.panel.known | {"promo": promo_SA})
    after = features_at(changed, CUTOFF)
    assert not np.array_equal(after.x_NF, before.x_NF, equal_nan=True)


def test_features_are_what_their_names_say() -> None:
    data = some_data()
    rows = features_at(data, CUTOFF)
    past_T = data.panel.quantity_ST[1].astype(np.float64)
    month = past_T[CUTOFF - 27 : CUTOFF + 1]
    year = np.nanmean(past_T[CUTOFF - 363 : CUTOFF + 1])
    level = (np.nansum(month) + 28 * year) / (np.isfinite(month).sum() + 28)
    assert rows.level_N[HORIZON] == pytest.approx(level, rel=1e-5)
    for ahead in (1, 9, 28):
        target = CUTOFF + ahead
        weekday = [d for d in range(target, -1, -7) if d <= CUTOFF]
        expected = {
            "ahead": ahead,
            "level": np.log(level),
            "mean 28": np.nanmean(month) / level,
            "weekday": target % 7,
            "weekday's newest 0": past_T[weekday[0]] / level,
            "weekday's mean 4": np.nanmean(past_T[weekday[:4]]) / level,
            "weekday's quantile 0.9": np.nanquantile(past_T[weekday[:52]], 0.9) / level,
            "1 years ago ±0": past_T[target - 364] / level,
            "1 years ago ±3": np.nanmean(past_T[target - 367 : target - 360]) / level,
            "promo today": data.panel.known["promo"][1, target],
            "promo +1": data.panel.known["promo"][1, target + 1],
            "rain of the week": data.panel.past["rain"][1, CUTOFF - 6 : CUTOFF + 1].mean(),
            "days until a holiday": min((99 - target) % 100, 15),
            "days since a holiday": min((target - 99) % 100, 15),
            "brand": 2,
        }
        for name, value in expected.items():
            assert column(rows, name, series=1, ahead=ahead) == pytest.approx(value, rel=1e-4, nan_ok=True), (
                name,
                ahead,
            )


def test_alike_days_are_those_with_the_same_value_before_the_cutoff() -> None:
    data = some_data()
    rows = features_at(data, CUTOFF)
    quantity_T, promo_A = data.panel.quantity_ST[0].astype(np.float64), data.panel.known["promo"][0]
    ahead = int(np.flatnonzero(promo_A[CUTOFF + 1 : CUTOFF + 29] == 1)[0]) + 1
    sold = expected = 0.0
    for day in range(CUTOFF + 1):
        weeks = quantity_T[[day - 7 * w for w in range(1, 9) if day >= 7 * w]]
        if promo_A[day] == 1 and np.isfinite(quantity_T[day]) and np.isfinite(weeks).any():
            sold += quantity_T[day]
            expected += float(np.nanmean(weeks))
    told = column(rows, "promo, alike days", series=0, ahead=ahead)
    assert told == pytest.approx(sold / expected, rel=1e-4)
    assert told > 1.5  # a promotion doubles sales in this data


def test_a_group_is_compared_with_its_year_before() -> None:
    data = some_data()
    quantity_ST = data.panel.quantity_ST[:2].astype(np.float64)
    features = Features(data)
    usual_ST = usual_sales(features.sales)[:2]
    assert usual_ST[0, 500] == pytest.approx(np.nanmean(quantity_ST[0, 136:500]), rel=1e-5)
    both_ST = np.isfinite(quantity_ST) & np.isfinite(usual_ST)
    days = slice(CUTOFF - 6, CUTOFF + 1)
    expected = quantity_ST[:, days][both_ST[:, days]].sum() / usual_ST[:, days][both_ST[:, days]].sum()
    rows = features_at(data, CUTOFF)
    assert column(rows, "location against its year, 7", series=0, ahead=3) == pytest.approx(expected, rel=1e-5)


def test_missing_days_are_filled_from_the_week_before_and_covariates_hold() -> None:
    nan = np.nan
    quantity_ST = np.array([[nan, nan, 5, nan, 7, 1, 2, 3, 4, nan, 9]], np.float32)
    panel = Panel(["a"], [""], START, quantity_ST)
    np.testing.assert_array_equal(filled_past(panel, 9), [[nan, nan, 5, 0, 7, 1, 2, 3, 4, 5]])
    covariate_SA = np.array([[nan, 2, nan, 4, nan, 99], [nan] * 6], np.float32)
    np.testing.assert_array_equal(held(covariate_SA, 4), [[2, 2, 2, 4, 4], [0, 0, 0, 0, 0]])


def test_later_rows_renumber_no_text_and_holidays_have_one_number_a_name() -> None:
    text = pd.Series(["b", None, "a", "", "b", "A"])
    assert number_texts(text).tolist() == [1, 0, 2, 0, 1, 3]
    assert number_texts(text[:3]).tolist() == [1, 0, 2]
    days = {np.datetime64("2023-01-03"): "New", np.datetime64("2023-01-06"): "End", np.datetime64("2022-12-31"): "New"}
    assert number_holidays(days, START, 6).tolist() == [0, 2, 0, 0, 1, 0]


def a_file(folder: Path) -> Path:
    """Three series of 120 days, the last of which starts six days before the first of three cutoffs."""
    rng = np.random.default_rng(1)
    parts = []
    for i, first in enumerate((0, 0, 93)):
        date = pd.date_range("2025-01-01", periods=120)[first:]
        parts.append(
            pd.DataFrame(
                {
                    "sku": f"sku-{i}",
                    "location": "",
                    "date": date.date,
                    "quantity": rng.poisson(5 + i, len(date)).astype(float),
                    "event": np.where(date.day == 1, "first", None),
                    "promo": (date.day % 9 == 0).astype(int),
                    "rain": rng.random(len(date)),
                    "brand": f"brand-{i % 2}",
                }
            )
        )
    path = folder / "sales.parquet"
    pd.concat(parts).to_parquet(path)
    return path


def test_a_files_covariates_reach_their_places(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    data = read_data(path, COVARIATES, holidays={}, ahead=7)
    assert data.known == ("promo", "event") and data.past == ("rain",) and data.texts == {"event"}
    assert data.static["brand"].tolist() == [1, 2, 1]
    assert data.panel.known["event"][0, :32].tolist() == [1, *[0] * 30, 1]
    with pytest.raises(SystemExit, match="future:promo"):
        read_data(path, "future:promo", holidays={}, ahead=7)


def test_a_files_series_are_repeated_with_their_attributes(tmp_path: Path) -> None:
    data = read_data(a_file(tmp_path), COVARIATES, holidays={}, ahead=7)
    more = data.repeated(5)
    assert more.panel.skus == ["sku-0", "sku-1", "sku-2", "sku-0#2", "sku-1#2"]
    assert more.static["brand"].tolist() == [1, 2, 1, 1, 2]
    np.testing.assert_array_equal(more.panel.known["promo"][3:], data.panel.known["promo"][:2])
    assert data.repeated(None) is data


@pytest.mark.parametrize("whole", [False, True])
def test_scores_and_forecasts_are_those_of_the_public_scorer(tmp_path: Path, scorer: Path, whole: bool) -> None:
    path = a_file(tmp_path)
    data = read_data(path, COVARIATES, holidays={}, ahead=7)
    cutoffs = window_cutoffs(data.panel.days, horizon=7, windows=3, step=7)
    task = Task(data, cutoffs, horizon=7, season=7, seed=0, threads=1, steps=1)
    assert task.training().panel.days == cutoffs[0] + 1
    forecasts = [simple_forecast(data.panel, cutoff, 7) for cutoff in cutoffs]
    forecasts = [in_whole_units(f) for f in forecasts] if whole else forecasts
    out = tmp_path / "forecasts.parquet"
    write_forecasts(out, data.panel, cutoffs, forecasts)
    words = [sys.executable, str(scorer), str(path), str(out), "--horizon", "7", "--windows", "3", "--step", "7"]
    judged = subprocess.run(words, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    theirs, ours = scored(judged.stdout), scores(forecasts, data.panel, cutoffs, horizon=7)
    for name in ("mase", "sql", "wape", "wql", "rmsse", "bias"):
        assert ours[name] == pytest.approx(theirs[name], abs=2e-6), name


def test_a_peer_that_fails_is_named_and_leaves_no_figure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.csv"
    path, results = a_file(tmp_path), tmp_path / "results"
    options = ["--data", str(path), "--horizon", "7", "--windows", "30", "--step", "7", "--results", str(results)]
    options += ["--log", str(log)]
    assert command.main([*options, "--peers", "shelfcast,autoets"]) == 1
    told = capfd.readouterr().err
    assert told.count("only 17 windows") == 2 and "failed: shelfcast, autoets" in told
    assert not log.exists() and not results.exists()
    with pytest.raises(SystemExit, match="prophet"):
        command.main([*options, "--peers", "prophet"])


def a_line(peer: str, sql: float, *, end: str | None = None) -> dict[str, object]:
    metrics = {"mase": 0.7, "sql": sql, "wape": 0.3, "wql": 0.2, "rmsse": 0.8, "bias": 0.05}
    metrics |= {"coverage": {"0.9": 0.91}, "below": {"0.1": 0.08}}  # type: ignore[dict-item]
    return {
        "peer": peer, "data": "sales.parquet", "end": end, "horizon": 7, "windows": 3, "step": 7, "covariates": "",
        "country": None, "seed": 0, "trained": "once", "train_seconds": 4.0, "predict_seconds": 2.0, "threads": 1,
        "series_per_second": 1500.0, "peak_memory_mb": 400, "date": "2026-01-01T10:00+00:00", "machine": "a machine",
        "versions": {"lightgbm": "4.7.0"}, "commit": "abc", "cpu_seconds": 5.0, "parameters": None,
        "metrics": metrics, "metrics_whole": metrics | {"sql": sql - 0.01},
    }  # fmt: skip


def test_the_table_shows_each_peers_newest_line_on_each_block() -> None:
    table = rendered([a_line("one", 0.6), a_line("two", 0.5), a_line("one", 0.4), a_line("one", 0.9, end="2025-03-01")])
    reported, earlier = table.split("## Windows that end 2025-03-01")
    assert reported.index("| one | 0.7000 / 0.7000 | 0.4000 / 0.3900 |") < reported.index("| two |")
    more = rendered([a_line("one", 0.6), a_line("one", 0.6) | {"series": 30_490}])
    assert more.count("| one |") == 2 and "country none, repeated to 30,490 series\n" in more
    assert "0.6000" not in table and "0.9000 / 0.8900" in earlier and "+5.0 %" in earlier and "83 %" in earlier


def tell(result: dict[str, object], args: argparse.Namespace, argv: list[str]) -> None:
    command.keep(result, args)
    command.log(result, args, argv)


def test_a_run_on_reported_windows_is_logged_under_its_own_command(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    argv = ["--data=/a/folder/sales.parquet", "--horizon", "7", "--windows", "3", "--step", "7", "--whole-units",
            "--peers", "lightgbm,two", "--ours=mlp", "--results", str(tmp_path), "--log", str(log)]  # fmt: skip
    args = command.parse(argv)
    tell(a_line("lightgbm", 0.6), args, argv)
    (row,) = pd.read_csv(log).to_dict("records")
    assert row["command"] == (
        "python -m benchmarks.peers --data=sales.parquet --horizon 7 --windows 3 --step 7 --whole-units --peers lightgbm"
    )
    assert row["sql"] == 0.59 and "lightgbm 4.7.0" in row["machine"]
    args.end = "2025-03-01"
    tell(a_line("lightgbm", 0.5, end="2025-03-01"), args, argv)
    assert len(pd.read_csv(log)) == 1
    lines = (tmp_path / "peers_sales.jsonl").read_text().splitlines()
    assert [json.loads(line)["metrics"]["sql"] for line in lines] == [0.6, 0.5]


QUICK = {"epochs": 1, "width": 16, "layers": 1}


def test_our_own_row_is_what_accuracy_says_and_is_logged_once(tmp_path: Path) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "out"
    argv = ["--data", str(a_file(tmp_path)), "--horizon", "7", "--windows", "2", "--step", "7", "--country", "IT",
            "--covariates", "known:promo,past:rain,static:brand", "--ours", "mlp", "--frozen",
            "--results", str(tmp_path), "--log", str(log), "--out", str(out)]  # fmt: skip
    args = command.parse(argv)
    result = command.ask("shelfcast", args, QUICK)
    tell(result, args, argv)
    (row,) = pd.read_csv(log).to_dict("records")
    assert row["command"].startswith("python -m benchmarks.accuracy --data sales.parquet --horizon 7 --windows 2")
    assert row["command"].endswith("--log log.csv --set epochs=1 width=16 layers=1") and "--frozen" in row["command"]
    assert row["sql"] == pytest.approx(result["metrics_whole"]["sql"], abs=1e-6)
    assert result["covariates"] == args.covariates and result["country"] == "IT" and result["threads"] == 1
    assert result["series_per_second"] > 0 and result["detail"]["settings"] == QUICK
    assert len(pd.read_parquet(out / "shelfcast.parquet")) == 2 * 3 * 7
    both = f"{result['metrics']['sql']:.4f} / {result['metrics_whole']['sql']:.4f}"
    table = (tmp_path / "peers_sales.md").read_text()
    assert "| shelfcast mlp frozen | " in table and both in table
    assert f"| once | {result['train_seconds']} s | {result['predict_seconds']} s" in table


def test_a_race_ends_with_the_first_training_that_is_as_good_as_the_best_peer() -> None:
    wql = dict(zip(race.EPOCHS, (0.9, 0.7, 0.6, 0.5, 0.55, 0.5, 0.5, 0.5, 0.5), strict=True))
    runs, reached = race.raced(0.6, lambda epochs: {"epochs": epochs, "wql": wql[epochs], "seconds": 1.0})
    assert reached and [run["epochs"] for run in runs] == [1, 2, 3]
    runs, reached = race.raced(0.4, lambda epochs: {"epochs": epochs, "wql": wql[epochs], "seconds": 1.0})
    assert not reached and [run["epochs"] for run in runs] == list(race.EPOCHS)


def test_our_side_of_a_race_is_the_command_of_accuracy_on_windows_before_the_reported_ones(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=200)
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"sku": sku, "date": days, "quantity": rng.poisson(6, 200)}) for sku in "ab"]
    pd.concat(frames).to_parquet(tmp_path / "sales.parquet")
    words = ["--data", str(tmp_path / "sales.parquet"), "--horizon", "7", "--windows", "2", "--step", "7"]
    with pytest.raises(SystemExit):
        race.parse(words)
    args = race.parse([*words, "--end", "2024-06-30", "--peers", "nf_tide"])
    found = race.own_of(1, args)
    assert found["epochs"] == 1 and 0.2 < found["wql"] < 0.5 and found["seconds"] > 0
    told = vars(args) | {
        "data": "sales.parquet",
        "peers": [{"peer": "nf_tide", "wql": 0.5, "seconds": 20.0}],
        "ours": [found],
        "best": "nf_tide",
        "ratio": 0.1,
        "date": "2026-11-25",
        "machine": "two cores",
        "commit": "abc",
    }
    assert "| mlp 1: " in race.rendered([told]) and "| 0.100 of nf_tide's |" in race.rendered([told])
    assert "| not reached |" in race.rendered([told | {"ratio": None}])
