"""The streaming step of each architecture, described as a graph of one frame."""

from collections.abc import Callable

from torch import nn

from edge_se.errors import UserError
from quant.graph.graph import Graph
from quant.streaming.gtcrn import describe_gtcrn
from quant.streaming.gtcrn_light import describe_gtcrn_light
from quant.streaming.gtcrn_unet import describe_gtcrn_unet

STEPS: dict[str, Callable[..., Graph]] = {
    "gtcrn": describe_gtcrn,
    "gtcrn_light": describe_gtcrn_light,
    "gtcrn_unet": describe_gtcrn_unet,
}


def describe_step(architecture: str, model: nn.Module, split: bool = False) -> Graph:
    """Describe one frame of a trained network: features and states in, mask and states out.

    The graph's constants are differentiable functions of the network's parameters.

    Args:
        architecture: name of the network.
        model: the network.
        split: compute the same in a way that 8 bits hold better, with features in two parts, at
            the price of some operators more.

    Raises:
        UserError: the architecture does not run frame by frame.
    """
    if architecture not in STEPS:
        raise UserError(
            f"architecture {architecture!r} has no streaming step; "
            f"those that have one: {', '.join(sorted(STEPS))}"
        )
    return STEPS[architecture](model, split)
