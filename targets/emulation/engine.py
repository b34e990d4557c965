"""Generated engines in C, emulated without a system around them."""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core.build import FOLDER as CORE
from edge_se.errors import UserError
from targets.boards import load_platforms
from targets.c.generate import FLAGS
from targets.emulation.emulator import build_counter
from targets.emulation.system import find_emulator

PROGRAM = Path(__file__).with_name("engine_guest.c")
# Statically linked, so that it runs without a system.
TARGETS = {"aarch64": "aarch64-linux-musl", "armv7l": "arm-linux-musleabihf"}
C_TYPES = {"float32": "float", "int16": "int16_t"}
WARM_UP = 10  # hops that are not counted


def run_engine(
    source: Path,
    weights: bytes,
    hops: NDArray[Any],
    machine: str = "aarch64",
    options: Sequence[str] = (),
) -> NDArray[Any]:
    """What an engine makes of hops on an emulated machine.

    Args:
        source: Of the engine, named after it; its header lies beside it.
        weights: For it.
        hops: float32 or int16 [at most 8192, 256].
        machine: A name of `TARGETS`.
        options: Of the compiler (zig's), beside those of every engine.

    Raises:
        UserError: The compiler or the emulator failed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        return _run(Path(name), source, weights, hops, machine, options)


def count_engine(
    source: Path, weights: bytes, hops: NDArray[Any], options: Sequence[str] = ()
) -> float:
    """Instructions that an engine takes for a hop on 64-bit Arm, the first hops left out.

    Arguments and errors are those of `run_engine`.
    """
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        marks = Path(name) / "marks.txt"
        plugin = ("-plugin", f"{build_counter(find_emulator())},out={marks}")
        _run(Path(name), source, weights, hops, "aarch64", options, plugin)
        totals = np.loadtxt(marks, dtype=np.int64).sum(axis=1)
    marking, _, counted = np.diff(totals)
    return float(counted - marking) / (len(hops) - WARM_UP)


def _run(
    folder: Path,
    source: Path,
    weights: bytes,
    hops: NDArray[Any],
    machine: str,
    options: Sequence[str],
    plugin: Sequence[str] = (),
) -> NDArray[Any]:
    platform = next(one for one in load_platforms().values() if machine in one.machines)
    own = [f"-mcpu={platform.cpu.replace('-', '_')}"] if platform.cpu else []
    defined = {"PREFIX": source.stem, "SAMPLE": C_TYPES[hops.dtype.name], "WARM_UP": WARM_UP}
    command = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[machine], "-static", *own),
        *(*FLAGS, *(option.replace("cortex-", "cortex_") for option in options)),
        *(f"-D{name}={value}" for name, value in defined.items()),
        *("-D_DEFAULT_SOURCE", "-include", source.with_suffix(".h").name),
        *("-I", str(source.parent), "-I", str(CORE), str(PROGRAM), str(source)),
        *("-lm", "-o", str(folder / "guest")),
    ]
    _call(command, folder)
    (folder / "weights.bin").write_bytes(weights)
    found = _call([*find_emulator(machine), *plugin, str(folder / "guest")], folder, hops.tobytes())
    return np.frombuffer(found, hops.dtype).reshape(hops.shape)


def _call(command: Sequence[str], folder: Path, given: bytes = b"") -> bytes:
    result = subprocess.run(command, input=given, capture_output=True, cwd=folder)
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip()[-400:]
        raise UserError(f"{shlex.join(command)} failed: {said}")
    return result.stdout
