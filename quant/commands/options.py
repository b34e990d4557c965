"""Options that several of the host's commands share."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_se.options import InputPath, input_path, word

if TYPE_CHECKING:
    from quant.modules.own import OwnModule
    from quant.networks.checkpoint import Checkpoint
    from quant.training.data import Corpus


def _checkpoints() -> Mapping[str, Path]:
    from quant.checkpoints import built_in_checkpoints

    return built_in_checkpoints()


checkpoint_path = InputPath(_checkpoints)
"""A kind of option: trained weights."""


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which trained network a command works on."""
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=checkpoint_path,
        help=".tar, .pt or .safetensors with the trained weights, or a built-in network's name "
        "(default: gtcrn)",
    )
    add_architecture_arguments(parser)


def add_architecture_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which kind of network a command works on."""
    parser.add_argument(
        "--architecture",
        type=word,
        help="network, where the checkpoint can't tell (train: default gtcrn)",
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
    from quant.networks.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(
        arguments.checkpoint or default_checkpoint_path(),
        arguments.architecture,
        **dict(arguments.network_option),
    )
    for note in checkpoint.notes:
        print(f"{checkpoint.name}: {note}", file=sys.stderr)
    return checkpoint


def add_module_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a module of one's own, in place of a network of this project."""
    parser.add_argument(
        "--module",
        type=word,
        metavar="FILE.py:FUNCTION",
        help="a torch module of your own, which this function of this file builds; the file is run "
        "(docs/own-network.md; needs the extra litert)",
    )
    parser.add_argument(
        "--checkpoint",
        dest="module_checkpoint",
        type=input_path,
        metavar="FILE",
        help="weights of --module (default: those that it is built with)",
    )


def load_module(arguments: argparse.Namespace) -> "OwnModule | None":
    """The module of one's own that `add_module_arguments` asked for; None for none.

    Raises:
        UserError: it can't be used, or options beside it mean nothing to it.
    """
    from edge_se.errors import UserError

    if arguments.module is None:
        if arguments.module_checkpoint is not None:
            raise UserError(
                "--checkpoint holds weights of a --module; give those of a network of this project "
                "without it, as in edge-se quantize model.tar"
            )
        return None
    if arguments.checkpoint is not None:
        raise UserError(
            f"give the weights of a --module by --checkpoint, as in --checkpoint "
            f"{arguments.checkpoint}"
        )
    if arguments.architecture or arguments.network_option:
        raise UserError(
            "--architecture and --network-option are of networks of this project; a --module is "
            "built by its own function"
        )
    from quant.modules.export import require_litert
    from quant.modules.own import load_own_module

    require_litert()
    return load_own_module(arguments.module, arguments.module_checkpoint)


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a command trains on and validates with."""
    for name, what in (("--clean", "clean speech"), ("--noise", "noise")):
        parser.add_argument(
            name,
            nargs="+",
            type=input_path,
            required=True,
            metavar="FOLDER",
            help=f"folders of {what}",
        )
    parser.add_argument(
        "--pattern",
        nargs="+",
        type=word,
        default=["*"],
        metavar="GLOB",
        help="use only files named so, such as 'train_*' (default: all)",
    )
    parser.add_argument(
        "--validation-pattern",
        nargs="+",
        type=word,
        metavar="GLOB",
        help="files held out for validation, speech and noise (default: one in 20, by name)",
    )


def load_corpus_parts(
    folders: Sequence[Path], arguments: argparse.Namespace, rate: int
) -> tuple["Corpus", "Corpus"]:
    """Read folders' clips at `rate` Hz, name skipped ones, and hold some out for validation."""
    from quant.audio.clips import find_clips
    from quant.training.data import hold_out, joined, load_corpus

    corpus = joined(
        [load_corpus(folder, find_clips(folder, arguments.pattern), rate) for folder in folders]
    )
    for clip in corpus.skipped:
        print(f"skipped {clip}", file=sys.stderr)
    return hold_out(folders, corpus, arguments.validation_pattern)


def _network_option(text: str) -> tuple[str, Any]:
    """The name and value of an option; the value is JSON, or else a word."""
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as in causal=true")
    try:
        return name, json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return name, value
