"""The shared forecaster: one trunk, a decoder over the days ahead, heads; and what a trained one carries with it.

Direct for all days of the horizon: the trunk's state and the series' static features are joined with each day
ahead's own features by one decoder that all days share. Quantiles are cumulative softplus increments, so they cannot
cross, and are clamped at zero when they leave the forecaster.

Shapes: B windows, L context, H horizon, D width, E embedding, F features, Q quantile levels, N rows of dependence.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.cleaning import Cleaned
from models.features import (
    AHEAD_FEATURES,
    CHANNELS_PER_COVARIATE,
    STATIC_FEATURES,
    Features,
    FeatureStatistics,
    compute_features,
    context_channels,
)
from models.networks.cnn import CnnConfig, CnnTrunk
from models.networks.lstm import LstmConfig, LstmTrunk
from models.networks.transformer import TransformerConfig, TransformerTrunk
from models.panel import Floats, Panel
from models.training_config import LEVELS, ResolvedConfig
from models.windows import MEMORY, Index, Windows, WindowSource

EMBEDDING = 8
UNKNOWN = 0
EMBEDDING_DROP = 0.15
"""Share of training windows whose series is named unknown, so that series never seen can be answered too."""


@dataclass(frozen=True)
class Output:
    """In units of `scale_B`, not clamped: `quantiles_BHQ` for the pinball loss, else a point; a mean either way."""

    mean_BH: Tensor
    quantiles_BHQ: Tensor | None
    scale_B: Tensor
    error_B: Tensor


class Network(nn.Module):
    """Features, trunk, decoder and heads. `series` is how many series get an identity; 0 is the unknown one."""

    def __init__(self, config: ResolvedConfig, *, series: int) -> None:
        super().__init__()
        covariates, width = len(config.known) + len(config.past), config.width
        self.config = config
        self.statistics = FeatureStatistics(covariates)
        self.trunk = make_trunk(config, channels=context_channels(covariates))
        self.identity = nn.Embedding(series + 1, EMBEDDING)
        nn.init.normal_(self.identity.weight, std=0.02)
        ahead = AHEAD_FEATURES + CHANNELS_PER_COVARIATE * len(config.known)
        self.from_state = nn.Linear(width, width)
        self.from_static = nn.Linear(STATIC_FEATURES + EMBEDDING, width)
        self.from_ahead = nn.Linear(ahead, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width + ahead, 1 + (len(LEVELS) if config.loss == "pinball" else 0))
        self.register_buffer("levels_Q", torch.tensor(LEVELS), persistent=False)

    levels_Q: Tensor

    def forward(self, windows: Windows) -> Output:
        features = compute_features(windows, self.statistics, context_length=self.config.context_length)
        return self.decode(features, windows.identity_B)

    def decode(self, features: Features, identity_B: Tensor) -> Output:
        static_BF = torch.cat([features.static_BF, self.identity(identity_B)], dim=1)
        once_BD = self.from_state(self.trunk(features.context_BLC)) + self.from_static(static_BF)
        hidden_BHD = nn.functional.gelu(once_BD[:, None] + self.from_ahead(features.ahead_BHF))
        mixed_BHD = nn.functional.gelu(self.mix(hidden_BHD * self._mask(hidden_BHD)))
        hidden_BHD = self.norm(hidden_BHD + mixed_BHD * self._mask(mixed_BHD))
        out_BHO = self.head(torch.cat([hidden_BHD, features.ahead_BHF], dim=2))
        mean_BH, quantiles_BHQ = self._heads(out_BHO)
        return Output(mean_BH, quantiles_BHQ, features.scale_B, features.error_B)

    def _mask(self, x_BHD: Tensor) -> Tensor:
        """A dropout mask that all days of a window share: as good here, and a 28th of the random numbers."""
        ones_B1D = x_BHD.new_ones(x_BHD.shape[0], 1, x_BHD.shape[2])
        mask_B1D: Tensor = self.dropout(ones_B1D)
        return mask_B1D

    def _heads(self, out_BHO: Tensor) -> tuple[Tensor, Tensor | None]:
        mean_BH = nn.functional.softplus(out_BHO[..., 0] + 0.5)
        if self.config.loss != "pinball":
            return mean_BH, None
        increments_BHQ = nn.functional.softplus(out_BHO[..., 2:] - 2.0)
        lowest_BH1 = out_BHO[..., 1:2]
        quantiles_BHQ = torch.cat([lowest_BH1, lowest_BH1 + increments_BHQ.cumsum(-1)], dim=-1)
        return mean_BH, quantiles_BHQ


def make_trunk(config: ResolvedConfig, *, channels: int) -> nn.Module:
    if config.architecture == "lstm":
        return LstmTrunk(LstmConfig(channels, config.width, config.layers, config.dropout))
    if config.architecture == "transformer":
        return TransformerTrunk(
            TransformerConfig(
                channels, config.context_length, config.width, config.layers, config.heads, config.dropout
            )
        )
    return CnnTrunk(CnnConfig(channels, config.width, config.layers, config.dropout))


@dataclass
class Forecaster:
    """A trained network with all that prediction needs. `twin` is the same before the refit: it has seen no day
    after its own `trained_until`, so it is the one that can be judged on the days held out.

    `residuals_HQ` and `residual_mean_H` belong to point heads: what was left over on validation, in scaled units.
    `dependence_NH` holds rows of ranks in (0, 1) of past days against their forecasts: how days go together.
    """

    config: ResolvedConfig
    network: Network
    keys: list[tuple[str, str]]
    trained_until: np.datetime64
    dependence_NH: NDArray[np.float16]
    residuals_HQ: Floats | None = None
    residual_mean_H: Floats | None = None
    twin: "Forecaster | None" = None
    levels: NDArray[np.float64] = field(default_factory=lambda: np.array(LEVELS))

    def __post_init__(self) -> None:
        self._number = {key: i + 1 for i, key in enumerate(self.keys)}

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
    def context_days(self) -> int:
        """How many days up to the cutoff a prediction reads; older ones change nothing."""
        return MEMORY

    def identities(self, keys: list[tuple[str, str]]) -> Index:
        """The numbers by which the network knows these series; UNKNOWN for those it has never seen."""
        return np.array([self._number.get(key, UNKNOWN) for key in keys], dtype=np.int64)

    def source(self, panel: Panel, *, cleaned: Cleaned | None = None) -> WindowSource:
        """The panel, ready to cut this forecaster's windows out of it. To learn from it, clean it before."""
        return WindowSource(
            panel,
            self.identities(panel.keys),
            context_length=self.config.context_length,
            horizon=self.horizon,
            known=self.known,
            past=self.past,
            cleaning=self.config.cleaning,
            cleaned=cleaned,
        )

    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())
