"""The fixed engine on a bare Cortex-M7, emulated: the same bits, and what it takes there."""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError

ROOM = Path(__file__).parent
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = ("-std=gnu99", "-O2", "-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=soft")
LINKING = ("-ffunction-sections", "-Wl,--gc-sections", "--specs=nano.specs", "-nostartfiles")
MACHINE = ("-M", "mps2-an500", "-cpu", "cortex-m7", "-nographic", "-monitor", "none")
# One instruction takes a nanosecond of the machine's time, whose clock has 25 MHz.
COUNTING = ("-icount", "shift=0")
INSTRUCTIONS_PER_TICK = 40
SAMPLE_RATE, HOP = 16000, 256


@dataclass(frozen=True)
class Report:
    """What the engine did and took.

    Attributes:
        enhanced: int16 [n].
        flash: bytes of code and constants, the test program's included.
        state: bytes of the state.
        stack: bytes of the stack at its deepest.
        instructions: per frame, on average.
        most_instructions: of one frame.
    """

    enhanced: NDArray[np.int16]
    flash: int
    state: int
    stack: int
    instructions: float
    most_instructions: int

    @property
    def ram(self) -> int:
        """Bytes of state and stack."""
        return self.state + self.stack


def run_on_cortex_m7(sources: Path, samples: NDArray[np.int16], folder: Path) -> Report:
    """Compile an exported fixed engine (prefix gtcrn) and run it on whole hops of samples.

    Args:
        sources: folder with the engine.
        samples: int16 [n], n a multiple of 256.
        folder: for what is built.

    Raises:
        UserError: Compiler or emulator is missing or failed.
    """
    missing = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"there is no {' and no '.join(missing)}; install gcc-arm-none-eabi, "
            "libnewlib-arm-none-eabi and qemu-system-arm"
        )
    firmware = folder / "firmware.elf"
    names = (sources / "gtcrn.c", sources / "gtcrn_weights.c", ROOM / "firmware.c")
    inputs = [str(name) for name in names]
    script = ["-T", str(ROOM / "memory.ld")]
    _checked(
        [COMPILER, *FLAGS, *LINKING, "-I", str(sources), *script, *inputs, "-o", str(firmware)]
    )
    np.ascontiguousarray(samples, np.int16).tofile(folder / "in.raw")
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    _checked(
        [EMULATOR, *MACHINE, "-serial", "none", *semihosting, *COUNTING, "-kernel", str(firmware)],
        folder,
    )
    sizes = _checked(["arm-none-eabi-size", "-A", str(firmware)]).splitlines()
    sections = {line.split()[0]: int(line.split()[1]) for line in sizes if line.startswith(".")}
    frames, ticks, most, stack = struct.unpack("<4I", (folder / "report.bin").read_bytes())
    return Report(
        np.fromfile(folder / "out.raw", np.int16),
        sections.get(".text", 0) + sections.get(".ARM.exidx", 0),
        sections[".bss"] - 2 * HOP,
        stack,
        ticks * INSTRUCTIONS_PER_TICK / max(frames, 1),
        most * INSTRUCTIONS_PER_TICK,
    )


def _checked(command: list[str], folder: Path | None = None) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"{Path(command[0]).name} failed ({result.stderr.strip()[-300:]})")
    return result.stdout
