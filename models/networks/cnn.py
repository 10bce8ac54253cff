"""CNN trunk: a convolution over days, one that steps by weeks, then residual dilated ones over the weeks.

Every convolution is causal. Stepping by seven days keeps the cost of a long context low; each layer after it doubles
its dilation and is gated (van den Oord et al. 2016, arXiv 1609.03499; Bai et al. 2018, arXiv 1803.01271), so that
n layers see 2^(n+1) - 1 weeks. The summary joins the state of the newest week with the mean over all weeks.

Shapes: B windows, L context days, C channels, D width, I inner channels, W weeks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

WEEK = 7


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
        self.days = nn.Conv1d(config.channels, inner, kernel_size=WEEK)
        self.weeks = nn.Conv1d(inner, config.width, kernel_size=WEEK, stride=WEEK)
        self.blocks = nn.ModuleList(
            CausalBlock(config.width, dilation=2**i, dropout=config.dropout) for i in range(config.layers)
        )
        self.join = nn.Linear(2 * config.width, config.width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        short = -x_BLC.shape[1] % WEEK
        x_BCL = nn.functional.pad(x_BLC.transpose(1, 2), (short + WEEK - 1, 0))
        x_BIL = nn.functional.gelu(self.days(x_BCL))
        x_BDW = nn.functional.gelu(self.weeks(x_BIL))
        for block in self.blocks:
            x_BDW = block(x_BDW)
        state_BD: Tensor = self.join(torch.cat([x_BDW[:, :, -1], x_BDW.mean(dim=2)], dim=1))
        return state_BD


class CausalBlock(nn.Module):
    def __init__(self, width: int, *, dilation: int, dropout: float, kernel: int = 3) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.conv = nn.Conv1d(width, 2 * width, kernel, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BDW: Tensor) -> Tensor:
        gated_BDW = nn.functional.glu(self.conv(nn.functional.pad(x_BDW, (self.reach, 0))), dim=1)
        out_BDW: Tensor = x_BDW + self.dropout(gated_BDW)
        return out_BDW
