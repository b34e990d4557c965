"""The first stage of DTLN: two LSTMs that find a gain for every bin's magnitude.

Written from the paper (N. L. Westhausen, B. T. Meyer, "Dual-signal transformation LSTM network for
real-time noise suppression", Interspeech 2020); weights are random until trained. DTLN has no
window function; here is one that a frame loop's overlap-add needs.
"""

import torch
from torch import Tensor, nn

from edge_se.signal import Signal

UNITS = 128


class DtlnFirstStage(nn.Module):
    """One frame: magnitude, real and imaginary part [3, 257] in, gains [1, 257] out."""

    signal = Signal(16000, 512, 128, features="magnitude_real_imaginary", mask="real")

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(257, UNITS, batch_first=True)
        self.second = nn.LSTM(UNITS, UNITS, batch_first=True)
        self.gains = nn.Linear(UNITS, 257)

    def initial_states(self) -> tuple[Tensor, ...]:
        """Hidden state and cell of each LSTM."""
        return tuple(torch.zeros(1, 1, UNITS) for _ in range(4))

    def forward(
        self, features: Tensor, hidden1: Tensor, cell1: Tensor, hidden2: Tensor, cell2: Tensor
    ) -> tuple[Tensor, ...]:
        """The mask, and the states for the next frame."""
        x, (hidden1, cell1) = self.first(features[None, :1], (hidden1, cell1))
        x, (hidden2, cell2) = self.second(x, (hidden2, cell2))
        return torch.sigmoid(self.gains(x[0])), hidden1, cell1, hidden2, cell2


def build() -> nn.Module:
    """The network, not yet trained."""
    torch.manual_seed(0)
    return DtlnFirstStage()
