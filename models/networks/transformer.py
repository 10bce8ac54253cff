"""Transformer trunk: self-attention over weekly patches of the context, pre-norm, learned positions.

Vaswani et al. 2017 (arXiv 1706.03762); patches after Nie et al. 2023 (arXiv 2211.14730). A learned query token is
appended; its last state is the summary, so every patch is weighed by what the forecast needs.

Shapes: B windows, L context days, C channels, W weeks, N = W + 1 tokens, D width, A heads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.lstm import PATCH, weekly_patches


@dataclass(frozen=True)
class TransformerConfig:
    channels: int
    context_length: int
    width: int
    layers: int
    heads: int
    dropout: float


class TransformerTrunk(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        weeks = -(-config.context_length // PATCH)
        self.embed = nn.Linear(PATCH * config.channels, config.width)
        self.position_ND = nn.Parameter(0.02 * torch.randn(weeks + 1, config.width))
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_BND = nn.functional.pad(self.embed(weekly_patches(x_BLC)), (0, 0, 0, 1)) + self.position_ND
        for block in self.blocks:
            x_BND = block(x_BND)
        state_BD: Tensor = self.norm(x_BND[:, -1])
        return state_BD


class TransformerBlock(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_mlp = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, 2 * config.width)
        self.down = nn.Linear(2 * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.dropout(self.attend(self.norm_attention(x_BND)))
        hidden_BNE = nn.functional.gelu(self.up(self.norm_mlp(x_BND)))
        out_BND: Tensor = x_BND + self.dropout(self.down(hidden_BNE))
        return out_BND

    def attend(self, x_BND: Tensor) -> Tensor:
        batch, tokens, width = x_BND.shape
        split = self.qkv(x_BND).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed_BAND = nn.functional.scaled_dot_product_attention(query, key, value)
        out_BND: Tensor = self.out(mixed_BAND.transpose(1, 2).reshape(batch, tokens, width))
        return out_BND
