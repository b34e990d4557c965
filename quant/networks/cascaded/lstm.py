"""CascadedNet: CascadedASPPNet's successor, with two bands in two stages and an LSTM in each net.

Upstream: version 5 of github.com/tsurumeso/vocal-remover.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edge_se.errors import UserError
from quant.networks.cascaded.blocks import (
    ASPP,
    SAMPLE_RATE,
    BlockOptions,
    Conv2DBNActiv,
    Decoder,
    Encoder,
    Windowed,
    replicate_bins,
)

OFFSET = 64  # frames on each side of a window that see too little of their surroundings
DILATIONS = ((4, 2), (8, 4), (12, 6))


class LSTMModule(nn.Module):
    """All frequencies of a frame as one vector, run through a bidirectional LSTM over time."""

    def __init__(self, channels: int, bins: int, width: int, options: BlockOptions) -> None:
        super().__init__()
        self.conv = Conv2DBNActiv(channels, 1, 1, options.activation)
        self.lstm = nn.LSTM(bins, width // 2, bidirectional=True)
        self.dense = nn.Sequential(nn.Linear(width, bins), nn.BatchNorm1d(bins), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] to [B, 1, F, T]."""
        batch, _, bins, frames = x.shape
        rows = self.conv(x)[:, 0].permute(2, 0, 1)
        states = self.lstm(rows)[0]
        dense = self.dense(states.reshape(frames * batch, -1))
        return dense.reshape(frames, batch, 1, bins).permute(1, 2, 3, 0)


class BaseNet(nn.Module):
    """One block and four encoders, ASPP, four decoders, the LSTM before the last of them."""

    def __init__(
        self, inputs: int, width: int, lstm_bins: int, lstm_width: int, options: BlockOptions
    ) -> None:
        super().__init__()
        sizes = [scale * width for scale in (1, 2, 4, 6, 8)]
        self.enc1 = Conv2DBNActiv(inputs, width, 3, options.activation)
        self.enc2, self.enc3, self.enc4, self.enc5 = (
            Encoder(sizes[level], sizes[level + 1], options, (2, 1)) for level in range(4)
        )
        self.aspp = ASPP(8 * width, 8 * width, options, 8 * width, DILATIONS, separable=False)
        self.dec4 = Decoder(14 * width, 6 * width, options)
        self.dec3 = Decoder(10 * width, 4 * width, options)
        self.dec2 = Decoder(6 * width, 2 * width, options)
        self.lstm_dec2 = LSTMModule(2 * width, lstm_bins, lstm_width, options)
        self.dec1 = Decoder(3 * width + 1, width, options)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, F, T] to [B, width, F, T]."""
        skips = [self.enc1(x)]
        for encoder in (self.enc2, self.enc3, self.enc4, self.enc5):
            skips.append(encoder(skips[-1])[1])
        x = self.aspp(skips.pop())
        for decoder in (self.dec4, self.dec3, self.dec2):
            x = decoder(x, skips.pop())
        return self.dec1(torch.cat([x, self.lstm_dec2(x)], dim=1), skips.pop())


class CascadedNet(Windowed):
    """The whole network: magnitudes of a stereo mixture to a mask of its accompaniment."""

    def __init__(
        self,
        n_fft: int = 2048,
        nout: int = 32,
        nout_lstm: int = 128,
        activation: str = "relu",
        encoder_activation: str = "leaky_relu",
        dropout: float = 0.1,
        sample_rate: int = SAMPLE_RATE,
        hop: int | None = None,
        window_frames: int = 256,
    ) -> None:
        """Build the network.

        Args:
            n_fft: length of the transform; the network works on its n_fft / 2 lowest bins.
            nout: channels of the last stage's net, a multiple of 4.
            nout_lstm: width of its LSTM, both directions together, a multiple of 4.
            activation: after every convolution but the encoders'.
            encoder_activation: after the encoders' convolutions.
            dropout: in training, of the ASPP's output channels.
            sample_rate: of what it was trained with, in Hz.
            hop: of the transform, in samples; None for half of n_fft.
            window_frames: frames of a window, a multiple of 16.

        Raises:
            UserError: an option does not fit.
        """
        super().__init__(n_fft, OFFSET, sample_rate, hop, window_frames)
        for name, value in (("nout", nout), ("nout_lstm", nout_lstm)):
            if value <= 0 or value % 4:
                raise UserError(f"{name} is {value}, but has to be a multiple of 4")
        options = BlockOptions(activation, encoder_activation, dropout)
        bins = n_fft // 4  # of the whole input where the LSTM is, after one halving

        def low_net(inputs: int, width: int) -> nn.Sequential:
            return nn.Sequential(
                BaseNet(inputs, width, bins // 2, nout_lstm, options),
                Conv2DBNActiv(width, width // 2, 1, activation),
            )

        def high_net(inputs: int, width: int) -> BaseNet:
            return BaseNet(inputs, width, bins // 2, nout_lstm // 2, options)

        self.stg1_low_band_net = low_net(2, nout // 2)
        self.stg1_high_band_net = high_net(2, nout // 4)
        self.stg2_low_band_net = low_net(nout // 4 + 2, nout)
        self.stg2_high_band_net = high_net(nout // 4 + 2, nout // 2)
        self.stg3_full_band_net = BaseNet(3 * nout // 4 + 2, nout, bins, nout_lstm, options)
        self.out = nn.Conv2d(nout, 2, 1, bias=False)
        self.aux_out = nn.Conv2d(3 * nout // 4, 2, 1, bias=False)

    def forward(self, magnitude: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Mask of the accompaniment.

        Args:
            magnitude: [B, 2, n_fft / 2 + 1, T], the recording's largest being 1; T a multiple of
                16.

        Returns:
            The mask, of the same shape, in (0, 1). In training mode the first two stages' mask as
            well.
        """
        bins = self.n_fft // 2
        x = magnitude[:, :, :bins]
        low, high = x.chunk(2, dim=2)
        low1, high1 = self.stg1_low_band_net(low), self.stg1_high_band_net(high)
        low2 = self.stg2_low_band_net(torch.cat([low, low1], dim=1))
        high2 = self.stg2_high_band_net(torch.cat([high, high1], dim=1))
        first, second = torch.cat([low1, high1], dim=2), torch.cat([low2, high2], dim=2)
        third = self.stg3_full_band_net(torch.cat([x, first, second], dim=1))
        mask = replicate_bins(torch.sigmoid(self.out(third)), bins + 1)
        if self.training:
            early = torch.sigmoid(self.aux_out(torch.cat([first, second], dim=1)))
            return mask, replicate_bins(early, bins + 1)
        return mask

    def predict_mask(self, magnitude: Tensor) -> Tensor:
        """As `forward` in evaluation mode, cropped to [B, 2, F, T - 2 * offset]."""
        return self(magnitude)[..., self.offset : -self.offset]

    def predict(self, magnitude: Tensor) -> Tensor:
        """The accompaniment's magnitudes, cropped to [B, 2, F, T - 2 * offset]."""
        return self.predict_mask(magnitude) * magnitude[..., self.offset : -self.offset]


def options_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of the network that a state dict belongs to; empty where it is of another one."""
    out = weights.get("out.weight")
    lstm = "stg3_full_band_net.lstm_dec2.lstm.weight"
    from_input, from_state = weights.get(f"{lstm}_ih_l0"), weights.get(f"{lstm}_hh_l0")
    if out is None or from_input is None or from_state is None:
        return {}
    if out.dim() < 2 or from_input.dim() < 2 or from_state.dim() < 2:
        return {}
    return {
        "n_fft": 4 * from_input.shape[1],
        "nout": out.shape[1],
        "nout_lstm": 2 * from_state.shape[1],
    }
