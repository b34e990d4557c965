"""The mean of several checkpoints' weights, often better than each where one came of the other.

M. Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time", ICML 2022.
"""

from collections.abc import Sequence

import torch

from edge_se.errors import UserError
from quant.networks.checkpoint import Checkpoint


def take_mean(first: Checkpoint, others: Sequence[Checkpoint]) -> None:
    """Give a checkpoint's network the mean of its weights and others'.

    Raises:
        UserError: they are not of one network.
    """
    for other in others:
        if (other.network, other.options) != (first.network, first.options):
            raise UserError(
                f"{first.name} is a {_named(first)} and {other.name} a {_named(other)}; only "
                "weights of one network have a mean"
            )
    weights = [checkpoint.model.state_dict() for checkpoint in (first, *others)]
    mean = {
        name: torch.stack([each[name] for each in weights]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in weights[0].items()
    }
    first.model.load_state_dict(mean)


def _named(checkpoint: Checkpoint) -> str:
    options = ", ".join(f"{name} {value}" for name, value in checkpoint.options.items())
    return checkpoint.architecture + (f" with {options}" if options else "")
