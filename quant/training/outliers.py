"""Penalty on rare, large activations, which leave no resolution for the others in 8 bits.

A tensor has one scale: one frame that reaches a hundred times the usual values takes all but two
or three of its 255 steps. Trained freely, GTCRN has such frames (the authors' DNS3 checkpoint
reaches 300 where 99.9 % of the values lie below 7). Keeping what a network computes within the
range that its quantized form can hold is the activations' side of range regularization:
A. Kundu et al., "R2 Loss: Range Restriction Loss for Model Compression and Quantization", 2023.
"""

from typing import Any

import torch
from torch import Tensor, nn

from quant.networks.ul_unas.model import AffinePReLU
from quant.training.cpu.library import call, is_compiled_for

# How many times its root mean square a value may reach for free.
BOUND = 6.0


class OutlierPenalty:
    """Collects, while the network runs, by how much its activations exceed their usual size.

    Watches every BatchNorm and PReLU, so the output of every convolution before and after its
    activation.
    """

    def __init__(self, model: nn.Module, bound: float = BOUND) -> None:
        self._bound = bound
        self._excesses: list[Tensor] = []
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.PReLU | AffinePReLU):
                module.register_forward_hook(self._watch)

    def _watch(
        self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor | None:
        if not torch.is_grad_enabled():  # while it is validated
            return None
        output, excess = watched(output, self._bound)
        self._excesses.append(excess)
        return output

    def take(self) -> Tensor:
        """The mean over what was watched since the last call, a scalar."""
        penalty = torch.stack(self._excesses).mean()
        self._excesses.clear()
        return penalty


def watched(x: Tensor, bound: float = BOUND) -> tuple[Tensor, Tensor]:
    """X as it is, to be used in its place, and by how much it has outliers.

    That is the mean squared excess of |x| over `bound` times its root mean square, in units of the
    latter, which counts as given: to make everything larger does not help.

    Args:
        x: float, any shape.
        bound: multiple of the root mean square that is free.

    Returns:
        x, and a scalar, 0 where no element exceeds the bound.
    """
    return _Watched.apply(x, bound)


class _Watched(torch.autograd.Function):
    """Every activation is watched, so x goes through it: gradients are added in the same pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        ctx.compiled = is_compiled_for(x)
        if ctx.compiled:
            x = x.contiguous()
            usual = (call("sum_of_squares", x, x.numel()) / x.numel()) ** 0.5 + 1e-8
            squares = call("sum_of_excesses", x, bound * usual, x.numel())
            excess = x.new_tensor(squares / usual**2 / x.numel())
        else:
            # A value read back from a GPU would wait for it, and could not be captured as a graph.
            usual = torch.linalg.vector_norm(x) / x.numel() ** 0.5 + 1e-8
            beyond = x - x.clamp(-bound * usual, bound * usual)
            excess = torch.linalg.vector_norm(beyond).div(usual).square() / x.numel()
        ctx.save_for_backward(x)
        ctx.usual, ctx.bound = usual, bound
        return x.view_as(x), excess

    @staticmethod
    def backward(ctx: Any, given: Tensor, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        limit = ctx.bound * ctx.usual
        scale = 2 * gradient / (ctx.usual**2 * x.numel())
        if not ctx.compiled:
            return given + scale * (x - x.clamp(-limit, limit)), None
        of_x = torch.empty_like(x)
        arrays = given.contiguous(), x, of_x
        call("excess_backward", *arrays, limit, float(scale), x.numel())
        return of_x, None
