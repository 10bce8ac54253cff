"""Trials of peers and of ours: equally many, drawn alike, judged on windows before those asked for and never on these."""

import argparse
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers.neural import OWN, SETTINGS, arguments
from benchmarks.peers.table import rendered
from benchmarks.peers.task import Task
from benchmarks.peers.trials import Between, best, day_before, drawn, spaces
from models.evaluation import window_cutoffs
from models.panel import panel_from_frame
from tests.models.test_peers import QUICK, a_line, some_data

WORDS = ["--horizon", "7", "--windows", "2", "--step", "7"]


def a_file(folder: Path) -> Path:
    """Two series of 200 days."""
    days = pd.date_range("2024-01-01", periods=200)
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"sku": sku, "date": days, "quantity": rng.poisson(6, 200)}) for sku in "ab"]
    path = folder / "sales.parquet"
    pd.concat(frames).to_parquet(path)
    return path


def asked(path: Path, *more: str) -> argparse.Namespace:
    return command.parse(["--data", str(path), *WORDS, *more])


def test_every_peer_with_settings_has_as_many_trials_of_as_many_fields_and_the_first_is_as_it_stands() -> None:
    found = spaces(500)
    assert found.keys() == {"shelfcast", "lightgbm", "nf_lstm", "nf_tft", "nf_nhits", "nf_patchtst", "nf_tide"}
    for space in found.values():
        trials = drawn(space, 40, seed=3)
        assert len(space) == 5 and len(trials) == 40 and trials[0] == {}
        assert trials[:7] == drawn(space, 7, seed=3) != drawn(space, 7, seed=4)
        for name, field in space.items():
            values = {trial[name] for trial in trials[1:]}
            if isinstance(field, Between):
                assert field.low <= min(values) < max(values) <= field.high and len(values) > 20
                middle = np.sqrt(field.low * field.high) if field.log else (field.low + field.high) / 2
                assert 8 < sum(value < middle for value in (trial[name] for trial in trials[1:])) < 31
            else:
                assert values == set(field)


def test_trials_end_where_the_first_window_asked_for_begins(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    panel = panel_from_frame(pd.read_parquet(path))
    for end, days in ((None, 200), ("2024-06-30", 182), ("2030-01-01", 200)):
        args = asked(path, *(["--end", end] if end else []))
        cutoffs = window_cutoffs(days, horizon=7, windows=2, step=7)
        assert day_before(args) == str(panel.start + np.timedelta64(cutoffs[0], "D"))


def test_no_trial_reads_a_window_asked_for_and_the_best_is_run_there(tmp_path: Path) -> None:
    def ask(args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
        return command.ask("shelfcast", args, {**settings, **QUICK})

    path = a_file(tmp_path)
    log = tmp_path / "log.csv"
    args = asked(path, "--trials", "2", "--ours", "mlp", "--frozen", "--log", str(log))
    found = best("shelfcast", args, ask)
    assert found is not None and len(found["tried"]) == found["trials"] == 2 and found["end"] == "2024-07-04"
    assert (
        found["tried"][0]["settings"] == {} and found["tried"][1]["settings"].keys() == spaces(500)["shelfcast"].keys()
    )
    scores = [one["sql"] * one["wql"] for one in found["tried"]]
    assert scores[0] != scores[1] and found["chosen"] == int(np.argmin(scores))
    assert found["settings"] == found["tried"][found["chosen"]]["settings"]
    assert found["seconds"] == pytest.approx(sum(one["seconds"] for one in found["tried"]))
    assert not log.exists()
    frame = pd.read_parquet(path)
    frame.loc[frame["date"] > found["end"], "quantity"] *= 50
    frame.to_parquet(path)
    again = best("shelfcast", argparse.Namespace(**(vars(args) | {"trials": 1})), ask)
    assert again is not None
    assert [again["tried"][0][name] for name in ("sql", "wql")] == [found["tried"][0][n] for n in ("sql", "wql")]


def test_a_trial_that_fails_is_not_the_best_and_where_all_fail_the_peer_has_failed(tmp_path: Path) -> None:
    def ask(args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
        if not settings or failing:
            raise subprocess.CalledProcessError(1, "a trial")
        return {"metrics": {"sql": settings["learning_rate"], "wql": 1.0}}

    args = asked(a_file(tmp_path), "--trials", "5")
    failing = False
    found = best("nf_tide", args, ask)
    assert found is not None and found["tried"][0]["score"] is None
    assert found["settings"]["learning_rate"] == min(one["settings"]["learning_rate"] for one in found["tried"][1:])
    failing = True
    with pytest.raises(ValueError, match="All 5 trials of nf_tide failed"):
        best("nf_tide", args, ask)
    assert best("autoets", args, ask) is None and best("nf_tide", asked(args.data), ask) is None


def test_networks_take_the_fields_of_a_trial_by_their_own_names() -> None:
    settings = {"learning_rate": 0.002, "width": 48, "input_size": 28, "dropout": 0.2, "max_steps": 7}
    for model, (widths, dropout) in {
        "LSTM": ({"encoder_hidden_size": 48, "decoder_hidden_size": 48}, "encoder_dropout"),
        "TFT": ({"hidden_size": 48}, "dropout"),
        "NHITS": ({"mlp_units": [[48, 48]] * 3}, "dropout_prob_theta"),
        "PatchTST": ({"hidden_size": 48, "linear_hidden_size": 96}, "dropout"),
        "TiDE": ({"hidden_size": 48}, "dropout"),
    }.items():
        task = Task(some_data(), [700], horizon=7, season=7, seed=0, threads=1, steps=500)
        plain = arguments(model, task)
        assert plain == {"max_steps": 500} | SETTINGS | OWN.get(model, {})
        told = arguments(model, Task(**(vars(task) | {"settings": settings})))
        changed = {name: value for name, value in told.items() if plain.get(name) != value}
        assert changed == widths | {dropout: 0.2, "learning_rate": 0.002, "input_size": 28, "max_steps": 7}


def test_the_best_of_trials_has_a_row_of_its_own_with_the_seconds_of_all() -> None:
    tuned = a_line("lightgbm", 0.4) | {"trials": {"trials": 20, "seconds": 812.5}}
    table = rendered([a_line("lightgbm", 0.6), tuned])
    assert "| lightgbm | " in table and "| lightgbm, best of 20 | " in table
    assert "| once | 4.0 s | " in table and "| once | 4.0 s (trials 812.5 s) | " in table


def test_peers_run_their_trials(tmp_path: Path, peers_python: Path) -> None:
    peers = "lightgbm,nf_nhits"
    words = ["--peers", peers, "--steps", "2", "--trials", "2", "--results", str(tmp_path), "--end", "2024-07-10"]
    ran = subprocess.run(
        [str(peers_python), "-m", "benchmarks.peers", "--data", str(a_file(tmp_path)), *WORDS, *words],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line["peer"] for line in lines] == peers.split(",")
    for line in lines:
        assert all(one["score"] is not None for one in line["trials"]["tried"]), line["peer"]
        settings = line["trials"]["settings"]
        assert line["trials"]["end"] == "2024-06-26" and line["end"] == "2024-07-10"
        if "learning_rate" in settings:
            assert line["detail"]["settings"]["learning_rate"] == settings["learning_rate"]
