"""UL-UNAS: an ultra-lightweight U-Net for speech enhancement, found by architecture search.

X. Rong, D. Wang, Y. Hu, C. Zhu, K. Chen, J. Lu, "UL-UNAS: Ultra-lightweight U-Nets for real-time
speech enhancement via network architecture search", IEEE TASLP 2026; upstream code:
github.com/Xiaobin-Rong/ul-unas. The modules carry upstream's state-dict names, so upstream's
checkpoints load as they are.

Shapes: B clips, C channels, T frames, F frequency bins or bands.
"""

import itertools
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.signal import Signal
from quant.networks.gtcrn.model import (
    DPGRNN,
    ERB,
    HIGH_BANDS,
    LOW_BANDS,
    Decoder,
    Encoder,
    MaskingNetwork,
)

SIGNAL = Signal(
    sample_rate=16000,
    window=512,
    hop=256,
    window_function="hann",
    features="log_magnitude",
    mask="real",
)
GROUPS = 2  # of 1x1 convolutions
GROUPED_BANDS = 4  # that the attention over bands hears at once


class AffinePReLU(nn.Module):
    """PReLU plus a gain and a bias of each channel and band."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.affine_weight = nn.Parameter(torch.ones(channels, bands))
        self.affine_bias = nn.Parameter(torch.zeros(channels, bands))
        self.slope_weight = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        affine = x * self.affine_weight[:, None] + self.affine_bias[:, None]
        return affine + F.prelu(x, self.slope_weight)


class BandAttention(nn.Module):
    """One gate a band and frame, by a GRU both ways over groups of neighbouring bands."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(GROUPED_BANDS, GROUPED_BANDS, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * GROUPED_BANDS, GROUPED_BANDS)

    def forward(self, energy: Tensor) -> Tensor:
        """Energies [B, T, F] to gates in (0, 1), the same shape."""
        batch, frames, bands = energy.shape
        padded = F.pad(energy, (0, -bands % GROUPED_BANDS))
        groups = padded.reshape(batch * frames, -1, GROUPED_BANDS)
        gates = torch.sigmoid(self.fc(self.gru(groups)[0]))
        return gates.reshape(batch, frames, -1)[..., :bands]


class Attention(nn.Module):
    """Causal time-frequency attention: a gate a channel and frame times one a band and frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ta_gru = nn.GRU(channels, 2 * channels, batch_first=True)
        self.ta_fc = nn.Linear(2 * channels, channels)
        self.fa = BandAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Gate [B, C, T, F]."""
        energy = x.square()
        of_channels, of_bands = self.gates(energy.mean(dim=3), energy.mean(dim=1))
        return of_channels[..., None] * x * of_bands[:, None]

    def gates(self, of_channels: Tensor, of_bands: Tensor) -> tuple[Tensor, Tensor]:
        """Energies of channels [B, C, T] and bands [B, T, F] to gates of the same shapes."""
        states = self.ta_gru(of_channels.transpose(1, 2))[0]
        return torch.sigmoid(self.ta_fc(states)).transpose(1, 2), self.fa(of_bands)


class Shuffle(nn.Module):
    """Interleaves the channels of both groups."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        return x.unflatten(1, (GROUPS, -1)).transpose(1, 2).flatten(1, 2)


@dataclass(frozen=True)
class Shape:
    """Of a block: what goes in and out, and its convolution over time and bands."""

    inputs: int
    outputs: int
    bands_in: int
    bands_out: int
    kernel: tuple[int, int]
    stride: int

    def mirrored(self) -> "Shape":
        """Of the decoder's block that takes back what this one of the encoder does."""
        return Shape(
            *(self.outputs, self.inputs, self.bands_out, self.bands_in, self.kernel, self.stride)
        )


def _over_time_and_bands(
    shape: Shape, inputs: int, outputs: int, groups: int, transposed: bool
) -> tuple[nn.Module, ...]:
    """A causal convolution and the padding before it; a transposed one reverses time as well."""
    past, bands = shape.kernel[0] - 1, shape.kernel[1] // 2
    convolution = nn.ConvTranspose2d if transposed else nn.Conv2d
    return (
        nn.ZeroPad2d((0, 0, past, 0)),
        convolution(
            *(inputs, outputs, shape.kernel),
            stride=(1, shape.stride),
            padding=(past if transposed else 0, bands),
            groups=groups,
        ),
        nn.BatchNorm2d(outputs),
    )


def _pointwise(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 1, groups=GROUPS), nn.BatchNorm2d(outputs)


def _depthwise(shape: Shape, transposed: bool) -> tuple[nn.Module, ...]:
    channels = shape.outputs
    return (
        *_over_time_and_bands(shape, channels, channels, channels, transposed),
        AffinePReLU(channels, shape.bands_out),
    )


class PlainBlock(nn.Module):
    """A convolution; the decoder's is the last, and has no activation."""

    def __init__(self, shape: Shape, transposed: bool) -> None:
        super().__init__()
        self.ops = nn.Sequential(
            *_over_time_and_bands(shape, shape.inputs, shape.outputs, 1, transposed),
            nn.Identity() if transposed else AffinePReLU(shape.outputs, shape.bands_out),
            Attention(shape.outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to [B, C', T, F']."""
        return self.ops(x)


class SeparableBlock(nn.Module):
    """A 1x1 convolution in groups, then a depthwise one."""

    def __init__(self, shape: Shape, transposed: bool) -> None:
        super().__init__()
        self.pconv = nn.Sequential(
            *_pointwise(shape.inputs, shape.outputs),
            AffinePReLU(shape.outputs, shape.bands_in),
            Shuffle(),
        )
        self.dconv = nn.Sequential(*_depthwise(shape, transposed), Attention(shape.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to [B, C', T, F']."""
        return self.dconv(self.pconv(x))


class BottleneckBlock(nn.Module):
    """An inverted bottleneck: a depthwise convolution between two 1x1 ones in groups.

    Upstream adds the block's input where it has the output's shape, which is in no block of this
    network.
    """

    def __init__(self, shape: Shape, transposed: bool) -> None:
        super().__init__()
        self.pconv1 = nn.Sequential(
            *_pointwise(shape.inputs, shape.outputs),
            AffinePReLU(shape.outputs, shape.bands_in),
            Shuffle(),
        )
        self.dconv = nn.Sequential(*_depthwise(shape, transposed))
        self.pconv2 = nn.Sequential(
            *_pointwise(shape.outputs, shape.outputs), Attention(shape.outputs), Shuffle()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to [B, C', T, F']."""
        return self.pconv2(self.dconv(self.pconv1(x)))


Block = PlainBlock | SeparableBlock | BottleneckBlock
KINDS: tuple[type[Block], ...] = (
    *(PlainBlock, BottleneckBlock, SeparableBlock),
    *(BottleneckBlock, SeparableBlock),
)
CHANNELS = (1, 12, 24, 24, 32, 16)
KERNELS = ((3, 3), (2, 3), (2, 3), (1, 5), (1, 5))  # over time and bands
STRIDES = (2, 2, 1, 1, 1)


def _shapes() -> list[Shape]:
    """Of the encoder's blocks."""
    shapes, bands = [], LOW_BANDS + HIGH_BANDS
    for channels, kernel, stride in zip(
        itertools.pairwise(CHANNELS), KERNELS, STRIDES, strict=True
    ):
        fewer = (bands - 1) // stride + 1
        shapes.append(Shape(*channels, bands, fewer, kernel, stride))
        bands = fewer
    return shapes


class ULUNAS(MaskingNetwork):
    """The whole network over a clip's spectrogram (offline; the streaming step is derived)."""

    signal = SIGNAL

    def __init__(self) -> None:
        super().__init__()
        self.erb = ERB(SIGNAL)
        blocks = list(zip(KINDS, _shapes(), strict=True))
        self.encoder = Encoder(kind(shape, False) for kind, shape in blocks)
        channels, bands = CHANNELS[-1], blocks[-1][1].bands_out
        self.dpgrnn = nn.Sequential(DPGRNN(channels, bands), DPGRNN(channels, bands))
        self.decoder = Decoder(kind(shape.mirrored(), True) for kind, shape in reversed(blocks))

    def mask(self, features: Tensor) -> Tensor:
        """Features [B, 1, T, bins], log10 of the magnitude, to a mask [B, 1, T, bins] in [0, 1]."""
        skips = self.encoder(self.erb.merge(features))
        bands = torch.sigmoid(self.decoder(self.dpgrnn(skips[-1]), skips))
        return cast(Tensor, self.erb.split(bands))
