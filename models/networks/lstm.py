"""LSTM trunk: a recurrent network over weekly patches of the context.

Reading seven days at a step keeps a context of two months at eight steps: fast on a CPU, and the weekday's place in
the step is fixed. Hochreiter & Schmidhuber 1997; patches after Nie et al. 2023 (arXiv 2211.14730).

Shapes: B windows, L context days, C channels, W weeks, D width.
"""

from dataclasses import dataclass

from torch import Tensor, nn

PATCH = 7


@dataclass(frozen=True)
class LstmConfig:
    channels: int
    width: int
    layers: int
    dropout: float


class LstmTrunk(nn.Module):
    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH * config.channels, config.width)
        between = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.width, config.width, config.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_BWD = nn.functional.gelu(self.embed(weekly_patches(x_BLC)))
        h_BWD, _ = self.lstm(x_BWD)
        state_BD: Tensor = self.dropout(h_BWD[:, -1])
        return state_BD


def weekly_patches(x_BLC: Tensor) -> Tensor:
    """Seven days of channels side by side, the newest week complete; the oldest is filled with zeros (masked)."""
    batch, length, channels = x_BLC.shape
    short = -length % PATCH
    if short:
        x_BLC = nn.functional.pad(x_BLC, (0, 0, short, 0))
    return x_BLC.reshape(batch, (length + short) // PATCH, PATCH * channels)
