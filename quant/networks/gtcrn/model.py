"""GTCRN: grouped temporal convolutional recurrent network for speech enhancement.

X. Rong, T. Sun, X. Zhang, Y. Hu, C. Zhu, J. Lu, "GTCRN: A speech enhancement model requiring
ultralow computational resources", ICASSP 2024; upstream code: github.com/Xiaobin-Rong/gtcrn.
The modules carry upstream's state-dict names, so upstream's checkpoints load as they are.

Shapes: B clips, C channels, T frames, F frequency bins or bands.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.errors import UserError
from edge_se.signal import Signal
from quant.audio.frames import apply_mask, features

# What upstream trained it for.
SIGNAL = Signal(sample_rate=16000, window=512, hop=256)
LOW_BANDS = 65  # lowest bins, passed on one to one
HIGH_BANDS = 64  # equivalent-rectangular-bandwidth bands over the other bins
CHANNELS = 16
DILATIONS = (1, 2, 5)
NORMALIZATION_EPSILON = 1e-8
# Rates that a checkpoint's bands are compared with.
USUAL_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
# Bands saved in bfloat16 are those of a rate too.
BFLOAT16_STEP = 2.0**-8


def erb_filter_bank(
    signal: Signal = SIGNAL, low_bands: int = LOW_BANDS, high_bands: int = HIGH_BANDS
) -> Tensor:
    """Triangular filters that merge the upper bins into bands: [high_bands, bins - low_bands].

    Centres are equally spaced on the ERB-rate scale of Glasberg and Moore (1990).

    Raises:
        UserError: the bands are narrower than bins.
    """
    rate, window, bins = signal.sample_rate, signal.window, np.arange(signal.bins)
    rate_low, rate_high = (
        21.4 * np.log10(0.00437 * hz + 1) for hz in (low_bands / window * rate, rate / 2)
    )
    hertz = (10 ** (np.linspace(rate_low, rate_high, high_bands) / 21.4) - 1) / 0.00437
    centres = np.round(hertz / rate * window).astype(int)
    if not 0 < low_bands < signal.bins or high_bands < 3 or (np.diff(centres) < 1).any():
        raise UserError(
            f"{low_bands} low and {high_bands} high bands don't fit {signal.bins} bins at {rate} "
            "Hz; take fewer high ones"
        )
    bank = np.zeros((high_bands, signal.bins), dtype=np.float32)
    for band, (left, right) in enumerate(itertools.pairwise(centres)):
        inside = (bins >= left) & (bins < right)
        falling = ((right - bins) / (right - left))[inside]
        bank[band, inside] = falling
        if band + 1 < high_bands - 1:
            bank[band + 1, inside] = 1 - falling
    last = slice(centres[-2], centres[-1] + 1)
    bank[-1, last] = 1 - bank[-2, last]
    return torch.from_numpy(bank[:, low_bands:].copy())


class Bands(nn.Module):
    """Fixed band merging and splitting between bins and bands; the matrices are a child's.

    Attributes:
        low_bands: how many of the lowest bins are bands of their own.
        merging: [high bands, high bins], from the upper bins to bands.
        splitting: [high bins, high bands], from bands to the upper bins.
    """

    low_bands: int
    merging: Tensor
    splitting: Tensor

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.low_bands + self.merging.shape[1]

    def merge(self, x: Tensor) -> Tensor:
        """Bins to bands: [..., bins] to [..., bands]."""
        low, high = x.tensor_split([self.low_bands], dim=-1)
        return torch.cat([low, F.linear(high, self.merging)], dim=-1)

    def split(self, x: Tensor) -> Tensor:
        """Bands to bins: [..., bands] to [..., bins]."""
        low, high = x.tensor_split([self.low_bands], dim=-1)
        return torch.cat([low, F.linear(high, self.splitting)], dim=-1)


class ERB(Bands):
    """Bands whose matrices are weights that are not trained."""

    def __init__(
        self, signal: Signal = SIGNAL, low_bands: int = LOW_BANDS, high_bands: int = HIGH_BANDS
    ) -> None:
        super().__init__()
        self.low_bands = low_bands
        bank = erb_filter_bank(signal, low_bands, high_bands)
        self.erb_fc = nn.Linear(bank.shape[1], high_bands, bias=False)
        self.ierb_fc = nn.Linear(high_bands, bank.shape[1], bias=False)
        self.erb_fc.weight = nn.Parameter(bank, requires_grad=False)
        self.ierb_fc.weight = nn.Parameter(bank.T.contiguous(), requires_grad=False)

    @property
    def merging(self) -> Tensor:  # type: ignore[override]
        """[high bands, high bins]."""
        return self.erb_fc.weight

    @property
    def splitting(self) -> Tensor:  # type: ignore[override]
        """[high bins, high bands]."""
        return self.ierb_fc.weight


def extract_subband_features(x: Tensor) -> Tensor:
    """Stack each band with its two neighbours: [B, C, T, F] to [B, 3C, T, F] (SFE)."""
    padded = F.pad(x, (1, 1))
    neighbours = [padded[..., k : k + x.shape[-1]] for k in range(3)]
    return torch.stack(neighbours, dim=2).flatten(1, 2)


class TRA(nn.Module):
    """Temporal recurrent attention: one gate per channel and frame from the energies so far."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.att_gru = nn.GRU(channels, 2 * channels, batch_first=True)
        self.att_fc = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Gate [B, C, T, F] by a value in (0, 1) per channel and frame."""
        energy = x.square().mean(dim=-1).transpose(1, 2)
        gate = torch.sigmoid(self.att_fc(self.att_gru(energy)[0]))
        return x * gate.transpose(1, 2)[..., None]


class ConvBlock(nn.Module):
    """Convolution over frequency (transposed in the decoder), BatchNorm, activation."""

    def __init__(
        self, inputs: int, outputs: int, groups: int, transposed: bool, last: bool = False
    ) -> None:
        super().__init__()
        convolution = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv = convolution(
            inputs, outputs, (1, 5), stride=(1, 2), padding=(0, 2), groups=groups
        )
        self.bn = nn.BatchNorm2d(outputs)
        self.act: nn.Module = nn.Tanh() if last else nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to [B, C', T, F'] with F' about half or twice F."""
        return self.act(self.bn(self.conv(x)))


class GTConvBlock(nn.Module):
    """Grouped temporal convolution: half of the channels is processed, then both are shuffled."""

    def __init__(self, channels: int, dilation: int, transposed: bool) -> None:
        super().__init__()
        half = channels // 2
        self.past_frames = 2 * dilation
        convolution = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.point_conv1 = convolution(3 * half, channels, 1)
        self.point_bn1 = nn.BatchNorm2d(channels)
        self.point_act = nn.PReLU()
        self.depth_conv = convolution(
            channels,
            channels,
            (3, 3),
            padding=(self.past_frames if transposed else 0, 1),
            dilation=(dilation, 1),
            groups=channels,
        )
        self.depth_bn = nn.BatchNorm2d(channels)
        self.depth_act = nn.PReLU()
        self.point_conv2 = convolution(channels, half, 1)
        self.point_bn2 = nn.BatchNorm2d(half)
        self.tra = TRA(half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape; frame t sees frames t - 2 * dilation to t."""
        processed, passed = x.chunk(2, dim=1)
        y = self.point_act(self.point_bn1(self.point_conv1(extract_subband_features(processed))))
        y = F.pad(y, (0, 0, self.past_frames, 0))
        y = self.depth_act(self.depth_bn(self.depth_conv(y)))
        y = self.tra(self.point_bn2(self.point_conv2(y)))
        return torch.stack([y, passed], dim=2).flatten(1, 2)


class GRNN(nn.Module):
    """Two GRUs, each over half of the features."""

    def __init__(self, inputs: int, hidden: int, bidirectional: bool) -> None:
        super().__init__()
        options = {"batch_first": True, "bidirectional": bidirectional}
        self.rnn1 = nn.GRU(inputs // 2, hidden // 2, **options)
        self.rnn2 = nn.GRU(inputs // 2, hidden // 2, **options)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, inputs] to [N, L, hidden], or twice that when bidirectional."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat([self.rnn1(first)[0], self.rnn2(second)[0]], dim=-1)


class DPGRNN(nn.Module):
    """Dual-path grouped RNN: both ways over frequency, then forward over time."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.intra_rnn = GRNN(channels, channels // 2, bidirectional=True)
        self.intra_fc = nn.Linear(channels, channels)
        self.intra_ln = nn.LayerNorm((bands, channels), eps=NORMALIZATION_EPSILON)
        self.inter_rnn = GRNN(channels, channels, bidirectional=False)
        self.inter_fc = nn.Linear(channels, channels)
        self.inter_ln = nn.LayerNorm((bands, channels), eps=NORMALIZATION_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        batch, _, frames, bands = x.shape
        x = x.permute(0, 2, 3, 1)
        intra = self.intra_fc(self.intra_rnn(x.reshape(batch * frames, bands, -1)))
        x = x + self.intra_ln(intra.reshape(batch, frames, bands, -1))
        over_time = x.transpose(1, 2).reshape(batch * bands, frames, -1)
        inter = self.inter_fc(self.inter_rnn(over_time))
        x = x + self.inter_ln(inter.reshape(batch, bands, frames, -1).transpose(1, 2))
        return x.permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """Blocks in a row, the first two of which halve the bands; keeps every output as a skip."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.en_convs = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, rows, T, bands] to the outputs of all blocks, the last [B, C, T, bands / 4]."""
        outputs = []
        for block in self.en_convs:
            x = block(x)
            outputs.append(x)
        return outputs


class Decoder(nn.Module):
    """The encoder mirrored; each block takes its input plus the encoder's skip."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.de_convs = nn.ModuleList(blocks)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """[B, C, T, bands / 4] and the encoder's outputs to [B, rows, T, bands]."""
        for block, skip in zip(self.de_convs, reversed(skips), strict=True):
            x = block(x + skip)
        return x


class MaskingNetwork(nn.Module):
    """A network that enhances a spectrogram by a mask, which `mask` computes of its features.

    Attributes:
        signal: what it hears.
    """

    signal = SIGNAL

    def mask(self, features: Tensor) -> Tensor:
        """Features [B, rows, T, bins] to a mask [B, rows, T, bins], of the signal's kinds."""
        raise NotImplementedError

    def forward(self, spectrum: Tensor) -> Tensor:
        """Enhance a spectrogram [B, bins, T, 2] (real, imaginary), as upstream's forward does.

        Returns:
            The enhanced spectrogram, same shape: the input masked.
        """
        spectra = torch.view_as_complex(spectrum.contiguous()).transpose(1, 2)
        mask = self.mask(features(spectra, self.signal).transpose(1, 2)).transpose(1, 2)
        enhanced = apply_mask(spectra, mask, self.signal)
        return torch.view_as_real(enhanced.transpose(1, 2))


class GTCRN(MaskingNetwork):
    """The whole network over a clip's spectrogram (offline; the streaming step is derived)."""

    def __init__(
        self,
        sample_rate: int | None = SIGNAL.sample_rate,
        window: int = SIGNAL.window,
        channels: int = CHANNELS,
        low_bands: int = LOW_BANDS,
        high_bands: int = HIGH_BANDS,
    ) -> None:
        """Build the network.

        Args:
            sample_rate: in Hz; None where weights did not tell, which is refused.
            window: of the transform, in samples; a hop is half of it.
            channels: of all blocks, a multiple of 4.
            low_bands: lowest bins, passed on one to one.
            high_bands: bands of the others; all bands are one more than a multiple of 4.

        Raises:
            UserError: an option does not fit.
        """
        super().__init__()
        if sample_rate is None:
            raise UserError(
                f"this is a GTCRN of {low_bands + high_bands} bands, windows of {window} samples, "
                "and its sample rate can't be told from its weights; name it, as in "
                "--network-option sample_rate=16000"
            )
        sizes = {
            "sample_rate": sample_rate,
            "window": window,
            "channels": channels,
            "low_bands": low_bands,
            "high_bands": high_bands,
        }
        for name, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise UserError(f"{name} is {size!r}, but has to be a positive whole number")
        if window % 4 or channels % 4:
            raise UserError(
                f"a window of {window} and {channels} channels don't fit; both have to be multiples"
                " of 4"
            )
        bands = low_bands + high_bands
        if bands % 4 != 1:
            raise UserError(
                f"{low_bands} and {high_bands} bands are {bands}, but have to be one more than a "
                "multiple of 4, to be halved twice"
            )
        self.signal = replace(SIGNAL, sample_rate=sample_rate, window=window, hop=window // 2)
        self.erb = ERB(self.signal, low_bands, high_bands)
        self.encoder = Encoder(
            [
                ConvBlock(9, channels, groups=1, transposed=False),
                ConvBlock(channels, channels, groups=2, transposed=False),
                *(GTConvBlock(channels, dilation, transposed=False) for dilation in DILATIONS),
            ]
        )
        self.dpgrnn1 = DPGRNN(channels, (bands + 3) // 4)
        self.dpgrnn2 = DPGRNN(channels, (bands + 3) // 4)
        self.decoder = Decoder(
            [
                *(GTConvBlock(channels, dilation, transposed=True) for dilation in DILATIONS[::-1]),
                ConvBlock(channels, channels, groups=2, transposed=True),
                ConvBlock(channels, 2, groups=1, transposed=True, last=True),
            ]
        )

    def mask(self, features: Tensor) -> Tensor:
        """Features [B, 3, T, bins] (magnitude, real, imaginary) to a mask [B, 2, T, bins]."""
        skips = self.encoder(extract_subband_features(self.erb.merge(features)))
        x = self.dpgrnn2(self.dpgrnn1(skips[-1]))
        return self.erb.split(self.decoder(x, skips))


def options_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of the GTCRN that a state dict belongs to, those that are not the default's.

    The sample rate is that at which the bands would be these; None where it is no usual one.
    """
    merging, norm = weights.get("erb.erb_fc.weight"), weights.get("dpgrnn1.intra_ln.weight")
    if merging is None or norm is None or merging.dim() != 2 or norm.dim() != 2:
        return {}
    (high_bands, high_bins), (bottom_bands, channels) = merging.shape, norm.shape
    low_bands = 4 * bottom_bands - 3 - high_bands
    window = 2 * (low_bands + high_bins - 1)
    found = {
        "sample_rate": _sample_rate(merging, window, low_bands),
        "window": window,
        "channels": channels,
        "low_bands": low_bands,
        "high_bands": high_bands,
    }
    usual = (SIGNAL.sample_rate, SIGNAL.window, CHANNELS, LOW_BANDS, HIGH_BANDS)
    return {
        name: value
        for (name, value), default in zip(found.items(), usual, strict=True)
        if value != default
    }


def _sample_rate(merging: Tensor, window: int, low_bands: int) -> int | None:
    for rate in USUAL_RATES:
        signal = replace(SIGNAL, sample_rate=rate, window=window)
        try:
            bank = erb_filter_bank(signal, low_bands, len(merging))
        except UserError:
            continue
        if bank.shape == merging.shape and torch.allclose(
            bank, merging.float(), atol=BFLOAT16_STEP
        ):
            return rate
    return None
