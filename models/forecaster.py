"""A forecaster: one or several trained networks with all that prediction needs. One version of the service holds one.

Here: what it consists of and how a panel is prepared for it. How it answers is in inference.py, its bytes in checkpoint.py.

Shapes: Q quantile levels.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from models.adjustment import Adjustment
from models.cleaning import Cleaned
from models.dependence import Dependence
from models.identities import Identities
from models.networks.network import Network
from models.online.tracking import Tracking
from models.panel import Floats, Panel
from models.placement import device_of
from models.training_config import LEVELS, ResolvedConfig
from models.windows import MEMORY, WindowSource


@dataclass
class Member:
    """One network. The residuals belong to point heads: what was left over on validation, in scaled units."""

    config: ResolvedConfig
    network: Network
    residuals_HQ: Floats | None = None
    residual_mean_H: Floats | None = None


@dataclass
class Forecaster:
    """Networks that were trained together, and how they become one forecast.

    `twin` is the same before the refit: it has seen no day after its own `trained_until`, so it is the one that can be judged
    on the days held out. `dependence` says how days go together, for sums of them. A version that was updated has `tracking`,
    what was learned of each series since, and after a fine-tuning a `lineage`: the same networks, which have learned on.
    """

    members: list[Member]
    identities: Identities
    trained_until: np.datetime64
    adjustment: Adjustment
    dependence: Dependence
    twin: "Forecaster | None" = None
    tracking: Tracking | None = None
    lineage: "Forecaster | None" = None
    levels: NDArray[np.float64] = field(default_factory=lambda: np.array(LEVELS))

    @property
    def config(self) -> ResolvedConfig:
        """The first member's; members agree in horizon and covariates."""
        return self.members[0].config

    def same_kind(self, other: "Forecaster") -> bool:
        """Whether another's networks are made alike and read alike: then both can answer from the same windows."""
        return [member.config.kind for member in self.members] == [member.config.kind for member in other.members]

    @cached_property
    def lineage_apart(self) -> bool:
        """Whether the lineage was trained before the networks beside it: then it knows series, and constants of features, of its
        own. Found once: it is asked for with every forecast."""
        if self.lineage is None:
            return False
        own, others = (one.members[0].network.statistics.state_dict() for one in (self, self.lineage))
        same = all(torch.equal(value, others[name]) for name, value in own.items())
        return self.lineage.identities is not self.identities or not same

    @property
    def architecture(self) -> str:
        return self.config.architecture if len(self.members) == 1 else "ensemble"

    @property
    def keys(self) -> list[tuple[str, str]]:
        return self.identities.keys

    @property
    def horizon(self) -> int:
        return self.config.horizon

    @property
    def known(self) -> tuple[str, ...]:
        return self.config.known

    @property
    def past(self) -> tuple[str, ...]:
        return self.config.past

    @property
    def context_length(self) -> int:
        """The longest of its members'."""
        return max(member.config.context_length for member in self.members)

    @property
    def context_days(self) -> int:
        """How many days up to the cutoff a prediction reads; older ones change nothing."""
        return MEMORY

    @property
    def learned_until(self) -> np.datetime64:
        """The newest day that anything of it has learned from: its networks, their lineage, the state of its series."""
        days = [self.trained_until]
        days += [] if self.lineage is None else [self.lineage.trained_until]
        days += [] if self.tracking is None else [self.tracking.until]
        return max(days)

    @property
    def device(self) -> torch.device:
        """Where its networks stand."""
        return device_of(self.members[0].network)

    def to(self, device: torch.device) -> "Forecaster":
        """Itself, its networks, its twin's and its lineage's moved to a device."""
        for one in (self, self.twin, self.lineage):
            for member in one.members if one is not None else ():
                member.network.to(device)
        return self

    def adjusted_as(self, twin: "Forecaster") -> "Forecaster":
        """Itself with its twin, and with what the twin learned on the days held out."""
        return replace(self, adjustment=twin.adjustment, dependence=twin.dependence, twin=twin)

    def source(self, panel: Panel, *, cleaned: Cleaned | None = None) -> WindowSource:
        """The panel, ready to cut this forecaster's windows out of it. To learn from it, clean it before."""
        return WindowSource(
            panel,
            self.identities.of(panel),
            context_length=self.context_length,
            horizon=self.horizon,
            known=self.known,
            past=self.past,
            cleaning=self.config.cleaning,
            cleaned=cleaned,
        )

    def describe(self) -> dict[str, object]:
        """Its configuration as plain JSON: a single network's own, or each member's."""
        updated: dict[str, object] = {}
        if self.tracking is not None:
            updated["learned_until"] = str(self.tracking.until)
        if self.lineage is not None:
            updated["lineage"] = {"trained_until": str(self.lineage.trained_until)}
        if len(self.members) == 1:
            return self.config.as_dict() | updated
        shared = {
            "architecture": "ensemble",
            "horizon": self.horizon,
            "context_length": self.context_length,
            "cleaning": self.config.cleaning,
        }
        return shared | {"members": [member.config.as_dict() for member in self.members]} | updated

    def parameters(self) -> int:
        return sum(p.numel() for member in self.members for p in member.network.parameters())
