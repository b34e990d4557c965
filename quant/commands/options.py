"""Options that several of the host's commands share."""

import argparse
from pathlib import Path


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which trained network a command works on."""
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        help=".tar, .pt or .safetensors with the trained weights (default: the built-in network)",
    )
    parser.add_argument("--architecture", default="gtcrn", help="network (default: %(default)s)")
