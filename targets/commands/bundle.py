"""Pack a model and everything that a board without internet needs to run it into one archive.

On the board: tar xzf bundle.tar.gz && python3 edge-se-bundle/install.pyz
"""

import argparse

from edge_se.options import model_path, output_file, word


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--board", type=word, required=True, help="what it is for, as edge-se boards lists it"
    )
    parser.add_argument(
        "--python",
        type=word,
        metavar="X.Y",
        help="Python version there (default: the board's usual one)",
    )
    parser.add_argument(
        "--model",
        type=model_path,
        metavar="FILE",
        help="a .tflite, a .so of edge-se compile, or a built-in model's name (default: ul_unas)",
    )
    parser.add_argument(
        "--out",
        type=output_file,
        required=True,
        metavar="FILE",
        help="archive to write, a .tar.gz",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.model_file import default_model_path
    from targets.boards import find_board
    from targets.bundle import build_bundle, require_bundle_name, write_bundle

    require_bundle_name(arguments.out)  # before downloads
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
