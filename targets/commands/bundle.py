"""Pack a model and everything that a board without internet needs to run it into one archive.

On the board: tar xzf bundle.tar.gz && python3 edge-se-bundle/install.py
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--board", required=True, help="what it is for, as edge-se boards lists it")
    parser.add_argument(
        "--python", metavar="X.Y", help="Python version there (default: the board's usual one)"
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="a .tflite or a .so of edge-se compile (default: the built-in .tflite)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="archive to write, a .tar.gz"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.model_file import default_model_path
    from targets.boards import find_board
    from targets.bundle import build_bundle, require_bundle_name, write_bundle

    require_bundle_name(arguments.out)
    board = find_board(arguments.board)
    python = arguments.python or board.default_python
    bundle = build_bundle(board, python, arguments.model or default_model_path())
    write_bundle(arguments.out, bundle)
    model = bundle.description["model"]
    print(
        f"{arguments.out}: {len(bundle.data) / 1e6:.1f} MB, release {bundle.id}, "
        f"{model['architecture']} {model['precision']} for {board.name} with Python {python}, "
        f"{bundle.description['installed_bytes'] / 1e6:.0f} MB once installed"
    )
    return 0
