"""Layers that compute what torch's own do, faster, by torch's other operators on any device."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, whose kernels give each channel to one block of a GPU's threads.

    Here sums over a channel are made by all of the GPU.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize [N, C, T, F] over all but C, by the batch's statistics while training."""
        if not self.training:
            return super().forward(input)
        output, mean, variance = self.normalize(input)
        with torch.no_grad():
            count = input.numel() / input.shape[1]
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        return output

    def normalize(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, C, T, F] normalized; mean and (biased) variance, [C] each."""
        return _BatchNorm.apply(input, self.weight, self.bias, self.eps)


class ConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution of stride 1, as the convolution that it is, its taps turned round."""

    def forward(self, input: Tensor, output_size: None = None) -> Tensor:  # type: ignore[override]
        """Map [N, C, T, F] to [N, C', T', F']."""
        weight = self.weight.unflatten(0, (self.groups, -1)).transpose(1, 2).flip(-1, -2)
        assert isinstance(self.padding, tuple)
        geometry = zip(self.dilation, self.kernel_size, self.padding, strict=True)
        padding = [dilation * (size - 1) - cut for dilation, size, cut in geometry]
        return F.conv2d(
            input, weight.flatten(0, 1), self.bias, 1, padding, self.dilation, self.groups
        )


class _BatchNorm(torch.autograd.Function):
    """Normalizes x [N, C, T, F] per channel; also returns mean and (biased) variance, [C] each."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        inverse = torch.rsqrt(variance + epsilon)
        scale = weight * inverse
        ctx.save_for_backward(x, mean, inverse, weight)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(_wide(bias - mean * scale), x, _wide(scale)), mean, variance

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor, *_: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, inverse, weight = ctx.saved_tensors
        count = x.numel() / x.shape[1]
        normalized = torch.addcmul(_wide(-mean * inverse), x, _wide(inverse))
        of_bias = gradient.sum((0, 2, 3))
        of_weight = (gradient * normalized).sum((0, 2, 3))
        scale = weight * inverse
        common = torch.addcmul(
            _wide(-scale * of_bias / count), normalized, _wide(-scale * of_weight / count)
        )
        return common.addcmul_(gradient, _wide(scale)), of_weight, of_bias, None


def _wide(values: Tensor) -> Tensor:
    """[C] as [1, C, 1, 1]."""
    return values[:, None, None]
