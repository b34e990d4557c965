"""An encoder-decoder of GTCRN's family with more blocks and a choice of skip fusion.

Features, bands, blocks, dual-path RNNs and mask are those of GTCRN (see
`quant.networks.gtcrn.model`). After GTCRN's first convolution come six temporal blocks, the
frequency being halved between the third and the fourth; the decoder mirrors them. Before each block
of the decoder, what the mirrored block of the encoder gave is fused with what the decoder has.
Fusion by concatenation is that of O. Ronneberger et al., "U-Net", MICCAI 2015; fusion by gates that
of O. Oktay et al., "Attention U-Net: Learning where to look for the pancreas", 2018, with two-way
gates.

Shapes: B clips, C channels, T frames, F frequency bands.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.errors import UserError
from quant.networks.gtcrn.model import (
    CHANNELS,
    DILATIONS,
    DPGRNN,
    ERB,
    ConvBlock,
    GTConvBlock,
    MaskingNetwork,
    extract_subband_features,
)

BOTTOM_BANDS = 33
# Channels of the 1x1 convolution over [encoder, decoder] that each fusion has.
FUSION_CHANNELS = {"none": 0, "add": 0, "concat": CHANNELS, "attention": 1, "gated": CHANNELS}
# "mixed", from the deepest block of the decoder to the shallowest.
MIXED = ("add", "add", "attention", "attention", "concat", "concat")
FUSIONS = (*FUSION_CHANNELS, "mixed")


class Fusion(nn.Module):
    """Fuses the encoder's feature e with the decoder's feature d.

    none: d. add: e + d. concat: a 1x1 convolution of [e, d]. attention: alpha e + (1 - alpha) d
    with alpha the sigmoid of a 1x1 convolution of [e, d] to one map. gated: the same with one gate
    per channel. Where e has other bands than d, it is interpolated to d's.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        channels = FUSION_CHANNELS[kind]
        self.conv = nn.Conv2d(2 * CHANNELS, channels, 1) if channels else None

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """E [B, C, T, F'] and d [B, C, T, F] to [B, C, T, F]."""
        if self.kind == "none":
            return x
        skip = interpolate_bands(skip, x.shape[-1])
        if self.conv is None:
            return skip + x
        mixed = self.conv(torch.cat([skip, x], dim=1))
        if self.kind == "concat":
            return mixed
        return x + torch.sigmoid(mixed) * (skip - x)


def interpolate_bands(x: Tensor, bands: int) -> Tensor:
    """[B, C, T, F] to [B, C, T, bands], linearly, the first and last band staying in place.

    Halving keeps every second band, so that bands which lie at the same frequency meet.
    """
    if x.shape[-1] == bands:
        return x
    return F.interpolate(x, (x.shape[-2], bands), mode="bilinear", align_corners=True)


class GTCRNUNet(MaskingNetwork):
    """The whole network over a clip's spectrogram (offline; the streaming step is derived).

    Args:
        fusion: one of `FUSIONS`; "mixed" adds in deep blocks, attends in the middle and
            concatenates in shallow ones.
        up_sampling_after: number of temporal blocks of the decoder before the frequency is
            doubled, 0 to 6; 3 mirrors the encoder, with any other some skips are interpolated.

    Raises:
        UserError: an option has none of its values.
    """

    def __init__(self, fusion: str = "mixed", up_sampling_after: int = 3) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise UserError(f"there is no fusion {fusion!r}; choose one of: {', '.join(FUSIONS)}")
        if up_sampling_after not in range(7):
            raise UserError(f"up_sampling_after is {up_sampling_after!r}, but has to be 0 to 6")
        self.erb = ERB()

        def temporal(dilations: tuple[int, ...], transposed: bool) -> list[nn.Module]:
            return [GTConvBlock(CHANNELS, dilation, transposed) for dilation in dilations]

        self.encoder = nn.ModuleList(
            [
                ConvBlock(9, CHANNELS, groups=1, transposed=False),
                *temporal(DILATIONS, transposed=False),
                ConvBlock(CHANNELS, CHANNELS, groups=2, transposed=False),
                *temporal(DILATIONS, transposed=False),
            ]
        )
        self.dpgrnn1 = DPGRNN(CHANNELS, BOTTOM_BANDS)
        self.dpgrnn2 = DPGRNN(CHANNELS, BOTTOM_BANDS)
        kinds = MIXED if fusion == "mixed" else (fusion,) * len(MIXED)
        self.fusions = nn.ModuleList([Fusion(kind) for kind in kinds])
        decoder = temporal(2 * DILATIONS[::-1], transposed=True)
        decoder.insert(up_sampling_after, ConvBlock(CHANNELS, CHANNELS, groups=2, transposed=True))
        self.decoder = nn.ModuleList(
            [*decoder, ConvBlock(CHANNELS, 2, groups=1, transposed=True, last=True)]
        )

    def mask(self, features: Tensor) -> Tensor:
        """Features [B, 3, T, 257] (magnitude, real, imaginary) to a mask [B, 2, T, 257]."""
        x = extract_subband_features(self.erb.merge(features))
        skips = []
        for block in self.encoder:
            x = block(x)
            if isinstance(block, GTConvBlock):
                skips.append(x)
        x = self.dpgrnn2(self.dpgrnn1(x))
        fusions = iter(self.fusions)
        for block in self.decoder:
            if isinstance(block, GTConvBlock):
                x = next(fusions)(skips.pop(), x)
            x = block(x)
        return self.erb.split(x)
