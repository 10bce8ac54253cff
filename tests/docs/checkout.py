"""A folder that looks like a checkout in use, and commands that are run there as a reader of the documents would."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

SKUS = [f"A-{number}" for number in range(1, 6)]
DAYS = np.arange(np.datetime64("2026-11-23") - 199, np.datetime64("2026-11-24"))
COMMAND_SECONDS = 120
DOCUMENTED_ADDRESS = "http://127.0.0.1:8000"


def checkout_in(folder: Path) -> None:
    """What examples find in their folder: the environment, and small sales in two formats."""
    (folder / ".venv").symlink_to(sys.prefix)
    rng = np.random.default_rng(1)
    weekly = np.resize([4, 4, 5, 6, 8, 9, 3], len(DAYS))
    quantity = np.concatenate([rng.poisson(weekly * (1 + number)) for number in range(len(SKUS))])
    columns = {
        "sku": np.repeat(SKUS, len(DAYS)),
        "location": np.repeat("S1", len(quantity)),
        "date": pa.array(np.tile(DAYS, len(SKUS))),
        "quantity": quantity.astype(float),
    }
    table = pa.table(columns)
    pyarrow.parquet.write_table(table, folder / "sales.parquet")
    pyarrow.csv.write_csv(table, folder / "sales.csv")


def environment(**settings: str) -> dict[str, str]:
    """The variables of commands: this interpreter's programs first, no setting but the given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHELFCAST_", "PG"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "120"} | settings


def shell(code: str, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a Bash example; what it sets is put into `variables` for those after it."""
    left = folder / "variables"
    script = f"set -euo pipefail\nset -a\ntrap 'env -0 > {left}' EXIT\n{code}\n"
    ran = run(["bash", "-c", script], folder, variables)
    variables.update(entry.split("=", 1) for entry in left.read_text().split("\0") if "=" in entry)
    return ran


def run(command: list[str], folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
