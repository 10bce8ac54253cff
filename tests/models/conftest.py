"""What the engine's tests share: one small trained forecaster, and the real data where it is there."""

import importlib.util
import sys
from pathlib import Path

import pytest

from models.training import Trained, train
from tests.models.panels import SCORER, SHARED_DATA, make_panel, small


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A small LSTM over five series."""
    return train(make_panel(), small())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"The real data is not here: {SHARED_DATA} does not exist.")
    return SHARED_DATA


@pytest.fixture(scope="session")
def peers_python() -> Path:
    """An interpreter that can import the peers' libraries: this one, or that of `make peers`."""
    if importlib.util.find_spec("fev") is not None:
        return Path(sys.executable)
    folder = Path(__file__).parents[2] / ".venv-peers"
    if (folder / ".ready").exists():
        return folder / "bin" / "python"
    pytest.skip("The peers' libraries are not installed; `make peers` makes the environment that has them.")


@pytest.fixture(scope="session")
def scorer() -> Path:
    if not SCORER.is_file():
        pytest.skip(f"The independent scorer is not here: {SCORER} does not exist.")
    return SCORER
