"""Our metrics beside those of the package fev, which lives in the peers' environment (`make peers`) and not in ours."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_mase_sql_wape_and_wql_are_those_of_fev(peers_python: Path) -> None:
    command = [str(peers_python), "-m", "benchmarks.peers.agreement"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = json.loads(answer.stdout)
    assert told["agree"] and told["largest_relative_difference"].keys() == {"mase", "sql", "wape", "wql"}
