"""`edge-se boards emulate BOARD -- COMMAND`: an edge-se command on an emulated board."""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_se.cli import Parser
from edge_se.commands.benchmark import add_measuring_arguments, samples_of
from edge_se.errors import UserError
from edge_se.options import check_paths
from targets.boards import Board

# Counts hardly change from frame to frame, so that few frames tell what many would.
DEFAULT_SECONDS = 2.0


def emulate(board: Board, python: str, command: list[str]) -> int:
    """Run a command of the device runtime on an emulated board, and return its exit code.

    `benchmark` counts instructions instead of taking times, which mean nothing under emulation.

    Raises:
        UserError: The board can't be emulated here, or no command is given.
    """
    if not command:
        raise UserError(
            "say what to run there, as in: edge-se boards emulate pi4 -- benchmark --model FILE"
        )
    if command[0] == "benchmark":
        return _benchmark(board, python, _parse(board, command[1:]))
    from targets.emulation.emulator import emulated

    with emulated(board, python) as machine:
        return machine.run(["-m", "edge_se", *command]).returncode


def _parse(board: Board, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog=f"edge-se boards emulate {board.key} -- benchmark",
        description="Count the instructions per frame and project the real-time factor.",
    )
    add_measuring_arguments(parser, DEFAULT_SECONDS)
    parsed = parser.parse_args(arguments)
    check_paths(parser, parsed)
    return parsed


def _benchmark(board: Board, python: str, arguments: argparse.Namespace) -> int:
    from edge_se.files import STANDARD, write_json
    from edge_se.model_file import default_model_path, read_manifest
    from targets.emulation.report import emulate_benchmark, format_report

    model = arguments.model or default_model_path()
    samples = _samples(arguments.audio, arguments.seconds, read_manifest(model).signal.sample_rate)
    report = emulate_benchmark(
        board, python, model, samples, arguments.engine, arguments.runtime, arguments.stft
    )
    if arguments.json is not None:
        write_json(arguments.json, report)
    if str(arguments.json) != STANDARD:
        print(format_report(report))
    if not report["agreement"]["agrees"]:
        print("edge-se: the emulated board puts out something else", file=sys.stderr)
        return 1
    worst = max(entry["rtf"][1] for entry in report["projection"])
    if arguments.max_rtf is not None and worst > arguments.max_rtf:
        print(
            f"edge-se: projected real-time factor {worst:.4g} is above {arguments.max_rtf:g}",
            file=sys.stderr,
        )
        return 1
    return 0


def _samples(path: Path | None, seconds: float | None, rate: int) -> NDArray[np.float32]:
    samples = samples_of(path, rate)
    if seconds is None and path is None:
        seconds = DEFAULT_SECONDS
    count = len(samples) if seconds is None else max(1, round(seconds * rate))
    return np.resize(samples, count).astype(np.float32, copy=False)
