"""UL-UNAS's activation and attention, which compute what the network's own do, sooner on a CPU.

Their arithmetic is little for what they read and write, so it is done clip by clip, in what fits
the processor's cache, and forward and backward in as few passes as there can be.
"""

from typing import Any

import torch
from torch import Tensor

from quant.networks.ul_unas import model


class AffinePReLU(model.AffinePReLU):
    """`quant.networks.ul_unas.model.AffinePReLU`."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        return _AffinePReLU.apply(x, self.affine_weight, self.affine_bias, self.slope_weight)


class Attention(model.Attention):
    """`quant.networks.ul_unas.model.Attention`."""

    def forward(self, x: Tensor) -> Tensor:
        """Gate [B, C, T, F]."""
        of_channels, of_bands = _Energies.apply(x)
        return _Gated.apply(x, *self.gates(of_channels, of_bands))


class _AffinePReLU(torch.autograd.Function):
    """X times gain plus bias, [C, F], plus PReLU with the slopes [C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, gain, slope)
        output = torch.empty_like(x)
        above, below = (gain + 1)[:, None], (slope - 1)[:, None, None]
        for clip, result in zip(x.unbind(), output.unbind(), strict=True):
            torch.addcmul(bias[:, None], clip, above, out=result)
            result.addcmul_(clip.clamp(max=0), below)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, gain, slope = ctx.saved_tensors
        of_x, of_gain, of_bias = torch.empty_like(x), torch.zeros_like(gain), torch.zeros_like(gain)
        of_positive = torch.zeros_like(slope)
        below, more = (gain + slope[:, None])[:, None], (1 - slope)[:, None, None]
        clips = zip(x.unbind(), gradient.unbind(), of_x.unbind(), strict=True)
        for clip, given, result in clips:
            positive = torch.ops.aten.threshold_backward(given, clip, 0)
            of_gain += (given * clip).sum(1)
            of_bias += given.sum(1)
            of_positive += torch.linalg.vecdot(positive.flatten(1), clip.flatten(1))
            torch.mul(given, below, out=result)
            result.addcmul_(positive, more)
        return of_x, of_gain, of_bias, of_gain.sum(1) - of_positive


class _Energies(torch.autograd.Function):
    """Mean squares of x [B, C, T, F] over bands [B, C, T], and over channels [B, T, F]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        batch, _, frames, bands = x.shape
        of_channels, of_bands = x.new_empty(x.shape[:3]), x.new_empty(batch, frames, bands)
        for index, clip in enumerate(x.unbind()):
            squared = clip.square()
            torch.mean(squared, 2, out=of_channels[index])
            torch.mean(squared, 0, out=of_bands[index])
        return of_channels, of_bands

    @staticmethod
    def backward(ctx: Any, of_channels: Tensor, of_bands: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        _, channels, _, bands = x.shape
        of_channels, of_bands = of_channels * (2 / bands), of_bands * (2 / channels)
        of_x = torch.empty_like(x)
        for index, (clip, result) in enumerate(zip(x.unbind(), of_x.unbind(), strict=True)):
            torch.add(of_channels[index][..., None], of_bands[index], out=result)
            result.mul_(clip)
        return of_x


class _Gated(torch.autograd.Function):
    """X [B, C, T, F] times gates of its channels [B, C, T] and of its bands [B, T, F]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, of_channels: Tensor, of_bands: Tensor) -> Tensor:
        ctx.save_for_backward(x, of_channels, of_bands)
        output = torch.empty_like(x)
        for index, (clip, result) in enumerate(zip(x.unbind(), output.unbind(), strict=True)):
            torch.mul(clip, of_bands[index], out=result)
            result.mul_(of_channels[index][..., None])
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, of_channels, of_bands = ctx.saved_tensors
        of_x = torch.empty_like(x)
        for_channels, for_bands = torch.empty_like(of_channels), torch.empty_like(of_bands)
        clips = zip(x.unbind(), gradient.unbind(), of_x.unbind(), strict=True)
        for index, (clip, given, result) in enumerate(clips):
            channels, bands = of_channels[index][..., None], of_bands[index]
            by_channels = given * channels
            torch.mul(by_channels, bands, out=result)
            torch.sum(by_channels.mul_(clip), 0, out=for_bands[index])
            torch.sum((given * clip).mul_(bands), 2, out=for_channels[index])
        return of_x, for_channels, for_bands
