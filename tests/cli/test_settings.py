"""What the commands that open the database say to settings and revisions that are wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def shelfcast(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    refused = shelfcast("serve", SHELFCAST_HOME=str(tmp_path), SHELFCAST_PORT="eighty")
    assert refused.returncode == 2
    assert refused.stderr.startswith("SHELFCAST_PORT: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_LEVEL", "loud"), ("RATE_LIMIT", "often"), ("DEVICE", "gpu"), ("DEVICE", "cuda:99")],
)
def test_a_setting_out_of_its_range_is_named(tmp_path: Path, name: str, value: str) -> None:
    variable = f"SHELFCAST_{name}"
    refused = shelfcast("serve", **{"SHELFCAST_HOME": str(tmp_path), variable: value})
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{variable}: ")


def test_going_below_the_first_schema_is_refused() -> None:
    refused = shelfcast("migrate", "--down", "base")
    assert refused.returncode == 1
    assert "drop the database" in refused.stderr


def test_an_unknown_revision_is_named(tmp_path: Path) -> None:
    refused = shelfcast("migrate", "--revision", "nonsense", SHELFCAST_HOME=str(tmp_path / "home"))
    assert refused.returncode == 1
    assert "nonsense" in refused.stderr
    assert "Traceback" not in refused.stderr
