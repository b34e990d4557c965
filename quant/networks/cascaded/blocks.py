"""Blocks that both vocal separators are made of.

Upstream: github.com/tsurumeso/vocal-remover (versions 4 and 5); multi-band separation after
N. Takahashi, Y. Mitsufuji, "Multi-scale multi-band DenseNets for audio source separation", WASPAA
2017; atrous spatial pyramid pooling after L.-C. Chen, G. Papandreou, F. Schroff, H. Adam,
"Rethinking atrous convolution for semantic image segmentation", 2017. The modules carry upstream's
state-dict names, which differ between the two networks where an argument says so.

Shapes: B clips, C channels, F frequency bins, T frames.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.errors import UserError
from edge_se.signal import Signal

# Activations that a network may be built with; upstream's LeakyReLU has torch's slope of 0.01.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
}
# Four halvings of time and frequency: windows are whole multiples of this.
TIME_MULTIPLE = 16
SAMPLE_RATE = 44100  # what upstream trains at


@dataclass(frozen=True)
class BlockOptions:
    """What the blocks of a separator share.

    Attributes:
        activation: after every convolution but the encoders'; a name of `ACTIVATIONS`.
        encoder_activation: after the encoders' convolutions.
        dropout: probability with which a channel of the ASPP's output is dropped in training.
    """

    activation: str = "relu"
    encoder_activation: str = "leaky_relu"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in (self.activation, self.encoder_activation):
            if name not in ACTIVATIONS:
                known = ", ".join(ACTIVATIONS)
                raise UserError(f"there is no activation {name!r}; choose one of: {known}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"a dropout of {self.dropout} is no probability below 1")


class Conv2DBNActiv(nn.Module):
    """Convolution without bias that keeps the size (but for its stride), BatchNorm, activation.

    A separable one convolves each channel by itself, then mixes them by a 1x1 convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        taps: int,
        activation: str,
        stride: int = 1,
        dilation: tuple[int, int] = (1, 1),
        separable: bool = False,
    ) -> None:
        super().__init__()
        shape: dict[str, Any] = {
            "stride": stride,
            "padding": tuple((taps // 2) * step for step in dilation),
            "dilation": dilation,
            "bias": False,
        }
        convolutions: list[nn.Module] = [nn.Conv2d(inputs, outputs, taps, **shape)]
        if separable:
            convolutions = [
                nn.Conv2d(inputs, inputs, taps, groups=inputs, **shape),
                nn.Conv2d(inputs, outputs, 1, bias=False),
            ]
        self.conv = nn.Sequential(*convolutions, nn.BatchNorm2d(outputs), ACTIVATIONS[activation]())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] to [B, C', F / stride, T / stride]."""
        return self.conv(x)


class Encoder(nn.Module):
    """Two convolutions, one of which has stride 2."""

    def __init__(
        self, inputs: int, outputs: int, options: BlockOptions, strides: tuple[int, int]
    ) -> None:
        super().__init__()
        activation = options.encoder_activation
        self.conv1 = Conv2DBNActiv(inputs, outputs, 3, activation, strides[0])
        self.conv2 = Conv2DBNActiv(outputs, outputs, 3, activation, strides[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, F, T] to the outputs of both convolutions."""
        first = self.conv1(x)
        return first, self.conv2(first)


class Decoder(nn.Module):
    """Bilinear up-sampling by 2 with aligned corners, the encoder's skip, one convolution."""

    def __init__(
        self, inputs: int, outputs: int, options: BlockOptions, convolution: str = "conv1"
    ) -> None:
        """`inputs` counts the skip's channels; `convolution` is its name in the state dict."""
        super().__init__()
        self.add_module(convolution, Conv2DBNActiv(inputs, outputs, 3, options.activation))
        self._name = convolution

    @property
    def block(self) -> Conv2DBNActiv:
        """The convolution, by whichever name."""
        block = self.get_submodule(self._name)
        assert isinstance(block, Conv2DBNActiv)
        return block

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """[B, C, F, T] and a skip [B, S, 2 F, T'], T' >= 2 T, to [B, C', 2 F, 2 T]."""
        up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.block(torch.cat([up, crop_centre(skip, up.shape[-1])], dim=1))


def crop_centre(x: Tensor, frames: int) -> Tensor:
    """The middle `frames` of [..., T]; raises ValueError when there are fewer."""
    if x.shape[-1] < frames:
        raise ValueError(
            f"{x.shape[-1]} frames can't be cropped to {frames}; a window has to be a multiple of "
            f"{TIME_MULTIPLE} frames"
        )
    first = (x.shape[-1] - frames) // 2
    return x[..., first : first + frames]


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: five branches side by side, joined by a 1x1 convolution.

    The average over frequency, a 1x1 convolution and three dilated 3x3 ones.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        options: BlockOptions,
        width: int,
        dilations: tuple[tuple[int, int], ...],
        separable: bool,
    ) -> None:
        """Build the branches.

        Args:
            inputs: channels in.
            outputs: channels out.
            options: activation and dropout.
            width: channels of each branch.
            dilations: of the three dilated branches, over frequency and time.
            separable: they are separable, and the dropout belongs to `bottleneck` (version 4).
        """
        super().__init__()
        activation = options.activation
        self.conv1 = nn.Sequential(
            nn.AdaptiveAvgPool2d((1, None)), Conv2DBNActiv(inputs, width, 1, activation)
        )
        self.conv2 = Conv2DBNActiv(inputs, width, 1, activation)
        self.conv3, self.conv4, self.conv5 = (
            Conv2DBNActiv(inputs, width, 3, activation, 1, dilation, separable)
            for dilation in dilations
        )
        joint = Conv2DBNActiv(5 * width, outputs, 1, activation)
        dropout = nn.Dropout2d(options.dropout)
        self.bottleneck = nn.Sequential(joint, dropout) if separable else joint
        self.dropout = nn.Identity() if separable else dropout

    @property
    def joint(self) -> Conv2DBNActiv:
        """The convolution that joins the branches."""
        joint = (
            self.bottleneck[0] if isinstance(self.bottleneck, nn.Sequential) else self.bottleneck
        )
        assert isinstance(joint, Conv2DBNActiv)
        return joint

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, F, T] to [B, C', F, T]."""
        pooled = self.conv1(x).expand(-1, -1, x.shape[2], -1)
        branches = [branch(x) for branch in (self.conv2, self.conv3, self.conv4, self.conv5)]
        return self.dropout(self.bottleneck(torch.cat([pooled, *branches], dim=1)))


def replicate_bins(mask: Tensor, bins: int) -> Tensor:
    """Repeat the highest bin of [B, C, F, T] up to `bins`."""
    return F.pad(mask, (0, 0, 0, bins - mask.shape[2]), mode="replicate")


class Windowed(nn.Module):
    """A separator's module: what it hears, and the windows that it is run in.

    Attributes:
        signal: sample rate and transform.
        n_fft: length of the transform.
        offset: frames on each side of a window that see too little of their surroundings.
        window_frames: frames of a window.
    """

    def __init__(
        self, n_fft: int, offset: int, sample_rate: int, hop: int | None, window_frames: int
    ) -> None:
        """Check and keep them; without `hop` it is half of n_fft.

        Raises:
            UserError: one of them does not fit.
        """
        super().__init__()
        hop = n_fft // 2 if hop is None else hop
        if n_fft <= 0 or n_fft % (4 * TIME_MULTIPLE):
            raise UserError(
                f"an n_fft of {n_fft} does not fit: each of two bands is halved four times, so it "
                f"has to be a multiple of {4 * TIME_MULTIPLE}"
            )
        if sample_rate <= 0:
            raise UserError(f"a sample rate of {sample_rate} Hz is none")
        if not 0 < 2 * hop <= n_fft:
            raise UserError(
                f"a hop of {hop} samples is not between 1 and half the n_fft of {n_fft}"
            )
        if window_frames % TIME_MULTIPLE or window_frames <= 2 * offset:
            raise UserError(
                f"a window of {window_frames} frames does not fit: it has to be a multiple of "
                f"{TIME_MULTIPLE} above {2 * offset}, twice the offset that is cropped"
            )
        self.signal = Signal(
            sample_rate, n_fft, hop, "hann", features="stereo_magnitude", mask="stereo_magnitude"
        )
        self.n_fft, self.offset, self.window_frames = n_fft, offset, window_frames
