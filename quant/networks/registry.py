"""The networks that the pipeline knows, by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from edge_se.errors import UserError
from quant.graph.graph import Graph
from quant.networks.cascaded.aspp import CascadedASPPNet
from quant.networks.cascaded.lstm import CascadedNet, options_of
from quant.networks.gtcrn.model import GTCRN
from quant.networks.gtcrn.step import describe_gtcrn
from quant.networks.gtcrn_light.model import GTCRNLight
from quant.networks.gtcrn_light.step import describe_gtcrn_light
from quant.networks.gtcrn_unet.model import GTCRNUNet
from quant.networks.gtcrn_unet.step import describe_gtcrn_unet

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "gtcrn": GTCRN,
    "gtcrn_light": GTCRNLight,
    "gtcrn_unet": GTCRNUNet,
    "cascaded_aspp": CascadedASPPNet,
    "cascaded_lstm": CascadedNet,
}
# Networks whose widths can be read off their weights: a state dict to options of `build_model`.
OPTIONS_OF: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Any]]] = {
    "cascaded_lstm": options_of,
}
STEPS: dict[str, Callable[..., Graph]] = {
    "gtcrn": describe_gtcrn,
    "gtcrn_light": describe_gtcrn_light,
    "gtcrn_unet": describe_gtcrn_unet,
}


def require_architecture(name: str) -> None:
    """Check that there is an architecture of that name.

    Raises:
        UserError: there is none.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UserError(f"unknown architecture {name!r}; choose one of: {known}")


def build_model(name: str, **options: object) -> nn.Module:
    """Build the network called `name`, freshly initialised, with upstream's state-dict names.

    Raises:
        UserError: there is no architecture of that name, or it has no such option.
    """
    require_architecture(name)
    known_options = list(inspect.signature(ARCHITECTURES[name]).parameters)
    for option in options:
        if option not in known_options:
            has = f"its options are {', '.join(known_options)}" if known_options else "it has none"
            raise UserError(f"{name} has no option {option!r}; {has}")
    return ARCHITECTURES[name](**options)


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
