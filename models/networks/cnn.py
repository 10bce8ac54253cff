"""CNN trunk: residual dilated causal convolutions over the days of the context.

Each layer doubles the dilation, so four layers of kernel 7 and stride-free convolutions see the whole default context
(van den Oord et al. 2016, arXiv 1609.03499; Bai et al. 2018, arXiv 1803.01271). The summary joins the state of the
last day with the mean over all days.

Shapes: B windows, L context days, C channels, D width.
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
    kernel: int = 3


class CnnTrunk(nn.Module):
    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        self.embed = nn.Conv1d(config.channels, config.width, kernel_size=1)
        self.blocks = nn.ModuleList(CausalBlock(config, dilation=2**i) for i in range(config.layers))
        self.join = nn.Linear(2 * config.width, config.width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_BDL = self.embed(x_BLC.transpose(1, 2))
        for block in self.blocks:
            x_BDL = block(x_BDL)
        state_BD: Tensor = self.join(torch.cat([x_BDL[:, :, -1], x_BDL.mean(dim=2)], dim=1))
        return state_BD


class CausalBlock(nn.Module):
    def __init__(self, config: CnnConfig, *, dilation: int) -> None:
        super().__init__()
        self.reach = (config.kernel - 1) * dilation
        self.conv = nn.Conv1d(config.width, 2 * config.width, config.kernel, dilation=dilation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BDL: Tensor) -> Tensor:
        gated_BDL = nn.functional.glu(self.conv(nn.functional.pad(x_BDL, (self.reach, 0))), dim=1)
        out_BDL: Tensor = x_BDL + self.dropout(gated_BDL)
        return out_BDL
