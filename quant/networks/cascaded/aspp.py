"""CascadedASPPNet: vocal separation in three stages over magnitude spectrograms.

Upstream: version 4 of github.com/tsurumeso/vocal-remover. Two nets for the low and the high half of
the bins, then two over all of them; each sees the input and everything before it.
"""

import torch
from torch import Tensor, nn

from edge_se.separator import Aggressiveness
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

OFFSET = 128  # frames on each side of a window that see too little of their surroundings
DILATIONS = ((4, 4), (8, 8), (16, 16))
BAND_WIDTH, FULL_WIDTH = 16, 32  # channels of the first two stages' nets and of the last one's
BRIDGES = (8, 16)  # channels of the bridges before the second and third stage


class BaseASPPNet(nn.Module):
    """Four encoders, ASPP, four decoders."""

    def __init__(self, inputs: int, width: int, options: BlockOptions) -> None:
        super().__init__()
        sizes = [inputs, *(scale * width for scale in (1, 2, 4, 8))]
        self.enc1, self.enc2, self.enc3, self.enc4 = (
            Encoder(sizes[level], sizes[level + 1], options, (1, 2)) for level in range(4)
        )
        self.aspp = ASPP(8 * width, 16 * width, options, 8 * width, DILATIONS, separable=True)
        self.dec4 = Decoder(24 * width, 8 * width, options, "conv")
        self.dec3 = Decoder(12 * width, 4 * width, options, "conv")
        self.dec2 = Decoder(6 * width, 2 * width, options, "conv")
        self.dec1 = Decoder(3 * width, width, options, "conv")

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, F, T] to [B, width, F, T]."""
        skips = []
        for encoder in (self.enc1, self.enc2, self.enc3, self.enc4):
            skip, x = encoder(x)
            skips.append(skip)
        x = self.aspp(x)
        for decoder in (self.dec4, self.dec3, self.dec2, self.dec1):
            x = decoder(x, skips.pop())
        return x


class CascadedASPPNet(Windowed):
    """The whole network: magnitudes of a stereo mixture to a mask of its accompaniment."""

    def __init__(
        self,
        n_fft: int = 2048,
        activation: str = "relu",
        encoder_activation: str = "leaky_relu",
        dropout: float = 0.1,
        sample_rate: int = SAMPLE_RATE,
        hop: int | None = None,
        window_frames: int = 512,
    ) -> None:
        """Build the network.

        Args:
            n_fft: length of the transform; the network works on its n_fft / 2 lowest bins.
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
        options = BlockOptions(activation, encoder_activation, dropout)
        self.stg1_low_band_net = BaseASPPNet(2, BAND_WIDTH, options)
        self.stg1_high_band_net = BaseASPPNet(2, BAND_WIDTH, options)
        self.stg2_bridge = Conv2DBNActiv(2 + BAND_WIDTH, BRIDGES[0], 1, activation)
        self.stg2_full_band_net = BaseASPPNet(BRIDGES[0], BAND_WIDTH, options)
        self.stg3_bridge = Conv2DBNActiv(2 + 2 * BAND_WIDTH, BRIDGES[1], 1, activation)
        self.stg3_full_band_net = BaseASPPNet(BRIDGES[1], FULL_WIDTH, options)
        self.out = nn.Conv2d(FULL_WIDTH, 2, 1, bias=False)
        self.aux1_out = nn.Conv2d(BAND_WIDTH, 2, 1, bias=False)
        self.aux2_out = nn.Conv2d(BAND_WIDTH, 2, 1, bias=False)

    def forward(
        self, magnitude: Tensor, aggressiveness: Aggressiveness | None = None
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Mask of the accompaniment.

        Args:
            magnitude: [B, 2, n_fft / 2 + 1, T], the recording's largest being 1; T a multiple of
                16.
            aggressiveness: sharpens the mask; not in training.

        Returns:
            The mask, of the same shape, in (0, 1). In training mode the masks of the first and
            second stage as well.
        """
        bins = self.n_fft // 2
        x = magnitude[:, :, :bins]
        low, high = x.chunk(2, dim=2)
        first = torch.cat([self.stg1_low_band_net(low), self.stg1_high_band_net(high)], dim=2)
        second = self.stg2_full_band_net(self.stg2_bridge(torch.cat([x, first], dim=1)))
        third = self.stg3_full_band_net(self.stg3_bridge(torch.cat([x, first, second], dim=1)))
        mask = replicate_bins(torch.sigmoid(self.out(third)), bins + 1)
        if self.training:
            first_mask, second_mask = (
                replicate_bins(torch.sigmoid(out(features)), bins + 1)
                for out, features in ((self.aux1_out, first), (self.aux2_out, second))
            )
            return mask, first_mask, second_mask
        if aggressiveness is None:
            return mask
        return mask ** torch.from_numpy(aggressiveness.exponents(bins + 1))[:, None]

    def predict_mask(
        self, magnitude: Tensor, aggressiveness: Aggressiveness | None = None
    ) -> Tensor:
        """As `forward` in evaluation mode, cropped to [B, 2, F, T - 2 * offset]."""
        mask = self(magnitude, aggressiveness)
        return mask[..., self.offset : -self.offset]

    def predict(self, magnitude: Tensor, aggressiveness: Aggressiveness | None = None) -> Tensor:
        """The accompaniment's magnitudes, cropped to [B, 2, F, T - 2 * offset]."""
        cropped = magnitude[..., self.offset : -self.offset]
        return self.predict_mask(magnitude, aggressiveness) * cropped
