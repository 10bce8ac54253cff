"""How long one of our networks takes to be as accurate as the best of neuralforecast, on windows before the reported ones.

    .venv-peers/bin/python -m benchmarks.peers.race --data FILE.parquet --end DATE --horizon 28 --windows 5 --step 28 --model mlp

Trains each peer as `benchmarks.peers` does, then ours as `benchmarks.accuracy --frozen` does with ever more epochs, until its
WQL, not rounded, is at most that of the best peer: one after the other, each in a process of its own. Both times are of the
whole training; ours holds twin, calibration and refit. Prints one line of JSON, appends it to results/race.jsonl and writes
results/race.md anew.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.task import CODE, PEERS
from benchmarks.runs import WINDOW_OPTIONS, add_window_options, circumstances, line_of, window_words

RESULTS = Path(__file__).parents[1] / "results"
NEURAL = tuple(name for name in PEERS if name.startswith("nf_"))
EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 24)


def main(argv: list[str]) -> int:
    args = parse(argv)
    peers = [peer_of(name, args) for name in args.peers.split(",")]
    best = min(peers, key=lambda run: run["wql"])
    ours, reached = raced(best["wql"], lambda epochs: own_of(epochs, args))
    found = {
        **{name: getattr(args, name) for name in WINDOW_OPTIONS if name != "data"},
        "data": args.data.name,
        "model": args.model,
        "best": best["peer"],
        "ratio": round(ours[-1]["seconds"] / best["seconds"], 4) if reached else None,
        "peers": peers,
        "ours": ours,
        "steps": args.steps,
        **circumstances(args.threads, (*CODE, "benchmarks/accuracy.py")),
    }
    print(json.dumps(found))
    write(found)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_window_options(parser)
    parser.add_argument("--model", default="mlp", help="ours: lstm, transformer, cnn, mlp or ensemble")
    parser.add_argument("--peers", default=",".join(NEURAL), help="networks of neuralforecast")
    parser.add_argument("--steps", type=int, default=500, help="training steps of the networks of neuralforecast")
    args = parser.parse_args(argv)
    if not args.end:
        parser.error("--end is needed: a race is run on windows before the reported ones")
    if unknown := set(args.peers.split(",")) - set(NEURAL):
        parser.error(f"--peers {','.join(sorted(unknown))}: known are {', '.join(NEURAL)}")
    return args


def raced(goal: float, trained: Callable[[int], dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """Trainings of ever more epochs up to the first whose WQL is the goal or less, and whether there was one."""
    runs: list[dict[str, Any]] = []
    for epochs in EPOCHS:
        runs.append(trained(epochs))
        if runs[-1]["wql"] <= goal:
            return runs, True
    return runs, False


def peer_of(name: str, args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        own = ["--peers", name, "--steps", str(args.steps), "--results", folder]
        result = line_of("benchmarks.peers", [*window_words(args), *own], threads=args.threads)
    return {"peer": name, "wql": result["metrics"]["wql"], "seconds": result["train_seconds"]}


def own_of(epochs: int, args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = ["--out", str(Path(folder) / "out.parquet")]
        own = ["--model", args.model, "--frozen", *out, "--set", f"epochs={epochs}"]
        result = line_of("benchmarks.accuracy", [*window_words(args), *own], threads=args.threads)
    return {"epochs": epochs, "wql": result["unrounded"]["wql"], "seconds": result["train_seconds"]}


def write(found: dict[str, Any]) -> None:
    lines = RESULTS / "race.jsonl"
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    races = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    (RESULTS / "race.md").write_text(rendered(races), encoding="utf-8")


def rendered(races: list[dict[str, Any]]) -> str:
    """The table of all races."""
    rows = [
        "# Seconds of training to the accuracy of the best peer network",
        "",
        "Written by `python -m benchmarks.peers.race`; each line of JSON is in `race.jsonl`.",
        "",
        "| file, windows that end | peers: WQL, seconds | ours: epochs, WQL, seconds | share of the peer's time | when, where |",
        "| --- | --- | --- | --- | --- |",
    ]
    for race in races:
        peers = ", ".join(f"{one['peer']} {one['wql']:.4f} {one['seconds']:.0f} s" for one in race["peers"])
        ours = ", ".join(f"{one['epochs']}: {one['wql']:.4f} {one['seconds']:.1f} s" for one in race["ours"])
        share = "not reached" if race["ratio"] is None else f"{race['ratio']:.3f} of {race['best']}'s"
        where = f"{race['date']}, {race['machine']}, {race['commit']}"
        rows.append(f"| `{race['data']}`, {race['end']} | {peers} | {race['model']} {ours} | {share} | {where} |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
