"""Layers on a CPU that compute what torch's own do, sooner, by torch's other operators."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PReLU(nn.PReLU):
    """`torch.nn.PReLU` with one weight, whose backward pass in torch is not vectorised."""

    def forward(self, input: Tensor) -> Tensor:
        """Return max(x, 0) + weight * min(x, 0) of any shape."""
        return _PReLU.apply(input, self.weight)


class ConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution (1, 5) with stride (1, 2) and padding (0, 2), as a plain convolution.

    Even outputs see three inputs through taps 4, 2, 0, odd ones two through taps 3 and 1; both are
    channels of one convolution and are then interleaved.
    """

    def forward(self, input: Tensor, output_size: None = None) -> Tensor:  # type: ignore[override]
        """Map [N, C, T, F] to [N, C', T, 2 F - 1]."""
        taps = self.weight[:, :, 0].unflatten(0, (self.groups, -1)).transpose(1, 2)
        even, odd = taps[..., [4, 2, 0]], F.pad(taps[..., [3, 1]], (1, 0))
        weight = torch.stack([even, odd], dim=2).flatten(0, 2)[:, :, None]
        bias = None if self.bias is None else self.bias.repeat_interleave(2)
        output = F.conv2d(input, weight, bias, padding=(0, 1), groups=self.groups)
        return output.unflatten(1, (-1, 2)).movedim(2, -1).flatten(-2)[..., :-1]


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.leaky_relu(x, weight.item())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_x = torch.ops.aten.leaky_relu_backward(gradient, x, weight.item(), False)
        of_weight = torch.dot(gradient.reshape(-1), x.clamp(max=0).reshape(-1))
        return of_x, of_weight.reshape(1)
