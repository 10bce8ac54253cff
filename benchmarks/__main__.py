"""`python -m benchmarks`: every benchmark of the service, one after the other, each in a process of its own.

Speed figures are ratios taken side by side in one run, so they hold on other machines; run them on a quiet one. The
accuracy of the three networks needs the public files, which are not part of this repository: give their folder with --data.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SPEED = ("ingest", "panel", "reads")
ENGINE = ("speed",)
NETWORKS = ("lstm", "transformer", "cnn")
PROTOCOL = ("--horizon", "28", "--windows", "10", "--step", "28")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the public sales files")
    parser.add_argument("--fuzz-seconds", type=int, default=600)
    args = parser.parse_args()
    failed = [name for name in SPEED if run(name)]
    for name in ENGINE:
        if not (args.data / "m5_280.parquet").exists():
            print(f"{name} is left out: there is no {args.data / 'm5_280.parquet'}")
        elif run(name, "--data", str(args.data / "m5_280.parquet")):
            failed.append(name)
    if run("fuzz", "--seconds", str(args.fuzz_seconds)):
        failed.append("fuzz")
    data = args.data / "hierarchical_sales.parquet"
    if data.exists():
        failed += [f"accuracy {model}" for model in NETWORKS if accuracy(data, model)]
    else:
        print(f"accuracy is left out: there is no {data}")
    print(f"failed: {', '.join(failed)}" if failed else "all benchmarks ran; see benchmarks/results/")
    return 1 if failed else 0


def accuracy(data: Path, model: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "forecasts.parquet"
        return run("accuracy", "--data", str(data), "--out", str(out), "--model", model, *PROTOCOL)


def run(name: str, *options: str) -> int:
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
