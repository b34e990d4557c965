"""The networks that the pipeline knows, by name."""

from collections.abc import Callable

from torch import nn

from edge_se.errors import UserError
from quant.models.gtcrn import GTCRN

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"gtcrn": GTCRN}


def build_model(name: str, **options: object) -> nn.Module:
    """Build the network called `name`, freshly initialised, with upstream's state-dict names.

    Raises:
        UserError: there is no architecture of that name.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UserError(f"unknown architecture {name!r}; choose one of: {known}")
    return ARCHITECTURES[name](**options)
