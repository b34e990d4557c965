"""Compile a trained network into a C engine, which runs it without an interpreter.

A checkpoint is compiled in float, or in another --arithmetic. A MODEL.tflite of --precision int8 is
compiled as it is: the engine computes the same integers as that file.

--out FILE.so makes a shared library, which is a model file: give it to --model. Without --board it
is made for this machine, by the system's C compiler; for a board it is cross-compiled, and `bundle`
and `deploy` take it there. --out FOLDER/ writes sources instead: portable C that needs nothing but
a compiler, and the weights as a table.

--board cortex-m33 --out FOLDER/ (or -m4, -m7, -m55) writes a package for a microcontroller: sources
with a CMakeLists.txt, an example, a self-test, and what it takes of flash and RAM. It computes in
fixed, which needs fewer instructions and less flash than int8, unless it is given a MODEL.tflite.
--restore-states spends RAM on being itself again soon after a knock, as all other engines do.

--plugin ladspa --out FOLDER/ makes a plugin for audio programs (PipeWire, ffmpeg, Ardour), and
--plugin lv2 a bundle of the newer kind, both with a file for PipeWire's filter chain. Any sample
rate, block size and number of instances; strength, mix and bypass are its controls.

MODEL.tflite --npu NAME --out FOLDER/ compiles an INT8 model file for Arm's Ethos-U instead, by Vela
(the extra npu), and writes Vela's file and a report.
"""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.engines.generated import ARITHMETICS
from edge_se.options import check_output, input_path, word
from quant.commands.options import add_network_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    import numpy as np

    from quant.c.engine import Engine
    from quant.networks.checkpoint import Checkpoint

LIBRARY, MODEL = ".so", ".tflite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    parser.add_argument(
        "--out",
        type=word,
        required=True,
        metavar="FILE.so or FOLDER/",
        help="library to write, or folder for the sources or the plugin",
    )
    parser.add_argument(
        "--arithmetic",
        choices=ARITHMETICS,
        help="float: float samples, equal to the network up to rounding; fixed: int16 samples, "
        "8-bit weights, 16-bit values, no floating point; int8: int16 samples, what an INT8 model "
        "file computes (default: float, for a microcontroller fixed, of a .tflite int8)",
    )
    parser.add_argument(
        "--calibration-clips",
        type=input_path,
        metavar="DIR",
        help="clips that fixed and int8 are calibrated with, as of quantize (default: the built-in "
        "clips)",
    )
    parser.add_argument(
        "--keep-level",
        action="store_true",
        help="no front end: let the network hear every level, DC and knock as it is",
    )
    parser.add_argument(
        "--board",
        type=word,
        metavar="NAME",
        help="what to compile for, as edge-se boards lists it, or a microcontroller: cortex-m4, "
        "cortex-m7, cortex-m33, cortex-m55",
    )
    parser.add_argument(
        "--restore-states",
        action="store_true",
        help="with a microcontroller: keep the network's states while a knock lasts, and restore "
        "them after it, as other engines do; takes as much RAM again as they do",
    )
    parser.add_argument(
        "--prefix",
        type=word,
        help="of files, functions and types of the sources, to link several engines (default: "
        "gtcrn); of a plugin: its name, to have several (default: edge_se_gtcrn)",
    )
    parser.add_argument(
        "--plugin",
        choices=("ladspa", "lv2"),
        help="make a plugin for audio programs (docs/live/plugin.md)",
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
    from targets.c.microcontroller import is_microcontroller

    out = Path(arguments.out)
    if arguments.npu:
        return _compile_for_npu(arguments, out)
    if arguments.allow_cpu:
        raise UserError("--allow-cpu is for an NPU; name one with --npu")
    if is_microcontroller(arguments.board):
        return _write_package(arguments, out)
    if arguments.restore_states:
        raise UserError("--restore-states is for a microcontroller; other engines always do")
    if arguments.calibration_clips and arguments.arithmetic in (None, "float"):
        raise UserError("--calibration-clips needs --arithmetic fixed or int8; float has no ranges")
    if arguments.plugin:
        return _write_plugin(arguments, out)
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
        raise UserError(
            "--board is for a library, or a microcontroller's; sources are the same for every board"
        )
    return _write_sources(arguments, out)


@dataclass(frozen=True)
class _Made:
    """An engine, what it was made from, and what proves a library of it."""

    engine: "Engine"
    source: str
    checkpoint: "Mapping[str, Any]"
    prove: "Callable[[bytes], None]"


def _make(arguments: argparse.Namespace) -> _Made:
    """The engine that is asked for."""
    from quant.c.engines import make_engine
    from quant.commands.options import load_network
    from quant.commands.progress import ProgressBars
    from quant.ptq.proof import prove_against_torch

    if _is_model(arguments.checkpoint):
        return _make_of_file(arguments)
    arithmetic = arguments.arithmetic or "float"
    checkpoint = load_network(arguments)
    noisy = _noisy(arguments, checkpoint)
    with ProgressBars() as progress:
        engine = make_engine(checkpoint, arithmetic, noisy, progress, arguments.keep_level)

    def prove(library: bytes) -> None:
        prove_against_torch(library, checkpoint, engine.signal, "c", arithmetic != "float")

    return _Made(engine, checkpoint.name, checkpoint.describe(), prove)


def _make_of_file(arguments: argparse.Namespace) -> _Made:
    """The engine that computes what a model file does."""
    from edge_se.errors import UserError
    from edge_se.model_file import read_model
    from quant.c.engines import int8_engine
    from quant.ptq.proof import prove, run_apart, speech

    path = Path(arguments.checkpoint)
    if arguments.arithmetic not in (None, "int8"):
        raise UserError(
            f"{path} can be compiled in int8, and its checkpoint in {arguments.arithmetic}"
        )
    for name in ("calibration_clips", "architecture", "network_option", "keep_level"):
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is for checkpoints; {path} is a model file, as it will run")
    data, manifest = read_model(path)
    engine = int8_engine(data)

    def prove_it(library: bytes) -> None:
        samples = speech(manifest.signal.sample_rate)
        prove(library, samples, run_apart(data, samples), rounded=True, engine="c")

    return _Made(engine, path.name, manifest.checkpoint, prove_it)


def _is_model(checkpoint: Path | None) -> bool:
    return checkpoint is not None and Path(checkpoint).suffix == MODEL


def _write_library(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.files import write_whole
    from targets.engines import library_of

    compiler, place = _compiler(arguments.board)
    made = _make(arguments)
    data = library_of(made.engine, made.checkpoint, compiler)
    if arguments.board is None:  # what is for another machine can't run here
        made.prove(data)
    write_whole(out, data)
    print(
        f"wrote {out}: {made.engine.network} from {made.source} in "
        f"{made.engine.arithmetic} for {place}, {len(data) / 1000:.0f} KB"
    )
    return 0


def _write_sources(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.files import make_folder, require_folder, write_whole
    from targets.c.generate import FLAGS, frame_sources, weights_sources

    _check_prefix(arguments.prefix)
    require_folder(out)
    made = _make(arguments)
    prefix = arguments.prefix or made.engine.network
    files = frame_sources(made.engine, prefix) | weights_sources(made.engine, made.source, prefix)
    make_folder(out)
    for name, text in files.items():
        write_whole(out / name, text)
    print(
        f"wrote {', '.join(files)} to {out}: {made.engine.network} from "
        f"{made.source} in {made.engine.arithmetic}; compile with\n"
        f"  cc {shlex.join(FLAGS)} -c {out / prefix}.c {out / prefix}_weights.c"
    )
    return 0


def _write_package(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.errors import UserError
    from targets.c.microcontroller import find_core
    from targets.c.microcontroller.package import ARITHMETICS as SERVED
    from targets.c.microcontroller.package import require_tools, write_package

    core = find_core(arguments.board)
    for name in ("plugin", "prefix"):
        if getattr(arguments, name):
            raise UserError(f"--{name} means nothing for a microcontroller; leave it out")
    if arguments.out.endswith(LIBRARY):
        raise UserError(f"{core.key} gets a folder of sources, as in --out {core.key}/")
    if arguments.arithmetic is None and not _is_model(arguments.checkpoint):
        arguments.arithmetic = SERVED[0]
    if arguments.arithmetic not in (None, *SERVED):
        raise UserError(
            f"a microcontroller computes in integers; choose --arithmetic {' or '.join(SERVED)}"
        )
    if arguments.restore_states and arguments.keep_level:
        raise UserError("--restore-states needs the front end, which --keep-level leaves out")
    require_tools(out)
    made = _make(arguments)
    memory = write_package(out, made.engine, core, made.source, arguments.restore_states)
    flash, ram = (sum(parts.values()) / 1024 for parts in (memory.flash, memory.ram))
    print(
        f"wrote {out}: {made.engine.network} from {made.source} in {made.engine.arithmetic} for a "
        f"{core.name}, {flash:.0f} KB of flash, {ram:.0f} KB of RAM; build it with\n"
        f"  cmake -S {out} -B build -DCMAKE_TOOLCHAIN_FILE=toolchain.cmake && cmake --build build"
    )
    return 0


def _write_plugin(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.files import make_folder, require_folder, write_whole
    from targets.c.plugin import plugin_files
    from targets.engines import library_of

    _check_prefix(arguments.prefix)
    require_folder(out)
    compiler, place = _compiler(arguments.board)
    made = _make(arguments)
    name = arguments.prefix or f"edge_se_{made.engine.network}"
    here = None if arguments.board else out
    files = plugin_files(arguments.plugin, made.engine, name, made.source, compiler, here)
    if arguments.board is None:  # the same engine, as a model file that can be run
        made.prove(library_of(made.engine, made.checkpoint, compiler))
    for path, content in files.items():
        make_folder((out / path).parent)
        write_whole(out / path, content)
    size = next(len(content) for path, content in files.items() if path.endswith(LIBRARY))
    print(
        f"wrote {', '.join(files)} to {out}: {made.engine.network} from {made.source} in "
        f"{made.engine.arithmetic} for {place}, {size / 1000:.0f} KB"
    )
    return 0


def _check_prefix(prefix: str | None) -> None:
    from edge_se.errors import UserError

    if prefix and not (prefix.isidentifier() and prefix.isascii()):
        raise UserError(f"--prefix {prefix} is no name in C; use letters, digits and underscores")


def _compile_for_npu(arguments: argparse.Namespace, out: Path) -> int:
    from edge_se.errors import UserError
    from edge_se.files import make_folder, write_json, write_whole
    from targets.npu.ethos_u import compile_for_npu

    others = (
        *("board", "restore_states", "prefix", "plugin", "calibration_clips", "architecture"),
        *("network_option", "keep_level"),
    )
    for name in others:
        if getattr(arguments, name):
            raise UserError(f"--{name.replace('_', '-')} means nothing beside --npu; leave it out")
    if arguments.arithmetic is not None:
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
    write_whole(path, compiled.content)
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
    from edge_se.core.build import THIS_PROCESSOR, BuildError, find_compiler
    from edge_se.errors import UserError
    from targets.boards import find_board
    from targets.cross import find_cross_compiler

    if key is not None:
        board = find_board(key)
        return find_cross_compiler(board.platform), board.name
    try:
        return [*find_compiler(), THIS_PROCESSOR], "this machine"
    except BuildError as error:
        raise UserError(f"{error}; install gcc, or name a --board to cross-compile") from None
