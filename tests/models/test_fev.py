"""Our metrics beside those of the package fev: its recorded figures always, itself where it is (`make peers`).

`python -m benchmarks.peers.agreement --write tests/models/fev_figures.json`, with the peers' interpreter, records them anew.
"""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.peers.agreement import METRICS, TOLERANCE, by_us, figures, fingerprint, largest_differences, some_sales

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "fev_figures.json"


def test_mase_sql_wape_and_wql_are_those_that_fev_was_seen_to_give() -> None:
    recorded = json.loads(RECORDED.read_text())
    panel = some_sales()
    assert fingerprint(panel) == recorded["judged"], "These are not the sales and forecasts that fev was given."
    assert len(recorded["figures"]) == 6 and recorded["fev"]
    ours = figures(panel, by_us)
    assert max(largest_differences(ours, recorded["figures"]).values()) <= TOLERANCE
    for name in METRICS:
        ours[3] = ours[3] | {name: ours[3][name] * (1 + 1e-7)}
        assert largest_differences(ours, recorded["figures"])[name] == pytest.approx(1e-7, rel=1e-3)
    with pytest.raises(ValueError, match="differ"):
        largest_differences(ours[1:], recorded["figures"])


def test_mase_sql_wape_and_wql_are_those_of_fev(peers_python: Path, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [str(peers_python), "-m", "benchmarks.peers.agreement", "--write", str(written)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = json.loads(answer.stdout)
    assert told["agree"] and told["largest_relative_difference"].keys() == {"mase", "sql", "wape", "wql"}
    recorded, found = json.loads(RECORDED.read_text()), json.loads(written.read_text())
    assert found["judged"] == recorded["judged"]
    assert max(largest_differences(found["figures"], recorded["figures"]).values()) <= TOLERANCE
