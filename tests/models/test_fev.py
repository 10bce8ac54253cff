"""Our metrics beside those of the package fev, which lives in the peers' environment (`make peers`) and not in ours."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEIRS = ROOT / ".venv-peers" / "bin" / "python"


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter that can import fev."""
    if importlib.util.find_spec("fev") is not None:
        return Path(sys.executable)
    if (ROOT / ".venv-peers" / ".ready").exists():
        return THEIRS
    pytest.skip("fev is not installed; `make peers` makes the environment that has it")


def test_mase_sql_wape_and_wql_are_those_of_fev(python: Path) -> None:
    command = [str(python), "-m", "benchmarks.peers.agreement"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = json.loads(answer.stdout)
    assert told["agree"] and told["largest_relative_difference"].keys() == {"mase", "sql", "wape", "wql"}
