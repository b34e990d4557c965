"""The networks that the pipeline knows, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from edge_se.errors import UserError
from quant.models.cascaded_aspp import CascadedASPPNet
from quant.models.cascaded_lstm import CascadedNet, options_of
from quant.models.gtcrn import GTCRN

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "gtcrn": GTCRN,
    "cascaded_aspp": CascadedASPPNet,
    "cascaded_lstm": CascadedNet,
}
# Networks whose widths can be read off their weights: a state dict to options of `build_model`.
OPTIONS_OF: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Any]]] = {
    "cascaded_lstm": options_of,
}


def build_model(name: str, **options: object) -> nn.Module:
    """Build the network called `name`, freshly initialised, with upstream's state-dict names.

    Raises:
        UserError: there is no architecture of that name.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UserError(f"unknown architecture {name!r}; choose one of: {known}")
    return ARCHITECTURES[name](**options)
