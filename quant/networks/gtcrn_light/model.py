"""GTCRN-Light v3: a lighter network of GTCRN's family, 8 K parameters.

Upstream code: github.com/zerong7777-boop/gtcrn-light (v3), after GTCRN (see
`quant.networks.gtcrn.model`). The modules carry upstream's state-dict names, so upstream's
checkpoint loads as it is.

Upstream pads the convolutions over time on both sides: a mask depends on 22 future frames. With
`causal` the same weights see past frames only; the masks are then others, and fine-tuning brings
their quality back (`edge-se train --init`).

Shapes: B clips, C channels, T frames, F frequency bins or bands.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.errors import UserError
from quant.networks.gtcrn.model import (
    DILATIONS,
    LOW_BANDS,
    Bands,
    MaskingNetwork,
    erb_filter_bank,
)

CHANNELS = 12
BOTTLENECK = 9  # features inside the dual-path GRUs
GATE_FRAMES = 3  # taps of the temporal gate
NORMALIZATION_EPSILON = 1e-8


class LightERB(Bands):
    """Bands whose matrices are buffers, transposed."""

    low_bands = LOW_BANDS

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("W_bm", erb_filter_bank().T.contiguous())
        self.register_buffer("W_bs", erb_filter_bank())

    @property
    def merging(self) -> Tensor:  # type: ignore[override]
        """[64, 192]."""
        return self.get_buffer("W_bm").T

    @property
    def splitting(self) -> Tensor:  # type: ignore[override]
        """[192, 64]."""
        return self.get_buffer("W_bs").T


class SubbandFilter(nn.Module):
    """Mixes each feature's band with its two neighbours."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(features, features, (1, 3), padding=(0, 1), groups=features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        return self.dw(x)


class TemporalGate(nn.Module):
    """One gate per channel and frame from the energies of three frames."""

    def __init__(self, channels: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.dw = nn.Conv1d(channels, channels, GATE_FRAMES, groups=channels)
        self.pw = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Gate [B, C, T, F] by a value in (0, 1) per channel and frame."""
        energy = x.square().mean(dim=-1)
        energy = F.pad(energy, (GATE_FRAMES - 1 - self.lookahead, self.lookahead))
        return x * torch.sigmoid(self.pw(self.dw(energy)))[..., None]


class SeparableBlock(nn.Module):
    """Depthwise convolution with stride 2 over frequency (transposed in the decoder), then 1x1."""

    def __init__(self, inputs: int, outputs: int, transposed: bool) -> None:
        super().__init__()
        convolution: Callable[..., nn.Module] = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.dw = convolution(
            inputs, inputs, (1, 3), stride=(1, 2), padding=(0, 1), groups=inputs, bias=False
        )
        self.pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to [B, C', T, F'] with F' about half or twice F."""
        return self.act(self.bn(self.pw(self.dw(x))))


class LightGTConvBlock(nn.Module):
    """Depthwise dilated convolution over time, 1x1 convolution, temporal gate, residual.

    Attributes:
        past_frames: frames before the newest one that its convolution sees.
        lookahead: future frames that its output depends on.
    """

    def __init__(self, channels: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.past_frames = 2 * dilation
        self._future_frames = 0 if causal else dilation
        self.ds = nn.Conv2d(
            channels,
            channels,
            (3, 3),
            padding=(0, 1),
            dilation=(dilation, 1),
            groups=channels,
            bias=False,
        )
        self.pw = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU()
        self.tra = TemporalGate(channels, 0 if causal else GATE_FRAMES // 2)
        self.lookahead = self._future_frames + self.tra.lookahead

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        padded = F.pad(x, (0, 0, self.past_frames - self._future_frames, self._future_frames))
        return x + self.tra(self.act(self.bn(self.pw(self.ds(padded)))))


class BottleneckedDualPath(nn.Module):
    """Dual-path RNN on fewer features: both ways over frequency, then forward over time.

    Both paths share the projection into the bottleneck; LayerNorm is over channels.
    """

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.pre = nn.Linear(channels, bottleneck, bias=False)
        self.intra = nn.GRU(bottleneck, bottleneck, batch_first=True, bidirectional=True)
        self.post = nn.Linear(2 * bottleneck, channels, bias=False)
        self.inter = nn.GRU(bottleneck, bottleneck, batch_first=True)
        self.post2 = nn.Linear(bottleneck, channels, bias=False)
        self.ln1 = nn.LayerNorm(channels, eps=NORMALIZATION_EPSILON)
        self.ln2 = nn.LayerNorm(channels, eps=NORMALIZATION_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        x = x.permute(0, 2, 3, 1)
        rows = self.pre(x)
        intra = self.post(self.intra(rows.flatten(0, 1))[0])
        x = self.ln1(x + intra.view_as(x))
        over_time = self.pre(x).transpose(1, 2)
        inter = self.post2(self.inter(over_time.flatten(0, 1))[0])
        x = self.ln2(x + inter.unflatten(0, over_time.shape[:2]).transpose(1, 2))
        return x.permute(0, 3, 1, 2)


class Half(nn.Module):
    """Encoder or decoder: its blocks in a row."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class GTCRNLight(MaskingNetwork):
    """The whole network over a clip's spectrogram (offline; the streaming step is derived).

    Args:
        causal: pad the convolutions over time on the left only.

    Raises:
        UserError: `causal` is neither true nor false.
    """

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        if not isinstance(causal, bool):
            raise UserError(f"causal is {causal!r}, but has to be true or false")
        self.erb = LightERB()
        self.sfe = SubbandFilter(3)
        self.enc = Half(
            [
                SeparableBlock(3, CHANNELS, transposed=False),
                SeparableBlock(CHANNELS, CHANNELS, transposed=False),
                *(LightGTConvBlock(CHANNELS, dilation, causal) for dilation in DILATIONS),
            ]
        )
        self.dp1 = BottleneckedDualPath(CHANNELS, BOTTLENECK)
        self.dec = Half(
            [
                *(LightGTConvBlock(CHANNELS, dilation, causal) for dilation in DILATIONS[::-1]),
                SeparableBlock(CHANNELS, CHANNELS, transposed=True),
                SeparableBlock(CHANNELS, 2, transposed=True),
            ]
        )

    def mask(self, features: Tensor) -> Tensor:
        """Features [B, 3, T, 257] (magnitude, real, imaginary) to a mask [B, 2, T, 257]."""
        x = self.sfe(self.erb.merge(features))
        skips = []
        for block in self.enc.blocks:
            x = block(x)
            skips.append(x)
        x = self.dp1(x)
        for block, skip in zip(self.dec.blocks, reversed(skips), strict=True):
            x = block(x + skip)
        return self.erb.split(x)
