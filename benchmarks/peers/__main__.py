"""Peers on the same windows as `benchmarks.accuracy`, each in a process of its own, in an environment of their own.

    make peers                                    # once: .venv-peers from requirements/peers.txt
    .venv-peers/bin/python -m benchmarks.peers --data FILE.parquet --horizon 28 --windows 5 --step 28

Cutoffs, scores and the layout of forecasts are those of `benchmarks.accuracy`. Prints one line of JSON a peer, appends
it to results/peers_FILE.jsonl and writes the table results/peers_FILE.md anew. Without --end the windows are reported
ones and each peer's run is appended to results/log.csv, rounded or not as --whole-units says; the JSON holds both.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.table import write_table
from benchmarks.peers.task import CODE, PEERS
from benchmarks.runs import LOG, add_window_options, append_log, line_of

RESULTS = Path(__file__).parents[1] / "results"


def main(argv: list[str]) -> int:
    args = parse(argv)
    peers = args.peers.split(",")
    unknown = [name for name in peers if name not in PEERS]
    if unknown:
        raise SystemExit(f"--peers {','.join(unknown)}: known are {', '.join(PEERS)}.")
    failed = [name for name in peers if not run(name, args, argv)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_window_options(parser)
    parser.add_argument("--steps", type=int, default=500, help="training steps of the networks of neuralforecast")
    parser.add_argument("--peers", default=",".join(PEERS), help=", ".join(PEERS))
    parser.add_argument("--whole-units", action="store_true", help="written and logged forecasts in whole units")
    parser.add_argument("--out", type=Path, help="folder for the forecasts, one file PEER.parquet each")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table and its lines of JSON")
    return parser.parse_args(argv)


def run(peer: str, args: argparse.Namespace, argv: list[str]) -> bool:
    """One peer in a process of its own, so that its peak memory and processor time are its own."""
    print(f"== {peer}", file=sys.stderr, flush=True)
    try:
        result = line_of("benchmarks.peers.one", [*argv, "--peers", peer], threads=args.threads)
    except subprocess.CalledProcessError:
        return False
    print(json.dumps(result), flush=True)
    keep(result, args, argv)
    return True


def keep(result: dict[str, Any], args: argparse.Namespace, argv: list[str]) -> None:
    args.results.mkdir(exist_ok=True)
    lines = args.results / f"peers_{args.data.stem}.jsonl"
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    write_table(lines)
    if args.end is None:
        chosen = result | {"metrics": result["metrics_whole" if args.whole_units else "metrics"]}
        append_log(
            LOG, chosen, module="benchmarks.peers", argv=[*without_peers(argv), "--peers", result["peer"]],
            code=CODE, libraries=", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        )  # fmt: skip


def without_peers(argv: list[str]) -> list[str]:
    """The command less what names all its peers and local folders."""
    out, skip = [], False
    for word in argv:
        named = word.split("=", 1)[0] in ("--peers", "--out", "--results")
        if not skip and not named:
            out.append(word)
        skip = named and "=" not in word
    return out


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
