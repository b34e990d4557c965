"""Boards as data: what `boards.toml` says, typed.

A board belongs to a platform (machine and pointer size), a platform is served by a runtime, and
some boards have a core that is known well enough for emulation and projections.
"""

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_se.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BOARDS_FILE = Path(__file__).parent / "boards.toml"


@dataclass(frozen=True)
class Core:
    """A processor core.

    Attributes:
        key: What the emulator calls it.
        name: For people.
        part, variant, revision, features: As in /proc/cpuinfo.
        instructions_per_cycle: Assumed range, lowest and highest.
    """

    key: str
    name: str
    part: int
    variant: int
    revision: int
    features: str
    instructions_per_cycle: tuple[float, float]


@dataclass(frozen=True)
class Runtime:
    """A TFLite interpreter and where its numpy comes from.

    Attributes:
        key: Name in boards.toml.
        interpreter: Package and version.
        numpy: "in the bundle", or which package of the system serves.
        wheels: Pinned requirements by Python version ("3.11").
    """

    key: str
    interpreter: str
    numpy: str
    wheels: Mapping[str, tuple[str, ...]]

    @property
    def uses_system_packages(self) -> bool:
        """Whether the environment on the board must see the system's packages."""
        return self.numpy != "in the bundle"


@dataclass(frozen=True)
class Platform:
    """What wheels are made for: a machine with a pointer size.

    Attributes:
        key: Name in boards.toml.
        machines: What `platform.machine()` may say there.
        bits: Size of a pointer.
        wheel_tags: Platform tags of wheels that run there.
        target: What C compilers call it.
        glibc: The oldest C library that compiled code has to run with, such as "2.28".
        cpu: The oldest processor that compiled code has to run on, as compilers call it; None for
            the target's own.
        runtime: What serves it.
    """

    key: str
    machines: tuple[str, ...]
    bits: int
    wheel_tags: tuple[str, ...]
    target: str
    glibc: str
    cpu: str | None
    runtime: Runtime

    @property
    def compiled_tag(self) -> str:
        """Platform tag of a wheel with code compiled for it."""
        return f"manylinux_{self.glibc.replace('.', '_')}_{self.machines[0]}"


@dataclass(frozen=True)
class Board:
    """A board, or a kind of boards when its core is None.

    Attributes:
        key: Name on the command line.
        name: For people.
        platform: What it is to Python.
        systems: Python version by operating system; the first is the default.
        models: Beginnings of what /proc/device-tree/model may say.
        core: Its processor core, where it is one certain core.
        clock_mhz: Of that core.
        memory_mb: Of the smallest variant.
    """

    key: str
    name: str
    platform: Platform
    systems: Mapping[str, str]
    models: tuple[str, ...] = ()
    core: Core | None = None
    clock_mhz: int | None = None
    memory_mb: int | None = None

    @property
    def default_python(self) -> str:
        """Python version of the first system."""
        return next(iter(self.systems.values()))

    @property
    def instructions_per_second(self) -> tuple[float, float] | None:
        """Assumed range of one core, lowest and highest; None where the core is not known."""
        if self.core is None or self.clock_mhz is None:
            return None
        low, high = self.core.instructions_per_cycle
        return low * self.clock_mhz * 1e6, high * self.clock_mhz * 1e6


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@functools.cache
def load_boards() -> Mapping[str, Board]:
    """All boards of boards.toml, by key, in the file's order."""
    content = tomllib.loads(BOARDS_FILE.read_text(encoding="utf-8"))
    cores = {
        key: Core(key=key, **{name: _frozen(value) for name, value in entry.items()})
        for key, entry in content["cores"].items()
    }
    runtimes = {
        key: Runtime(
            key,
            entry["interpreter"],
            entry["numpy"],
            {python: tuple(pins) for python, pins in entry["wheels"].items()},
        )
        for key, entry in content["runtimes"].items()
    }
    platforms = {
        key: Platform(
            key,
            tuple(entry["machines"]),
            entry["bits"],
            tuple(entry["wheel_tags"]),
            entry["target"],
            entry["glibc"],
            entry.get("cpu"),
            runtimes[entry["runtime"]],
        )
        for key, entry in content["platforms"].items()
    }
    boards = {}
    for key, entry in content["boards"].items():
        fields = {name: _frozen(value) for name, value in entry.items()}
        fields["platform"] = platforms[entry["platform"]]
        if "core" in entry:
            fields["core"] = cores[entry["core"]]
        boards[key] = Board(key=key, **fields)
    return boards


def find_board(key: str) -> Board:
    """The board of that name; UserError when there is none."""
    boards = load_boards()
    if key not in boards:
        raise UserError(f"there is no board {key!r}; choose from {', '.join(boards)}")
    return boards[key]


def detect_board(machine: str, bits: int, model: str | None) -> Board:
    """The board that reports these facts about itself.

    Args:
        machine: What `platform.machine()` says there.
        bits: Pointer size of its Python.
        model: Content of /proc/device-tree/model, None where there is no such file.

    Raises:
        UserError: Its platform is not supported.
    """
    fitting = [
        board
        for board in load_boards().values()
        if machine in board.platform.machines and bits == board.platform.bits
    ]
    named = [board for board in fitting if (model or "").startswith(board.models or ("\0",))]
    generic = [board for board in fitting if not board.models]
    if not fitting:
        raise UserError(
            f"the board is a {machine} with {bits}-bit Python, for which there is no TFLite "
            f"runtime; use one of {', '.join(sorted(load_platforms()))}"
        )
    return (named or generic)[0]


def load_platforms() -> Mapping[str, Platform]:
    """All platforms that boards have, by key."""
    return {board.platform.key: board.platform for board in load_boards().values()}


def required_wheels(board: Board, python: str) -> tuple[str, ...]:
    """Pinned requirements of a board's runtime for a Python version such as "3.11".

    Raises:
        UserError: The runtime has no wheels for that Python.
    """
    wheels = board.platform.runtime.wheels
    if python not in wheels:
        raise UserError(
            f"{board.platform.runtime.interpreter} has no {board.platform.key} wheel for Python "
            f"{python}; use Python {' or '.join(wheels)}"
        )
    return wheels[python]
