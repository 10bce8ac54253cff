"""What every peer is asked, what it answers, and which peers there are."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.peers.data import Data
from models.forecast import Forecast

CODE = ("models", "benchmarks/peers", "benchmarks/runs.py")


@dataclass(frozen=True)
class Task:
    """What every peer is asked: forecasts of `data` at `cutoffs`, having learnt from nothing after the first.

    `settings` are those of the peer's own that are to be other than they stand.
    """

    data: Data
    cutoffs: list[int]
    horizon: int
    season: int
    seed: int
    threads: int
    steps: int
    settings: dict[str, Any] = field(default_factory=dict)

    def training(self) -> Data:
        """The data as they were at the end of the first cutoff."""
        panel = self.data.panel
        return self.data.until(panel.start + np.timedelta64(self.cutoffs[0], "D"))


@dataclass(frozen=True)
class Answer:
    """A peer's forecasts, one a cutoff, and what it took. `trained` is "once" or "at every cutoff"."""

    forecasts: list[Forecast]
    trained: str
    train_seconds: float
    predict_seconds: float
    parameters: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """Where a peer's function stands, its arguments before the task, and the packages that its figures depend on."""

    module: str
    arguments: tuple[str, ...]
    packages: tuple[str, ...]

    def function(self) -> Callable[..., Answer]:
        found: Callable[..., Answer] = importlib.import_module(f"benchmarks.peers.{self.module}").answer
        return found


PEERS = {
    "lightgbm": Peer("boosting", (), ("lightgbm",)),
    "autoets": Peer("statistical", ("AutoETS",), ("statsforecast",)),
    "seasonal_naive": Peer("statistical", ("SeasonalNaive",), ("statsforecast",)),
    **{
        f"nf_{name.lower()}": Peer("neural", (name,), ("neuralforecast", "torch"))
        for name in ("LSTM", "TFT", "NHITS", "PatchTST", "TiDE")
    },
}
