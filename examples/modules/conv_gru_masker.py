"""A small masker of one's own: two convolutions, the second over three frames, a GRU, gains.

    edge-se quantize --module conv_gru_masker.py:build --checkpoint weights.pt \
        --precision int8 --out masker.tflite

Without --checkpoint its weights are random ones, always the same.
"""

import torch
from torch import Tensor, nn

from edge_se.signal import Signal


class ConvGruMasker(nn.Module):
    """One frame: logarithm of the magnitude [1, 257] in, gains [1, 257] out."""

    signal = Signal(16000, 512, 256, "hann", features="log_magnitude", mask="real")

    def __init__(self, channels: int = 8, hidden: int = 64) -> None:
        super().__init__()
        self.spread = nn.Conv2d(1, channels, (1, 5), stride=(1, 2), padding=(0, 2))
        self.norm = nn.BatchNorm2d(channels)
        self.over_time = nn.Conv2d(channels, channels, (3, 3), stride=(1, 2), padding=(0, 1))
        self.squeeze = nn.Linear(channels * 65, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.gains = nn.Linear(hidden, 257)

    def initial_states(self) -> tuple[Tensor, ...]:
        """The last two frames of the first convolution, and the GRU's state."""
        channels, hidden = self.norm.num_features, self.gru.hidden_size
        return torch.zeros(1, channels, 2, 129), torch.zeros(1, 1, hidden)

    def forward(
        self, features: Tensor, past: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The mask, and both states for the next frame."""
        x = torch.relu(self.norm(self.spread(features[None, None])))
        frames = torch.cat([past, x], dim=2)
        x = torch.relu(self.over_time(frames))
        x, hidden = self.gru(torch.relu(self.squeeze(x.reshape(1, 1, -1))), hidden)
        return torch.sigmoid(self.gains(x[0])), frames[:, :, 1:], hidden


def build() -> nn.Module:
    """The network, not yet trained."""
    torch.manual_seed(0)
    return ConvGruMasker()
