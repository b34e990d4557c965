"""Compile a trained network into a shared library that runs it without an interpreter.

The library is a model file: give it to --model. Without --board it is made for this machine, by the
system's C compiler; for a board it is cross-compiled, and `bundle` and `deploy` take it there.
"""

import argparse
from pathlib import Path

from edge_se.engines.generated import ARITHMETICS
from quant.commands.options import add_network_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="library to write, a .so"
    )
    parser.add_argument(
        "--arithmetic",
        choices=ARITHMETICS,
        default="float",
        help="what the engine computes in, as of export-c (default: %(default)s)",
    )
    parser.add_argument(
        "--calibration-clips",
        type=Path,
        metavar="DIR",
        help="clips that fixed is calibrated with, as of quantize (default: the built-in clips)",
    )
    parser.add_argument(
        "--board", metavar="NAME", help="what to compile for, as edge-se boards lists it"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.errors import UserError
    from edge_se.files import written_beside

    if arguments.out.suffix != ".so":
        raise UserError(f"a compiled engine's name ends in .so, which {arguments.out} does not")
    compiler, place = _compiler(arguments.board)
    if arguments.calibration_clips and arguments.arithmetic == "float":
        raise UserError("--calibration-clips needs --arithmetic fixed; float has no ranges")
    from quant.audio.clips import read_calibration_clips  # torch comes with these
    from quant.commands.options import load_network
    from quant.commands.progress import ProgressBars
    from quant.ptq.pipeline import noisy_clips
    from targets.engines import compile_engine

    checkpoint, noisy = load_network(arguments), None
    if arguments.calibration_clips:
        noisy = noisy_clips(read_calibration_clips(arguments.calibration_clips))
    with ProgressBars() as progress:
        data = compile_engine(checkpoint, arguments.arithmetic, compiler, noisy, progress)
    with written_beside(arguments.out) as temporary:
        temporary.write_bytes(data)
    print(
        f"wrote {arguments.out}: {checkpoint.architecture} from {checkpoint.name} in "
        f"{arguments.arithmetic} for {place}, {len(data) / 1000:.0f} KB"
    )
    return 0


def _compiler(key: str | None) -> tuple[list[str], str]:
    """Command of the C compiler for a board, or for this machine, and what that is called."""
    from edge_se.core.build import BuildError, find_compiler
    from edge_se.errors import UserError
    from targets.boards import find_board
    from targets.cross import find_cross_compiler

    if key is not None:
        board = find_board(key)
        return find_cross_compiler(board.platform), board.name
    try:
        return [*find_compiler(), "-march=native"], "this machine"
    except BuildError as error:
        raise UserError(f"{error}; install gcc, or name a --board to cross-compile") from None
