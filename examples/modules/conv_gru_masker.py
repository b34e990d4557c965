"""A small masker of one's own: two convolutions, the second over three frames, a GRU, gains.

    python train_conv_gru_masker.py CLEAN NOISE weights.pt
    edge-se quantize --module conv_gru_masker.py:build --checkpoint weights.pt --out masker.tflite

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
        gains, past, hidden = self.clip(features[None, None], past, hidden)
        return gains[0], past, hidden

    def clip(self, features: Tensor, past: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same for clips at once, as training wants it: [B, 1, T, 257] to [B, T, 257]."""
        frames = torch.cat([past, torch.relu(self.norm(self.spread(features)))], dim=2)
        x = torch.relu(self.over_time(frames)).transpose(1, 2).flatten(2)
        x, hidden = self.gru(torch.relu(self.squeeze(x)), hidden)
        return torch.sigmoid(self.gains(x)), frames[:, :, -2:], hidden


def build() -> nn.Module:
    """The network, not yet trained."""
    torch.manual_seed(0)
    return ConvGruMasker()
