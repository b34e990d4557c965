"""Compile a trained network into a C engine, which runs it without an interpreter.

--out FILE.so makes a shared library, which is a model file: give it to --model. Without --board it
is made for this machine, by the system's C compiler; for a board it is cross-compiled, and `bundle`
and `deploy` take it there. --out FOLDER/ writes sources instead: portable C that needs nothing but
a compiler, and the weights as a table.

MODEL.tflite --npu NAME --out FOLDER/ compiles an INT8 model file for Arm's Ethos-U instead, by Vela
(the extra npu), and writes Vela's file and a report.
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.engines.generated import ARITHMETICS
from edge_se.options import check_output, input_path, word
from quant.commands.options import add_network_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from quant.networks.checkpoint import Checkpoint

LIBRARY = ".so"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    parser.add_argument(
        "--out",
        type=word,
        required=True,
        metavar="FILE.so or FOLDER/",
        help="library to write, or folder for the sources",
    )
    parser.add_argument(
        "--arithmetic",
        choices=ARITHMETICS,
        default="float",
        help="float: float samples, equal to the network up to rounding; fixed: int16 samples, "
        "8-bit weights, 16-bit values, no floating point (default: %(default)s)",
    )
    parser.add_argument(
        "--calibration-clips",
        type=input_path,
        metavar="DIR",
        help="clips that fixed is calibrated with, as of quantize (default: the built-in clips)",
    )
    parser.add_argument(
        "--board",
        type=word,
        metavar="NAME",
        help="what to compile for, as edge-se boards lists it",
    )
    parser.add_argument(
        "--prefix",
        type=word,
        help="of files, functions and types of the sources, to link several engines (default: "
        "gtcrn)",
    )
    parser.add_argument(
        "--npu",
        type=word,
        metavar="NAME",
        help="compile a model file for this NPU, such as ethos-u55-128 (docs/integer-machines.md)",
    )
    parser.add_argument(
        "--allow-cpu",
        action="store_true",
        help="with --npu: succeed although some operators are left to the CPU",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.errors import UserError

    out = Path(arguments.out)
    if arguments.npu:
        return _compile_for_npu(arguments, out)
    if arguments.allow_cpu:
        raise UserError("--allow-cpu is for an NPU; name one with --npu")
    if arguments.calibration_clips and arguments.arithmetic == "float":
        raise UserError("--calibration-clips needs --arithmetic fixed; float has no ranges")
    if out.suffix == LIBRARY and not out.is_dir():
        inputs = (arguments.checkpoint, arguments.calibration_clips)
        check_output(out, filter(None, inputs))
        if arguments.prefix:
            raise UserError("--prefix is for sources; give --out a folder, as in --out engine/")
        return _write_library(arguments, out)
    if not (out.is_dir() or arguments.out.endswith("/")):
        raise UserError(
            f"{out} names neither a library, which ends in {LIBRARY}, nor a folder, which ends in /"
        )
    if arguments.board:
        raise UserError("--board is for a library; sources are the same for every board")
    return _write_sources(arguments, out)


def _write_library(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.files import write_whole
    from quant.commands.options import load_network
    from quant.commands.progress import ProgressBars
    from quant.ptq.proof import prove_against_torch
    from targets.engines import compile_engine

    compiler, place = _compiler(arguments.board)
    checkpoint = load_network(arguments)
    noisy = _noisy(arguments, checkpoint)
    with ProgressBars() as progress:
        data = compile_engine(checkpoint, arguments.arithmetic, compiler, noisy, progress)
    if arguments.board is None:  # what is for another machine can't run here
        rounded = arguments.arithmetic != "float"
        prove_against_torch(data, checkpoint, checkpoint.signal, "c", rounded)
    write_whole(out, data)
    print(
        f"wrote {out}: {checkpoint.architecture} from {checkpoint.name} in "
        f"{arguments.arithmetic} for {place}, {len(data) / 1000:.0f} KB"
    )
    return 0


def _write_sources(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.errors import UserError
    from edge_se.files import make_folder, write_whole
    from quant.commands.options import load_network
    from quant.commands.progress import ProgressBars
    from targets.c.generate import FLAGS, generate

    prefix = arguments.prefix or "gtcrn"
    if not (prefix.isidentifier() and prefix.isascii()):
        raise UserError(f"--prefix {prefix} is no name in C; use letters, digits and underscores")
    checkpoint = load_network(arguments)
    noisy = _noisy(arguments, checkpoint)
    with ProgressBars() as progress:
        files = generate(checkpoint, arguments.arithmetic, prefix, noisy, progress)
    make_folder(out)
    for name, text in files.items():
        write_whole(out / name, text)
    print(
        f"wrote {', '.join(files)} to {out}: {checkpoint.architecture} from "
        f"{checkpoint.name} in {arguments.arithmetic}; compile with\n"
        f"  cc {shlex.join(FLAGS)} -c {out / prefix}.c {out / prefix}_weights.c"
    )
    return 0


def _compile_for_npu(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.errors import UserError
    from edge_se.files import make_folder, write_json, written_beside
    from targets.npu.ethos_u import compile_for_npu

    others = ("board", "prefix", "calibration_clips", "architecture", "network_option")
    for name in others:
        if getattr(arguments, name):
            raise UserError(f"--{name.replace('_', '-')} means nothing beside --npu; leave it out")
    if arguments.arithmetic != "float":
        raise UserError("--arithmetic means nothing beside --npu; the model file has its own")
    model = arguments.checkpoint
    if model is None or model.suffix != ".tflite":
        raise UserError(
            "--npu compiles a model file; name a .tflite made by edge-se quantize --precision int8"
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --npu writes a folder, as in --out npu/")
    compiled = compile_for_npu(model, arguments.npu)
    left = "; ".join(dict.fromkeys(compiled.on_cpu))
    if compiled.cpu_operators and not arguments.allow_cpu:
        raise UserError(
            f"{compiled.cpu_operators} of {compiled.npu_operators + compiled.cpu_operators} "
            f"operators of {model} would stay on the CPU ({left}); an --precision int8 of "
            f"edge-se quantize has none, and --allow-cpu accepts them"
        )
    make_folder(out)
    path = out / f"{model.stem}_{compiled.variant}.tflite"
    with written_beside(path) as temporary:
        temporary.write_bytes(compiled.content)
    write_json(path.with_suffix(".json"), compiled.describe())
    print(f"wrote {path}: {compiled.summary()}")
    if left:
        print(f"left to the CPU: {left}")
    return 0


def _noisy(
    arguments: argparse.Namespace, checkpoint: "Checkpoint"
) -> "Sequence[np.ndarray] | None":
    """What the network hears during calibration; None for the embedded clips."""
    from quant.audio.clips import read_calibration_clips
    from quant.ptq.pipeline import noisy_clips

    if not arguments.calibration_clips:
        return None
    rate = checkpoint.signal.sample_rate
    return noisy_clips(read_calibration_clips(arguments.calibration_clips, rate))


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
