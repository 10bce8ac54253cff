"""CNN trunk: residual dilated causal convolutions over the days of the context.

Each layer doubles the dilation and is gated (van den Oord et al. 2016, arXiv 1609.03499; Bai et al. 2018, arXiv
1803.01271). Inside, half the width is enough and four times as fast. The summary joins the state of the last day,
which sees 1 + 2 * (2^layers - 1) days, with the mean over all days.

Shapes: B windows, L context days, C channels, D width, I inner channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class CnnConfig:
    channels: int
    width: int
    layers: int
    dropout: float


class CnnTrunk(nn.Module):
    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        inner = config.width // 2
        self.embed = nn.Conv1d(config.channels, inner, kernel_size=1)
        self.blocks = nn.ModuleList(
            CausalBlock(inner, dilation=2**i, dropout=config.dropout) for i in range(config.layers)
        )
        self.join = nn.Linear(2 * inner, config.width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_BIL = self.embed(x_BLC.transpose(1, 2))
        for block in self.blocks:
            x_BIL = block(x_BIL)
        state_BD: Tensor = self.join(torch.cat([x_BIL[:, :, -1], x_BIL.mean(dim=2)], dim=1))
        return state_BD


class CausalBlock(nn.Module):
    def __init__(self, inner: int, *, dilation: int, dropout: float, kernel: int = 3) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inner, 2 * inner, kernel, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BIL: Tensor) -> Tensor:
        gated_BIL = nn.functional.glu(self.conv(nn.functional.pad(x_BIL, (self.reach, 0))), dim=1)
        out_BIL: Tensor = x_BIL + self.dropout(gated_BIL)
        return out_BIL
