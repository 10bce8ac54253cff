"""Peers and our own forecaster on the same windows, each in a process of its own, in an environment of the peers.

    make peers                                    # once: .venv-peers from requirements/peers.txt
    .venv-peers/bin/python -m benchmarks.peers --data FILE.parquet --horizon 28 --windows 5 --step 28

Cutoffs, scores and the layout of forecasts are those of `benchmarks.accuracy`, which is run as it is for the peer
`shelfcast` (--ours: which model). Prints one line of JSON a peer, appends it to results/peers_FILE.jsonl and writes the
table results/peers_FILE.md anew. Without --end the windows are reported ones and each peer's run is appended to
results/log.csv, rounded or not as --whole-units says (accuracy logs its own); the JSON holds both. With --trials N all
that have settings, ours too, are first tried with N settings on the windows before those asked for (trials.py).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.ours import OURS, line
from benchmarks.peers.table import write_table
from benchmarks.peers.task import CODE, PEERS
from benchmarks.peers.trials import best
from benchmarks.runs import LOG, add_window_options, append_log, line_of, natural, set_words, window_words
from models.training_config import MODELS

KNOWN = (OURS, *PEERS)
RESULTS = Path(__file__).parents[1] / "results"


def main(argv: list[str]) -> int:
    args = parse(argv)
    peers = args.peers.split(",")
    unknown = [name for name in peers if name not in KNOWN]
    if unknown:
        raise SystemExit(f"--peers {','.join(unknown)}: known are {', '.join(KNOWN)}.")
    failed = [name for name in peers if not run(name, args, argv)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_window_options(parser)
    parser.add_argument("--steps", type=int, default=500, help="training steps of the networks of neuralforecast")
    parser.add_argument("--peers", default=",".join(KNOWN), help=", ".join(KNOWN))
    parser.add_argument(
        "--trials",
        type=natural,
        default=0,
        help="so many settings, the first as they stand, on the windows before; 0: none",
    )
    parser.add_argument("--ours", choices=MODELS, default="ensemble", help="which of our models is shelfcast")
    parser.add_argument("--frozen", action="store_true", help="ours is not updated between cutoffs, as no peer is")
    parser.add_argument("--whole-units", action="store_true", help="written and logged forecasts in whole units")
    parser.add_argument("--out", type=Path, help="folder for the forecasts, one file PEER.parquet each")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table and its lines of JSON")
    parser.add_argument("--log", type=Path, default=LOG, help="where runs on reported windows are appended to")
    return parser.parse_args(argv)


def run(peer: str, args: argparse.Namespace, argv: list[str]) -> bool:
    """Whether one peer ran to its end; then its line is printed and kept."""
    print(f"== {peer}", file=sys.stderr, flush=True)
    try:
        tried = best(peer, args, partial(ask, peer))
        result = ask(peer, args, tried["settings"] if tried else {})
    except (subprocess.CalledProcessError, ValueError) as error:
        print(error, file=sys.stderr)
        return False
    result |= {"trials": tried} if tried else {}
    print(json.dumps(result), flush=True)
    keep(result, args)
    log(result, args, argv)
    return True


def ask(peer: str, args: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One peer's line on the windows of `args`, some of its settings other than they stand. Raises as `line_of` does."""
    if peer == OURS:
        return line(args, settings)
    words = [*window_words(args), "--peer", peer, "--steps", str(args.steps), *["--whole-units"] * args.whole_units]
    words += ["--out", str(args.out)] if args.out else []
    return line_of("benchmarks.peers.one", [*words, *set_words(settings)], threads=args.threads)


def keep(result: dict[str, Any], args: argparse.Namespace) -> None:
    args.results.mkdir(exist_ok=True)
    lines = args.results / f"peers_{args.data.stem}.jsonl"
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    write_table(lines)


def log(result: dict[str, Any], args: argparse.Namespace, argv: list[str]) -> None:
    """A peer's run on reported windows is logged; ours has been, by `benchmarks.accuracy`."""
    if args.end is not None or result["peer"] not in PEERS:
        return
    chosen = result | {"metrics": result["metrics_whole" if args.whole_units else "metrics"]}
    append_log(
        args.log, chosen, module="benchmarks.peers", argv=[*without_peers(argv), "--peers", result["peer"]],
        code=CODE, libraries=", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    )  # fmt: skip


def without_peers(argv: list[str]) -> list[str]:
    """The command less what names all its peers, our model and local folders."""
    out, skip = [], False
    for word in argv:
        named = word.split("=", 1)[0] in ("--peers", "--ours", "--out", "--results", "--log")
        if not skip and not named:
            out.append(word)
        skip = named and "=" not in word
    return out


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
