"""The networks that the pipeline knows, by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from edge_se.errors import UserError
from quant.models.cascaded_aspp import CascadedASPPNet
from quant.models.cascaded_lstm import CascadedNet, options_of
from quant.models.gtcrn import GTCRN
from quant.models.gtcrn_light import GTCRNLight
from quant.models.gtcrn_unet import GTCRNUNet

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
