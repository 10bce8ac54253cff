"""A real `shelfcast serve` in a folder that looks like a checkout in use, and commands that are run there."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

SKUS = [f"A-{number}" for number in range(1, 6)]
DAYS = np.arange(np.datetime64("2026-11-23") - 199, np.datetime64("2026-11-24"))
START_SECONDS = 120
COMMAND_SECONDS = 120
DOCUMENTED_ADDRESS = "http://127.0.0.1:8000"


class Service:
    """`serve` on a free port, with its home in `folder`/.shelfcast, from the beginning to the end of a `with` block."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.home = folder / ".shelfcast"
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> "Service":
        checkout_in(self.folder)
        with (self.folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve"],
                cwd=self.folder,
                env=environment(SHELFCAST_PORT="0", SHELFCAST_HOME=str(self.home), **self._settings),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if "ready on " not in said:
            self.stop()
            raise AssertionError(f"the service did not start: {(self.folder / 'service.log').read_text()[-2000:]}")
        self.url = said.rpartition(" ")[2].strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.stdout is not None
            self._process.stdout.close()
            assert self._process.wait(timeout=30) == 0
            self._process = None

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()


def checkout_in(folder: Path) -> None:
    """What examples find in their folder: the environment, and small sales in two formats."""
    if (folder / ".venv").exists():
        return
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
