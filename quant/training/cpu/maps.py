"""Layers on a CPU that read and write much for what they compute, compiled, in few passes."""

from typing import Any

import torch
from torch import Tensor

from quant.networks.ul_unas import model
from quant.training import layers
from quant.training.cpu.library import call, is_compiled_for, side_by_side


class AffinePReLU(model.AffinePReLU):
    """`quant.networks.ul_unas.model.AffinePReLU`."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, F] to the same shape."""
        if not is_compiled_for(x):
            return super().forward(x)
        return _AffinePReLU.apply(x, self.affine_weight, self.affine_bias, self.slope_weight)


class Attention(model.Attention):
    """`quant.networks.ul_unas.model.Attention`."""

    def forward(self, x: Tensor) -> Tensor:
        """Gate [B, C, T, F]."""
        if not is_compiled_for(x):
            return super().forward(x)
        x, of_channels, of_bands = _Energies.apply(x)
        return _Gated.apply(x, *self.gates(of_channels, of_bands))


class BatchNorm2d(layers.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, whose sums over a channel are not vectorised in torch."""

    def normalize(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, C, T, F] normalized; mean and (biased) variance, [C] each."""
        if not is_compiled_for(input):
            return super().normalize(input)
        return _BatchNorm.apply(input, self.weight, self.bias, self.eps)


class _AffinePReLU(torch.autograd.Function):
    """X times gain plus bias, [C, F], plus PReLU with the slopes [C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, slope: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, gain, slope)
        y = torch.empty_like(x)
        _by_clips("affine_prelu", x, gain, bias, slope, y)
        return y

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, gain, slope = ctx.saved_tensors
        given = given.contiguous()
        of_x = torch.empty_like(x)

        def run(first: int, last: int) -> Tensor:
            of_weights = gain.new_zeros(3, *gain.shape)
            arrays = given, x, gain, slope, of_x, *of_weights
            call("affine_prelu_backward", *arrays, *x.shape[1:], first, last)
            return of_weights

        of_gain, of_bias, of_slope = torch.stack(side_by_side(run, len(x))).sum(0)
        return of_x, of_gain, of_bias, of_slope.sum(1)


class _Energies(torch.autograd.Function):
    """X [B, C, T, F], and its mean squares over bands [B, C, T], and over channels [B, T, F].

    X goes through it so that its gradients are added in the same pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        ctx.save_for_backward(x)
        of_channels, of_bands = x.new_empty(x.shape[:3]), x.new_zeros(x[:, 0].shape)
        _by_clips("energies", x, of_channels, of_bands)
        return x.view_as(x), of_channels, of_bands

    @staticmethod
    def backward(ctx: Any, given: Tensor, of_channels: Tensor, of_bands: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        of_x = torch.empty_like(x)
        gradients = given.contiguous(), x, of_channels.contiguous(), of_bands.contiguous()
        _by_clips("energies_backward", *gradients, of_x)
        return of_x


class _Gated(torch.autograd.Function):
    """X [B, C, T, F] times gates of its channels [B, C, T] and of its bands [B, T, F]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, of_channels: Tensor, of_bands: Tensor) -> Tensor:
        gates = of_channels.contiguous(), of_bands.contiguous()
        ctx.save_for_backward(x, *gates)
        y = torch.empty_like(x)
        _by_clips("gated", x, *gates, y)
        return y

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, of_channels, of_bands = ctx.saved_tensors
        of_x = torch.empty_like(x)
        of_gates = torch.empty_like(of_channels), torch.zeros_like(of_bands)
        arrays = given.contiguous(), x, of_channels, of_bands, of_x, *of_gates
        _by_clips("gated_backward", *arrays)
        return of_x, *of_gates


class _BatchNorm(torch.autograd.Function):
    """Normalizes x [N, C, T, F] per channel; also returns mean and (biased) variance, [C] each."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        y, mean, variance = torch.empty_like(x), torch.empty_like(bias), torch.empty_like(bias)
        arrays = x, weight, bias, y, mean, variance

        def run(first: int, last: int) -> None:
            call("batch_norm", *arrays, epsilon, *x.shape, first, last)

        side_by_side(run, x.shape[1])
        ctx.save_for_backward(x, weight, mean, (variance + epsilon).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        ctx.epsilon = epsilon
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, given: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale = ctx.saved_tensors
        gradients = torch.ops.aten.native_batch_norm_backward(
            *(given.contiguous(), x, weight, None, None, mean, scale, True, ctx.epsilon),
            (True, True, True),
        )
        return *gradients, None


def _by_clips(function: str, *arrays: Tensor) -> None:
    """Call a function that computes a range of clips; the first array is a map [B, C, T, F]."""

    def run(first: int, last: int) -> None:
        call(function, *arrays, *arrays[0].shape[1:], first, last)

    side_by_side(run, len(arrays[0]))
