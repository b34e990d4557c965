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

    def _watch(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if torch.is_grad_enabled():  # not while it is validated
            self._excesses.append(relative_excess(output, self._bound))

    def take(self) -> Tensor:
        """The mean over what was watched since the last call, a scalar."""
        penalty = torch.stack(self._excesses).mean()
        self._excesses.clear()
        return penalty


def relative_excess(x: Tensor, bound: float = BOUND) -> Tensor:
    """Mean squared excess of |x| over `bound` times its root mean square, in units of the latter.

    The root mean square counts as given: to make everything larger does not help.

    Args:
        x: float, any shape.
        bound: multiple of the root mean square that is free.

    Returns:
        A scalar, 0 where no element exceeds the bound.
    """
    return _RelativeExcess.apply(x, bound)


class _RelativeExcess(torch.autograd.Function):
    """As one function, since every activation is watched: a third of the passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        usual = torch.linalg.vector_norm(x) / x.numel() ** 0.5 + 1e-8
        # A limit read back from a GPU would wait for it, and could not be captured as a graph.
        limit: Any = bound * (usual if x.is_cuda else float(usual))
        excess = x.clamp(-limit, limit).neg_().add_(x)
        ctx.save_for_backward(excess, usual)
        return torch.linalg.vector_norm(excess).div(usual).square() / x.numel()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        excess, usual = ctx.saved_tensors
        return excess * (2 * gradient / (usual.square() * excess.numel())), None
