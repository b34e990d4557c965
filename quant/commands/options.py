"""Options that several of the host's commands share."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant.models.checkpoint import Checkpoint


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which trained network a command works on."""
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        help=".tar, .pt or .safetensors with the trained weights (default: the built-in network)",
    )
    add_architecture_arguments(parser)


def add_architecture_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which kind of network a command works on."""
    parser.add_argument(
        "--architecture", help="network (default: what the checkpoint says, or gtcrn)"
    )
    parser.add_argument(
        "--network-option",
        action="append",
        default=[],
        type=_network_option,
        metavar="NAME=VALUE",
        help="option of the network, such as causal=true; may be repeated (docs/networks.md)",
    )


def load_network(arguments: argparse.Namespace) -> "Checkpoint":
    """The trained network that `add_network_arguments` asked for."""
    from quant.checkpoints import default_checkpoint_path
    from quant.models.checkpoint import load_checkpoint

    return load_checkpoint(
        arguments.checkpoint or default_checkpoint_path(),
        arguments.architecture,
        **dict(arguments.network_option),
    )


def _network_option(text: str) -> tuple[str, Any]:
    """The name and value of an option; the value is JSON, or else a word."""
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as in causal=true")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
