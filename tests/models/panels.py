"""Panels made by formula, and configurations that train in about a second."""

from pathlib import Path

import numpy as np

from models.adjustment import equal_members
from models.forecaster import Forecaster, Member
from models.identities import identities_of
from models.networks.network import Network
from models.panel import Panel
from models.training_config import ResolvedConfig, TrainingConfig

START = np.datetime64("2025-01-01")
SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SCORER = SHARED_DATA.parent / "score" / "score.py"


def make_panel(series: int = 5, days: int = 160, *, seed: int = 0, missing: float = 0.05) -> Panel:
    """Poisson sales with a weekday pattern, each series at its own level, some days missing."""
    rng = np.random.default_rng(seed)
    weekday_T = 1 + 0.5 * np.sin(2 * np.pi * np.arange(days) / 7)
    level_S1 = np.linspace(0.3, 20, series)[:, None] if series > 1 else np.array([[8.0]])
    quantity_ST = rng.poisson(level_S1 * weekday_T).astype(np.float32)
    quantity_ST[rng.random(quantity_ST.shape) < missing] = np.nan
    return Panel([f"sku-{i}" for i in range(series)], ["north"] * series, START, quantity_ST)


def small(architecture: str = "lstm", **changes: object) -> TrainingConfig:
    """A configuration that trains in about a second."""
    fields: dict[str, object] = {
        "model": architecture,
        "horizon": 7,
        "context_length": 28,
        "width": 16,
        "layers": 1,
        "heads": 2,
        "batch_size": 64,
        "epochs": 2,
        "learning_rate": 0.01,
    }
    return TrainingConfig(**{**fields, **changes})  # type: ignore[arg-type]


def resolved(architecture: str = "lstm", **changes: object) -> ResolvedConfig:
    """The same for one network, as it is kept."""
    (config,) = small(architecture, **changes).members()
    return config


def forecaster_of(network: Network, panel: Panel) -> Forecaster:
    """A forecaster of one network, whatever its weights."""
    rows = np.full((4, network.config.horizon), 0.5, np.float16)
    members = [Member(network.config, network)]
    return Forecaster(members, identities_of(panel), panel.end, equal_members(1), rows)
