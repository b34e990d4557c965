"""The command line: finds commands, imports the one that is called, and reports errors.

Commands are modules registered in the entry-point group `edge_se.commands`. Each has a docstring,
whose first line is its summary, `add_arguments(parser)` and `run(arguments) -> exit code`.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from edge_se.ending import Ended, ending_on_signals, ending_put_off
from edge_se.errors import UserError, reason, sentence
from edge_se.files import STANDARD_STREAMS

GROUP = OWN_COMMANDS = "edge_se.commands"
OWN_PACKAGES = ("edge_se", "quant", "targets", "calib_data")
# Extra that a command's imports come from, by module; the longest matching prefix counts.
EXTRAS = {
    "quant": "quant",
    "targets": "quant",
    "quant.commands.evaluate": "quant,evaluate",
    "quant.commands.train": "quant,evaluate",
}
MODELS = (".tflite", ".onnx", ".so")  # what their files' names end in
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def find_commands() -> dict[str, str]:
    """Module by command name, of all installed rooms, sorted by name."""
    from importlib.metadata import entry_points

    points = entry_points(group=GROUP)
    return {point.name: point.value for point in sorted(points, key=lambda point: point.name)}


def find_command(name: str) -> str:
    """Module of a command; UserError when no room has it.

    The runtime's own commands are found without a look into the installed packages' metadata, which
    costs 4 MB and a tenth of a small board's start.
    """
    module = f"{OWN_COMMANDS}.{name}"
    if name.isidentifier() and not name.startswith("_") and _source(module) is not None:
        return module
    commands = find_commands()
    if name not in commands:
        raise UserError(f"there is no command {name!r}; choose from {', '.join(commands)}")
    if _source(commands[name]) is None:
        raise UserError(f"edge-se {name} is not part of this installation; pip install edge-se")
    return commands[name]


def summary(module: str) -> str:
    """First line of a module's docstring, read from its source without importing it."""
    import ast

    source = _source(module)
    if source is None:
        return "(not part of this installation)"
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


class Parser(argparse.ArgumentParser):
    """One sentence for a wrong command line, in place of the usage of all options."""

    def error(self, message: str) -> NoReturn:
        """End the command with the sentence and status 2."""
        unknown = message.partition("unrecognized arguments: ")[2].split()
        named = any(word.endswith(MODELS) for word in unknown)
        if named and "--model" in self._option_string_actions:
            message += "; a model is named by --model FILE"
        told = sentence(f"{message}; {self.prog} --help says more")
        self.exit(EXIT_USER_ERROR, f"{self.prog}: error: {told}\n")


def build_parser(command: str, module: Any) -> argparse.ArgumentParser:
    """The parser of a command, described by the docstring of its module."""
    first, _, rest = (module.__doc__ or "").partition("\n")
    parser = Parser(prog=f"edge-se {command}", description=first, epilog=rest.strip() or None)
    module.add_arguments(parser)
    return parser


def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its package is not there
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    What the user or the system is at fault for becomes one sentence here; a bug keeps its
    traceback.
    """
    _prepare_streams()
    with ending_on_signals():
        try:
            code = _outcome(sys.argv[1:] if argv is None else list(argv))
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except BrokenPipeError:  # whoever read what we say has left
            code = EXIT_BROKEN_PIPE
        except OSError as error:
            code = _complain(f"the output can't be written ({reason(error)})")
        # What is still buffered must not fail again at exit.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return code


def _outcome(argv: list[str]) -> int:
    """Run the command line; what went wrong is told and becomes an exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return _run(argv)
    except UserError as error:
        return _complain(str(error))
    except Ended as end:  # a signal needs no words
        return end.code
    except SystemExit as end:  # argparse has told its reason
        return end.code if isinstance(end.code, int) else EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except MemoryError:
        return _complain("there is not enough memory for this; give less at once")
    except BrokenPipeError:
        raise
    except OSError as error:
        place = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
        return _complain(f"{reason(error)}{place}")


def _complain(message: str) -> int:
    _tell(f"error: {sentence(message)}")
    return EXIT_USER_ERROR


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # then nobody can be told
        print(f"edge-se: {text}", file=sys.stderr, flush=True)


def _prepare_streams() -> None:
    """Make standard output and error fit to be written to, whatever we were started with."""
    # A closed one's number would go to the next file opened, and messages into that file.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= max(STANDARD_STREAMS):
        pass
    os.close(descriptor)
    for descriptor in STANDARD_STREAMS:  # where the other end made them otherwise, print would fail
        os.set_blocking(descriptor, True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (print would take stdout)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names and units, where the encoding lacks them
        sys.stdout.reconfigure(errors="backslashreplace")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as what it says, without the place in the code that it comes from."""
    _tell(f"warning: {sentence(str(message))}")


def _run(argv: list[str]) -> int:
    parser = Parser(
        prog="edge-se",
        description="Quantize GTCRN speech enhancement to INT8 TFLite and run it frame by frame.",
        usage="edge-se COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help and exit")
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of those below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.version:
        from edge_se import __version__

        print(f"edge-se {__version__}")
        return 0
    if arguments.help or arguments.command is None:
        commands = find_commands()
        width = max(map(len, commands), default=0)
        lines = [f"  {name:<{width}}  {summary(module)}" for name, module in commands.items()]
        parser.epilog = "commands:\n" + "\n".join(lines) + "\n\nedge-se COMMAND --help says more"
        parser.print_help()
        return 0 if arguments.help else EXIT_USER_ERROR
    return _call(arguments.command, find_command(arguments.command), arguments.rest)


def _call(command: str, module_name: str, argv: list[str]) -> int:
    # It brings numpy, which makes an ImportError of what interrupts its own import.
    with ending_put_off():
        from edge_se.options import check_paths

    try:
        module = importlib.import_module(module_name)
        parser = build_parser(command, module)
        # Several inputs may have options among them: enhance a.wav b.wav --model m.tflite out
        intermixed = any(
            action.nargs == argparse.ONE_OR_MORE and not action.option_strings
            for action in parser._actions
        )
        parse = parser.parse_intermixed_args if intermixed else parser.parse_args
        arguments = parse(argv)
        check_paths(parser, arguments)
        code: int = module.run(arguments)
        return code
    except ModuleNotFoundError as error:
        extra = _missing_extra(module_name, error)
        if extra is None:
            raise
        word = "extra" if "," not in extra else "extras"
        raise UserError(
            f"edge-se {command} needs the {word} '{extra}': pip install \"edge-se[{extra}]\""
        ) from None


def _missing_extra(module: str, error: ModuleNotFoundError) -> str | None:
    """Extra that would bring the missing module; None when its absence is a bug of ours."""
    missing = (error.name or "").partition(".")[0]
    if not missing or missing in OWN_PACKAGES or importlib.util.find_spec(missing) is not None:
        return None
    prefixes = [prefix for prefix in EXTRAS if f"{module}.".startswith(f"{prefix}.")]
    return EXTRAS[max(prefixes, key=len)] if prefixes else None
