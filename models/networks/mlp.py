"""MLP trunk: residual layers over the whole context at once, the cheapest of the trunks.

After TiDE's encoder (Das et al. 2023, arXiv 2304.08424): every day and channel of the context is seen by one wide layer;
residual blocks follow.

Shapes: B windows, L context days, C channels, D width.
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class MlpConfig:
    channels: int
    context_length: int
    width: int
    layers: int
    dropout: float


class MlpTrunk(nn.Module):
    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.context_length * config.channels, config.width)
        self.blocks = nn.ModuleList(ResidualBlock(config.width, config.dropout) for _ in range(config.layers))

    def forward(self, x_BLC: Tensor) -> Tensor:
        state_BD: Tensor = self.embed(x_BLC.flatten(1))
        for block in self.blocks:
            state_BD = block(state_BD)
        return state_BD


class ResidualBlock(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BD: Tensor) -> Tensor:
        hidden_BE = nn.functional.gelu(self.up(nn.functional.gelu(x_BD)))
        out_BD: Tensor = self.norm(x_BD + self.dropout(self.down(hidden_BE)))
        return out_BD
