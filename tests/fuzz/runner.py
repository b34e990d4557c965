"""Runs one case in a process of its own, and says what was wrong with what happened.

A parent that has imported everything forks for each case, so that a case takes milliseconds. What
must hold: no traceback, no crash, no hang, and an exit status of 0 with whole outputs, or an error
of one sentence with nothing written at all.
"""

import ctypes
import faulthandler
import functools
import gc
import importlib
import itertools
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from numpy.random import Generator

import edge_se.cli
from edge_se.errors import LONGEST_SENTENCE
from tests.fuzz.mutators import Mutator, damaged, generator, pick

HANG_SECONDS = 300  # compiling the core for a board takes 60, more beside others
MEMORY_BYTES = 1 << 30  # beyond what the parent has
FILE_BYTES = 1 << 28
EXIT_BAD_OUTPUT = 99
OUR_FOLDERS = ("edge_se", "quant", "targets", "calib_data", "tests/fuzz")
MODULE = "needed: "
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # far faster than a disk
INPUT, ROOT = "{input}", Path(__file__).parents[2]

Check = Callable[[Path], object]


def as_it_is(random: Generator, path: Path) -> AbstractContextManager[object]:
    """No context at all."""
    return nullcontext()


@dataclass(frozen=True)
class Kind:
    """One kind of input, and the commands that read it.

    Attributes:
        seeds: makes valid files, content by name; called once.
        mutate: damages one of them.
        commands: command lines, of which each case takes one; "{input}" is the damaged file.
        outputs: names of the files that a command may write, and what raises if one is not whole.
        hidden: modules that are missing, as in an installation without an extra.
        main: what runs a command line and gives the exit status.
        around: context that a case runs in, in its own process; takes the generator and the input.
        quiet: exit statuses that need no sentence, and may have outputs.
        always: outputs that are written whatever the status.
        cost: of a case, in cases of other kinds; so many fewer are run.
        expected: whether some cases end with status 0 (True), and some with another (False).
    """

    seeds: Callable[[], dict[str, bytes]]
    mutate: Mutator
    commands: tuple[tuple[str, ...], ...]
    outputs: Mapping[str, Check] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    main: Callable[[list[str]], int] = edge_se.cli.main
    around: Callable[[Generator, Path], AbstractContextManager[object]] = as_it_is
    quiet: frozenset[int] = frozenset()
    always: tuple[str, ...] = ()
    cost: int = 1
    expected: frozenset[bool] = frozenset({False, True})


@dataclass(frozen=True)
class Outcome:
    """What happened in one case.

    Attributes:
        number: of the case.
        command: what ran.
        status: exit status, negative for a signal.
        fault: what was wrong, the same words for the same fault; empty if nothing was.
        errors: what was written to standard error.
    """

    number: int
    command: tuple[str, ...]
    status: int
    fault: str
    errors: str


def warm(name: str, kind: Kind) -> dict[str, bytes]:
    """Make a kind's valid files, and import what reading them does; then cases may be forked."""
    seeds = kind.seeds()
    for module in kind.hidden:
        sys.modules[module] = None  # type: ignore[assignment]
    telling = replace(kind, around=functools.partial(_telling, kind))
    for number, command in itertools.product(range(len(seeds)), dict.fromkeys(kind.commands)):
        told = run_case(name, replace(telling, commands=(command,)), seeds, number).errors
        for module in re.findall(f"^{MODULE}(.*)$", told, re.MULTILINE):
            if module not in sys.modules:
                importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that a child's collections do not copy the parent's pages
    return seeds


@contextmanager
def _telling(kind: Kind, random: Generator, path: Path) -> Iterator[None]:
    """What a case runs in, and at its end the modules that it needed."""
    with kind.around(random, path):
        try:
            yield
        finally:
            print("", *sys.modules, sep=f"\n{MODULE}", file=sys.stderr)


def run_all(
    name: str, kind: Kind, numbers: range, jobs: int, keep: Path | None = None
) -> Iterator[Outcome]:
    """Run cases of a kind, several at a time, in order."""
    run = functools.partial(run_case, name, kind, warm(name, kind), keep=keep)
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, fork, _take, (run,)) as pool:
        yield from pool.map(_next_case, numbers, chunksize=8)


def _take(run: Callable[[int], Outcome]) -> None:
    """Keep in a worker what can't be sent to it."""
    global _run_number
    _run_number = run


def _next_case(number: int) -> Outcome:
    return _run_number(number)


_run_number: Callable[[int], Outcome]


def run_case(
    name: str, kind: Kind, seeds: dict[str, bytes], number: int, keep: Path | None = None
) -> Outcome:
    """Run one case in a folder of its own; `keep` is a folder for the input and messages."""
    random = generator(name, number)
    file, content = damaged(random, seeds, kind.mutate, number)
    command = tuple(part.replace(INPUT, file) for part in pick(random, kind.commands))
    temporary = tempfile.TemporaryDirectory(
        prefix="fuzz-", dir=IN_MEMORY, ignore_cleanup_errors=True
    )
    with temporary as place:
        folder, errors = Path(place, "here"), Path(place, "errors")
        folder.mkdir()
        (folder / file).write_bytes(content)
        status = _run(kind, command, random, folder / file)
        text = errors.read_text(encoding="utf-8", errors="replace")
        fault = _fault(kind, command, status, text) or _left(folder, {file: content}, status, kind)
        if keep is not None:
            shutil.copytree(place, keep, dirs_exist_ok=True)
    return Outcome(number, command, status, fault, text)


def _run(kind: Kind, command: tuple[str, ...], random: Generator, path: Path) -> int:
    """Fork, run, and give the exit status."""
    child = os.fork()
    if child == 0:
        status = EXIT_BAD_OUTPUT
        try:
            status = _in_child(kind, command, random, path)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _in_child(kind: Kind, command: tuple[str, ...], random: Generator, path: Path) -> int:
    os.chdir(path.parent)
    place = path.parent.parent
    for descriptor, name in ((0, os.devnull), (1, "output"), (2, "errors")):
        opened = os.open(place / name, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.update(HOME=str(place), XDG_STATE_HOME=str(place))
    os.environ["TMPDIR"] = tempfile.tempdir = str(path.parent)  # what is left there is found
    _limit()
    try:
        with kind.around(random, path):
            _open_standard_output()
            status = kind.main(list(command))
            print(end="", flush=True)
            _check_outputs(kind, path)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    print(end="", flush=True)
    sys.stderr.flush()
    return status


def _open_standard_output() -> None:
    """As Python does at its start: what the parent had may have been another kind of file."""
    try:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    except OSError:  # it is closed
        sys.stdout = None


def _check_outputs(kind: Kind, path: Path) -> None:
    for other in path.parent.rglob("*"):
        for name, check in kind.outputs.items():
            if other != path and fnmatch(str(other.relative_to(path.parent)), name):
                check(other)


def _limit() -> None:
    """Limits of time, memory and files; crashes and hangs say where."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no case outlives the run
    faulthandler.enable(sys.stderr)
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.stderr)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# What was wrong -------------------------------------------------------------------------------


def _fault(kind: Kind, command: tuple[str, ...], status: int, errors: str) -> str:
    """What was wrong with status and messages; empty if nothing."""
    if "Traceback (most recent call last)" in errors:
        last = [line for line in errors.splitlines() if re.match(r"\w[\w.]*(:|$)", line)]
        return f"traceback: {(last or ['?'])[-1].partition(':')[0]} in {_where(errors)}"
    if errors.startswith("Timeout (") or "\nTimeout (" in errors:
        return f"hang in {_where(errors, innermost_first=True)}"
    if status < 0 and status not in kind.quiet:
        crash = signal.Signals(-status).name
        return f"crash: {crash} in {_where(errors, innermost_first=True)}"
    lines = errors.rstrip("\n").split("\n")
    said = [line for line in lines if re.match(r"(edge-se|usage)[\w -]*: error: ", line)]
    if status == 0:
        return f"an error and status 0: {said[0][:60]}" if said else ""
    if status in kind.quiet and not said:
        return ""
    if status not in (edge_se.cli.EXIT_USER_ERROR, 3):
        return f"exit status {status}"
    if len(said) != 1 or lines[-1] != said[0]:
        return f"{len(said)} sentences, or words after them: {lines[-1][:60]!r}"
    if len(said[0]) > LONGEST_SENTENCE + 50:
        return f"a sentence of {len(said[0]) // 1000} thousand characters: {said[0][:70]}"
    if not said[0].isprintable():
        return f"a sentence with control characters: {said[0][:70]!r}"
    return ""


def _where(errors: str, innermost_first: bool = False) -> str:
    """The innermost place of ours in a stack, and beyond it the innermost of all."""
    found = re.findall(r'File "(.+?)", line (\d+),? in (\w+|<\w+>)', errors)
    stack = found[::-1] if innermost_first else found
    places = [f"{Path(file).name}:{function}" for file, _, function in stack]
    ours = [
        f"{Path(file).relative_to(ROOT)}:{line} {function}"
        for file, line, function in stack
        if any(file.startswith(f"{ROOT / folder}/") for folder in OUR_FOLDERS[:-1])
    ]
    return " < ".join(dict.fromkeys([*places[-1:], *ours[-1:]])) or "no Python"


def _left(folder: Path, given: Mapping[str, bytes], status: int, kind: Kind) -> str:
    """What is wrong with the files that lie there afterwards; empty if nothing."""
    for name, content in given.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            return f"the input {name} was changed"
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }
    allowed = [*given, *(kind.outputs if status in {0, *kind.quiet} else kind.always)]
    extra = sorted(name for name in found if not any(fnmatch(name, one) for one in allowed))
    if extra:
        return f"left after status {status}: {re.sub(r'[0-9]+', 'N', extra[0])}"
    return ""
