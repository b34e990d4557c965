"""GTCRN as its authors stream it: one frame at a time, with three caches as states.

Written from the paper (X. Rong et al., ICASSP 2024) with the state-dict names of the authors'
checkpoints, which load as they are:

    edge-se quantize --module gtcrn_stream.py:build --checkpoint model_trained_on_dns3.tar \
        --precision int8 --out gtcrn.tflite

Shapes: C channels, T frames (of caches and the new one), F bands.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.signal import Signal

LOW_BANDS, HIGH_BANDS, BINS = 65, 64, 257
CHANNELS, DEEP_BANDS, DILATIONS = 16, 33, (1, 2, 5)
PAST = [2 * dilation for dilation in DILATIONS]  # frames that each block remembers


class ERB(nn.Module):
    """Merges the upper bins into bands, and splits them again; both matrices are weights."""

    def __init__(self) -> None:
        super().__init__()
        self.erb_fc = nn.Linear(BINS - LOW_BANDS, HIGH_BANDS, bias=False)
        self.ierb_fc = nn.Linear(HIGH_BANDS, BINS - LOW_BANDS, bias=False)

    def merge(self, x: Tensor) -> Tensor:
        """[..., bins] to [..., bands]."""
        return torch.cat([x[..., :LOW_BANDS], self.erb_fc(x[..., LOW_BANDS:])], dim=-1)

    def split(self, x: Tensor) -> Tensor:
        """[..., bands] to [..., bins]."""
        return torch.cat([x[..., :LOW_BANDS], self.ierb_fc(x[..., LOW_BANDS:])], dim=-1)


class SFE(nn.Module):
    """Each band beside its two neighbours: [1, C, 1, F] to [1, 3C, 1, F]."""

    def __init__(self) -> None:
        super().__init__()
        self.unfold = nn.Unfold((1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """As of the class."""
        return self.unfold(x).reshape(1, -1, 1, x.shape[-1])


class TRA(nn.Module):
    """A gate for each channel, by a GRU over the frames' energies."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.att_gru = nn.GRU(channels, 2 * channels, batch_first=True)
        self.att_fc = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """[1, C, 1, F] and the GRU's state [1, 1, 2C]; both after this frame."""
        energy = x.square().mean(dim=-1).transpose(1, 2)
        y, hidden = self.att_gru(energy, hidden)
        gate = torch.sigmoid(self.att_fc(y)).transpose(1, 2)
        return x * gate[..., None], hidden


def upsampled(x: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """What a transposed convolution of stride 2 over F computes, by an ordinary one: [1, C, T, F].

    The converter lowers no transposed convolution with a stride. Zeros between the bands and the
    kernel turned round are the same.
    """
    spread = torch.stack([x, torch.zeros_like(x)], dim=-1).flatten(-2)[..., :-1]
    inputs, outputs, *kernel = layer.weight.shape
    groups = layer.groups
    grouped = layer.weight.reshape(groups, inputs // groups, outputs, *kernel).transpose(1, 2)
    weight = grouped.reshape(groups * outputs, inputs // groups, *kernel).flip(-1)
    return F.conv2d(spread, weight, layer.bias, padding=(0, 2), groups=groups)


class ConvBlock(nn.Module):
    """Convolution over frequency, BatchNorm, activation."""

    def __init__(
        self, inputs: int, outputs: int, groups: int, transposed: bool, last: bool = False
    ) -> None:
        super().__init__()
        layer = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv = layer(inputs, outputs, (1, 5), stride=(1, 2), padding=(0, 2), groups=groups)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.Tanh() if last else nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[1, C, 1, F] to half (transposed: twice) the bands."""
        conv = self.conv
        y = upsampled(x, conv) if isinstance(conv, nn.ConvTranspose2d) else conv(x)
        return self.act(self.bn(y))


class GTConvBlock(nn.Module):
    """Grouped temporal convolution: half of the channels is processed, then both are shuffled."""

    def __init__(self, dilation: int, transposed: bool) -> None:
        super().__init__()
        half = CHANNELS // 2
        layer = nn.ConvTranspose2d if transposed else nn.Conv2d
        padding = (2 * dilation if transposed else 0, 1)
        self.sfe = SFE()
        self.point_conv1 = layer(3 * half, CHANNELS, 1)
        self.point_bn1 = nn.BatchNorm2d(CHANNELS)
        self.point_act = nn.PReLU()
        self.depth_conv = layer(
            CHANNELS, CHANNELS, (3, 3), padding=padding, dilation=(dilation, 1), groups=CHANNELS
        )
        self.depth_bn = nn.BatchNorm2d(CHANNELS)
        self.depth_act = nn.PReLU()
        self.point_conv2 = layer(CHANNELS, half, 1)
        self.point_bn2 = nn.BatchNorm2d(half)
        self.tra = TRA(half)

    def forward(self, x: Tensor, cache: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[1, C, 1, F], the past frames [1, C, T, F] and TRA's state; all after this frame."""
        processed, passed = x.chunk(2, dim=1)
        y = self.point_act(self.point_bn1(self.point_conv1(self.sfe(processed))))
        frames = torch.cat([cache, y], dim=2)
        y = self.depth_act(self.depth_bn(self.depth_conv(frames)))
        y, hidden = self.tra(self.point_bn2(self.point_conv2(y)), hidden)
        return torch.stack([y, passed], dim=2).flatten(1, 2), frames[:, :, 1:], hidden


class GRNN(nn.Module):
    """Two GRUs, each over half of the features."""

    def __init__(self, inputs: int, hidden: int, bidirectional: bool) -> None:
        super().__init__()
        options = {"batch_first": True, "bidirectional": bidirectional}
        self.rnn1 = nn.GRU(inputs // 2, hidden // 2, **options)
        self.rnn2 = nn.GRU(inputs // 2, hidden // 2, **options)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """[N, L, inputs] and states [directions, N, hidden]; outputs and states."""
        first, second = x.chunk(2, dim=-1)
        one, two = hidden.chunk(2, dim=-1)
        (y1, h1), (y2, h2) = self.rnn1(first, one.contiguous()), self.rnn2(second, two.contiguous())
        return torch.cat([y1, y2], dim=-1), torch.cat([h1, h2], dim=-1)


class DPGRNN(nn.Module):
    """Dual-path grouped RNN: both ways over frequency, then forward over time."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_rnn = GRNN(CHANNELS, CHANNELS // 2, bidirectional=True)
        self.intra_fc = nn.Linear(CHANNELS, CHANNELS)
        self.intra_ln = nn.LayerNorm((DEEP_BANDS, CHANNELS), eps=1e-8)
        self.inter_rnn = GRNN(CHANNELS, CHANNELS, bidirectional=False)
        self.inter_fc = nn.Linear(CHANNELS, CHANNELS)
        self.inter_ln = nn.LayerNorm((DEEP_BANDS, CHANNELS), eps=1e-8)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """[1, C, 1, F] and the state over time [1, F, C]; both after this frame."""
        x = x.permute(0, 2, 3, 1)
        start = torch.zeros(2, 1, CHANNELS // 2)
        intra, _ = self.intra_rnn(x.reshape(1, DEEP_BANDS, CHANNELS), start)
        x = x + self.intra_ln(self.intra_fc(intra)[:, None])
        inter, hidden = self.inter_rnn(x.reshape(DEEP_BANDS, 1, CHANNELS), hidden)
        x = x + self.inter_ln(self.inter_fc(inter).transpose(0, 1)[:, None])
        return x.permute(0, 3, 1, 2), hidden


class Coder(nn.Module):
    """Blocks under the name that the checkpoints have for them."""

    def __init__(self, name: str, *blocks: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, nn.ModuleList(blocks))

    def blocks(self) -> nn.ModuleList:
        """In the order in which they run."""
        return getattr(self, self.name)


class StreamingGTCRN(nn.Module):
    """One frame of GTCRN."""

    signal = Signal(sample_rate=16000, window=512, hop=256)

    def __init__(self) -> None:
        super().__init__()
        self.erb = ERB()
        self.sfe = SFE()
        encoding = [GTConvBlock(dilation, transposed=False) for dilation in DILATIONS]
        decoding = [GTConvBlock(dilation, transposed=True) for dilation in DILATIONS[::-1]]
        first = [ConvBlock(9, CHANNELS, 1, False), ConvBlock(CHANNELS, CHANNELS, 2, False)]
        last = [ConvBlock(CHANNELS, CHANNELS, 2, True), ConvBlock(CHANNELS, 2, 1, True, last=True)]
        self.encoder = Coder("en_convs", *first, *encoding)
        self.dpgrnn1, self.dpgrnn2 = DPGRNN(), DPGRNN()
        self.decoder = Coder("de_convs", *decoding, *last)

    def initial_states(self) -> tuple[Tensor, ...]:
        """Past frames and TRA's states of encoder and decoder, and both DPGRNNs' states."""
        caches = torch.zeros(2, 1, CHANNELS, sum(PAST), DEEP_BANDS)
        return caches, torch.zeros(2, 3, 1, 1, CHANNELS), torch.zeros(2, 1, DEEP_BANDS, CHANNELS)

    def forward(
        self, features: Tensor, conv_cache: Tensor, tra_cache: Tensor, inter_cache: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Magnitude, real and imaginary part [3, bins] to a complex mask [2, bins]; and states."""
        x = self.sfe(self.erb.merge(features)[None, :, None])
        skips, caches, attention = [], [], []
        past = conv_cache[0].split(PAST, dim=2)
        for number, block in enumerate(self.encoder.blocks()):
            if number < 2:
                x = block(x)
            else:
                x, cache, hidden = block(x, past[number - 2], tra_cache[0, number - 2])
                caches.append(cache)
                attention.append(hidden)
            skips.append(x)
        x, inter1 = self.dpgrnn1(x, inter_cache[0])
        x, inter2 = self.dpgrnn2(x, inter_cache[1])
        past = conv_cache[1].split(PAST[::-1], dim=2)
        for number, block in enumerate(self.decoder.blocks()):
            x = x + skips[-1 - number]
            if number < 3:
                x, cache, hidden = block(x, past[number], tra_cache[1, number])
                caches.append(cache)
                attention.append(hidden)
            else:
                x = block(x)
        mask = self.erb.split(x[0, :, 0])
        conv_cache = torch.stack([torch.cat(caches[:3], dim=2), torch.cat(caches[3:], dim=2)])
        tra_cache = torch.stack(attention).reshape(tra_cache.shape)
        return mask, conv_cache, tra_cache, torch.stack([inter1, inter2])


def build() -> nn.Module:
    """The network, not yet trained."""
    return StreamingGTCRN()
