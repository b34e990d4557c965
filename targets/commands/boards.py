"""List the supported boards, or run a command of the runtime on an emulated one.

Without an action the boards are listed. `emulate` takes any command of the device runtime;
`benchmark` counts instructions per frame there and projects the real-time factor from them.
"""

import argparse
from typing import Any

from edge_se.errors import UserError
from edge_se.options import output_file, word
from edge_se.text_table import aligned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--json",
        type=output_file,
        metavar="FILE",
        help="write the list as JSON (-: standard output)",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    emulate = actions.add_parser("emulate", help="run a command on an emulated board")
    emulate.add_argument(
        "--python", type=word, metavar="X.Y", help="its Python (default: its usual one)"
    )
    emulate.add_argument("board", help="one with a known core, as edge-se boards lists them")
    emulate.add_argument(
        "command", nargs=argparse.REMAINDER, help="-- and a command, as: -- benchmark --model FILE"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.files import STANDARD, write_json
    from targets.boards import find_board, load_boards

    if arguments.action == "emulate":
        from targets.emulation.command import emulate

        # Whether argparse leaves the -- in depends on Python's version.
        command = arguments.command[arguments.command[:1] == ["--"] :]
        if command and command[0].startswith("-"):
            raise UserError(f"{command[0]} has to come before the board, as options of emulate do")
        board = find_board(arguments.board)
        return emulate(board, arguments.python or board.default_python, command)
    entries = [describe(board) for board in load_boards().values()]
    if arguments.json is not None:
        write_json(arguments.json, entries)
    if str(arguments.json) != STANDARD:
        print(format_boards(entries))
    return 0


def describe(board: Any) -> dict[str, Any]:
    """A board (`targets.boards.Board`) as JSON."""
    speed = board.instructions_per_second
    return {
        "board": board.key,
        "name": board.name,
        "platform": board.platform.key,
        "bits": board.platform.bits,
        "core": board.core and board.core.name,
        "clock_mhz": board.clock_mhz,
        "memory_mb": board.memory_mb,
        "systems": dict(board.systems),
        "runtime": board.platform.runtime.interpreter,
        "numpy": board.platform.runtime.numpy,
        "pythons": list(board.platform.runtime.wheels),
        "instructions_per_second": speed and list(speed),
    }


def format_boards(entries: list[dict[str, Any]]) -> str:
    """A table for people."""
    header = ("BOARD", "NAME", "CORE", "MHz", "PLATFORM", "RUNTIME", "PYTHON", "G INSTR/S")
    rows = [header]
    for entry in entries:
        speed, pythons = entry["instructions_per_second"], entry["pythons"]
        rows.append(
            (
                entry["board"],
                entry["name"],
                entry["core"] or "any",
                str(entry["clock_mhz"] or "any"),
                entry["platform"],
                entry["runtime"],
                pythons[0] if len(pythons) == 1 else f"{pythons[0]} to {pythons[-1]}",
                f"{speed[0] / 1e9:.1f} to {speed[1] / 1e9:.1f}" if speed else "",
            )
        )
    return "\n".join(
        [*aligned(rows), "", "G INSTR/S: assumed billions of instructions per second, one core"]
    )
