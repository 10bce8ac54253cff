"""The document against the API, by requests that schemathesis makes up; `python -m benchmarks.fuzz` runs for longer."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.fuzz import api, fuzz

pytestmark = pytest.mark.xdist_group("serve")


def test_no_request_gets_a_5xx_or_an_answer_that_the_document_does_not_list(tmp_path: Path, database_url: str) -> None:
    with api(tmp_path, database_url) as (address, key):
        options = ("--phases=examples,coverage,fuzzing", "--max-examples=6", "--generation-deterministic", "--seed=1")
        run = fuzz(address, key, *options, output=subprocess.PIPE)
    assert run.returncode == 0, run.stdout[-12_000:] + run.stderr[-2_000:]
    assert "No issues found" in run.stdout
    logged = [line for line in (tmp_path / "api.log").read_text().splitlines() if '"level":"error"' in line]
    assert logged == []
