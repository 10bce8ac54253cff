"""The shared network: one trunk, a decoder over the days ahead, heads. What a trained one carries along is in forecaster.py.

Direct for all days of the horizon: the trunk's state and the series' static features are joined with each day
ahead's own features by one decoder that all days share. Quantiles are cumulative softplus increments, so they cannot
cross, and are clamped at zero when they leave the forecaster.

Shapes: B windows, L context, H horizon, D width, E embedding, F features, Q quantile levels,
A identities (the series' own, then its static attributes).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.covariates import FeatureStatistics, ahead_width
from models.features import AHEAD_FEATURES, STATIC_FEATURES, Features, compute_features, context_channels
from models.networks.cnn import CnnConfig, CnnTrunk
from models.networks.lstm import LstmConfig, LstmTrunk
from models.networks.mlp import MlpConfig, MlpTrunk
from models.networks.transformer import TransformerConfig, TransformerTrunk
from models.training_config import LEVELS, ResolvedConfig
from models.windows import Windows, split_flags

EMBEDDING = 8


@dataclass(frozen=True)
class Output:
    """In units of `scale_B`, not clamped: `quantiles_BHQ` for the pinball loss, else a point; a mean either way.

    `dispersion_BH` is of a negative binomial with that mean, in whole units sold.
    """

    mean_BH: Tensor
    dispersion_BH: Tensor
    quantiles_BHQ: Tensor | None
    scale_B: Tensor
    error_B: Tensor


class Network(nn.Module):
    """Features, trunk, decoder and heads. `sizes` are how many series, and values of each static attribute, get an identity.

    The first number of each is the unknown one.
    """

    def __init__(self, config: ResolvedConfig, *, sizes: Sequence[int]) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.statistics = FeatureStatistics(len(split_flags(config.known)[0]) + len(config.past))
        channels = context_channels(config.known, config.past)
        self.trunk = make_trunk(config, channels=channels)
        self.identity = nn.Embedding(sum(sizes) + len(sizes), EMBEDDING)
        nn.init.normal_(self.identity.weight, std=0.02)
        ahead = AHEAD_FEATURES + ahead_width(config.known)
        self.from_state = nn.Linear(width, width)
        self.from_static = nn.Linear(STATIC_FEATURES + EMBEDDING * len(sizes), width)
        self.from_ahead = nn.Linear(ahead, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width + ahead, 2 + (len(LEVELS) if config.loss == "pinball" else 0))
        self.register_buffer("levels_Q", torch.tensor(LEVELS), persistent=False)
        self.fill: nn.Linear | None = None
        if config.cleaning == "model":
            self.fill = nn.Linear(channels + STATIC_FEATURES, 1)
            nn.init.zeros_(self.fill.weight)
            nn.init.zeros_(self.fill.bias)
        firsts = np.cumsum([0, *(size + 1 for size in sizes)])[:-1]
        self.register_buffer("firsts_A", torch.from_numpy(firsts), persistent=False)

    levels_Q: Tensor
    firsts_A: Tensor

    def forward(self, windows: Windows) -> Output:
        features = compute_features(windows, self.statistics, context_length=self.config.context_length)
        return self.decode(features, windows.identity_BA)

    def decode(self, features: Features, identity_BA: Tensor) -> Output:
        static_BF = torch.cat([features.static_BF, self.identity(identity_BA + self.firsts_A).flatten(1)], dim=1)
        once_BD = self.from_state(self.trunk(self.filled(features))) + self.from_static(static_BF)
        hidden_BHD = self._mixed(once_BD, self.from_ahead(features.ahead_BHF))
        hidden_BHD = self.norm(hidden_BHD)
        out_BHO = self._outputs(hidden_BHD, features.ahead_BHF).float()  # bfloat16 while a GPU learns
        mean_BH = nn.functional.softplus(out_BHO[..., 0] + 0.5)
        dispersion_BH = nn.functional.softplus(out_BHO[..., 1])
        return Output(mean_BH, dispersion_BH, self._quantiles(out_BHO[..., 2:]), features.scale_B, features.error_B)

    def _mixed(self, once_BD: Tensor, ahead_BHD: Tensor) -> Tensor:
        """What is known of the window and of each day ahead, together."""
        if not self.training:
            # In place, and without masks of ones: reading and writing memory takes longer than computing.
            hidden_BHD = torch.ops.aten.gelu_(ahead_BHD.add_(once_BD[:, None]))
            mixed_BHD: Tensor = torch.ops.aten.gelu_(self.mix(hidden_BHD)).add_(hidden_BHD)
            return mixed_BHD
        hidden_BHD = nn.functional.gelu(once_BD[:, None] + ahead_BHD)
        mixed_BHD = nn.functional.gelu(self.mix(hidden_BHD * self._mask(hidden_BHD)))
        return hidden_BHD + mixed_BHD * self._mask(mixed_BHD)

    def _outputs(self, hidden_BHD: Tensor, ahead_BHF: Tensor) -> Tensor:
        """What the head says. One in eight bits is a module of another kind, asked as it is."""
        if self.training or not isinstance(self.head, nn.Linear):
            out_BHO: Tensor = self.head(torch.cat([hidden_BHD, ahead_BHF], dim=2))
            return out_BHO
        # Nothing is joined in memory, and a number of outputs that fills a processor's registers takes half as long.
        count, width = self.head.out_features, hidden_BHD.shape[2]
        weight_OD, bias_O = (
            nn.functional.pad(x, (0, 0) * (x.dim() - 1) + (0, -count % 8)) for x in (self.head.weight, self.head.bias)
        )
        out_BHO = nn.functional.linear(hidden_BHD, weight_OD[:, :width], bias_O)
        return out_BHO.add_(nn.functional.linear(ahead_BHF, weight_OD[:, width:]))[..., :count]

    def filled(self, features: Features) -> Tensor:
        """The context. With the cleaning `model` its missing days hold an estimate: what their weekday usually sells, corrected
        by what else is known of series and day. The correction is learned with the forecast; the mask still tells that the day
        is missing.
        """
        context_BLC = features.context_BLC
        if self.fill is None:
            return context_BLC
        told_BL = features.usual_BL[..., None], context_BLC[..., 1:]
        static_BLF = features.static_BF[:, None].expand(-1, context_BLC.shape[1], -1)
        estimate_BL = (features.usual_BL + self.fill(torch.cat([*told_BL, static_BLF], dim=2))[..., 0]).clamp(min=0)
        quantity_BL = torch.where(features.gap_BL, estimate_BL, context_BLC[..., 0])
        return torch.cat([quantity_BL[..., None], context_BLC[..., 1:]], dim=2)

    def _mask(self, x_BHD: Tensor) -> Tensor:
        """A dropout mask that all days of a window share: as good here, and a 28th of the random numbers."""
        ones_B1D = x_BHD.new_ones(x_BHD.shape[0], 1, x_BHD.shape[2])
        mask_B1D: Tensor = self.dropout(ones_B1D)
        return mask_B1D

    def _quantiles(self, out_BHO: Tensor) -> Tensor | None:
        """The lowest level, then what each next one adds: they cannot cross."""
        if self.config.loss != "pinball":
            return None
        increments_BHQ = nn.functional.softplus(out_BHO[..., 1:] - 2.0)
        lowest_BH1 = out_BHO[..., :1]
        return torch.cat([lowest_BH1, lowest_BH1 + increments_BHQ.cumsum(-1)], dim=-1)


def make_trunk(config: ResolvedConfig, *, channels: int) -> nn.Module:
    if config.architecture == "lstm":
        return LstmTrunk(LstmConfig(channels, config.width, config.layers, config.dropout))
    if config.architecture == "transformer":
        return TransformerTrunk(
            TransformerConfig(
                channels, config.context_length, config.width, config.layers, config.heads, config.dropout
            )
        )
    if config.architecture == "mlp":
        return MlpTrunk(MlpConfig(channels, config.context_length, config.width, config.layers, config.dropout))
    return CnnTrunk(CnnConfig(channels, config.width, config.layers, config.dropout))
