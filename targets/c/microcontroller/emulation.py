"""A package on an emulated microcontroller: what it computes, and what it takes there."""

import shlex
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from targets.c.microcontroller import OPTIONS, Core
from targets.c.microcontroller.linking import COMPILER, LINKING, run

EMULATOR = "qemu-system-arm"
# One instruction takes a nanosecond of the machine's time.
COUNTING = ("-icount", "shift=0")
QUIET = ("-nographic", "-monitor", "none", "-serial", "none")


@dataclass(frozen=True)
class Report:
    """What a package did and took.

    Attributes:
        enhanced: int16 [n].
        stack: Bytes, at their deepest.
        instructions: Of a hop, on average.
        most_instructions: Of one hop.
    """

    enhanced: NDArray[np.int16]
    stack: int
    instructions: float
    most_instructions: float


def emulate(package: Path, core: Core, samples: NDArray[np.int16], work: Path) -> Report:
    """Build a package's report for a core, and run it on whole hops of samples.

    Args:
        package: Folder of sources.
        core: To compile for, and to emulate.
        samples: int16 [n], n a multiple of 256.
        work: Folder for what is built.

    Raises:
        UserError: Compiler or emulator is missing or failed.
    """
    package, work = package.resolve(), work.resolve()  # the tools run in the latter
    firmware = work / "report.elf"
    engine = [package / "src" / f"{name}.c" for name in ("edge_se", "engine", "engine_weights")]
    bare = [package / "emulated" / f"{name}.c" for name in ("start", "report")]
    script = ["-T", str(package / "emulated" / "memory.ld"), "-nostartfiles"]
    flags = [*shlex.split(core.flags), *OPTIONS, "-std=gnu99", *LINKING, *script]
    inputs = ["-I", str(package / "include"), *map(str, engine + bare)]
    run([COMPILER, *flags, *inputs, "-o", str(firmware)], work)
    np.ascontiguousarray(samples, np.int16).tofile(work / "in.raw")
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    machine = [EMULATOR, "-M", core.machine.name, *QUIET, *semihosting, *COUNTING]
    run([*machine, "-kernel", str(firmware)], work)
    hops, ticks, most, stack = struct.unpack("<4I", (work / "report.bin").read_bytes())
    per_tick = 1000 / core.machine.clock_mhz
    return Report(
        np.fromfile(work / "out.raw", np.int16),
        stack,
        ticks * per_tick / max(hops, 1),
        most * per_tick,
    )
