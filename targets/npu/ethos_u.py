"""Arm's Ethos-U: what its compiler, Vela, makes of a model file, and what it says of it.

Vela is run as a program of its own: it prints what it leaves to the CPU and writes the rest as a
table. Its cycles are estimates.
"""

import csv
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_se.errors import UserError
from edge_se.model_file import read_model, split

# Multiplications a cycle, by family; a variant is called by both, as Vela does.
MACS = {
    "ethos-u55": (32, 64, 128, 256),
    "ethos-u65": (256, 512),
    "ethos-u85": (128, 256, 512, 1024, 2048),
}
VARIANTS = tuple(f"{family}-{macs}" for family, choice in MACS.items() for macs in choice)

_ON_CPU = re.compile(r"operator: (\w+), ofm: .*\nReason: (.*?)\.?\n")
_COUNT = re.compile(r"(CPU|NPU) operators = (\d+)")
_KIB = 1024


@dataclass(frozen=True)
class Compiled:
    """A model compiled by Vela.

    Attributes:
        content: of the .tflite that the NPU's driver runs.
        variant: what it is compiled for, one of `VARIANTS`.
        npu_operators: what the NPU runs, as Vela counts operators.
        cpu_operators: what is left to the CPU.
        on_cpu: kind of each operator that is left to the CPU, and why, in Vela's words.
        cycles: of a frame, Vela's estimate.
        clock_hz: that Vela assumes.
        sram_bytes: for values between operators.
        flash_bytes: for weights and commands.
        hop_seconds: of the model, within which a frame has to be done.
    """

    content: bytes
    variant: str
    npu_operators: int
    cpu_operators: int
    on_cpu: tuple[str, ...]
    cycles: int
    clock_hz: float
    sram_bytes: int
    flash_bytes: int
    hop_seconds: float

    @property
    def share(self) -> float:
        """Of the operators that the NPU runs, 0 to 1."""
        return self.npu_operators / max(self.npu_operators + self.cpu_operators, 1)

    def describe(self) -> dict[str, Any]:
        """All but the file itself, for JSON."""
        described = asdict(self)
        del described["content"]
        return {**described, "share": self.share, "cycles_are": "an estimate of Vela's"}

    def summary(self) -> str:
        """For people."""
        milliseconds = 1000 * self.cycles / self.clock_hz
        return (
            f"{100 * self.share:.1f} % of the operators on the NPU; by Vela's estimate, nothing "
            f"measured: {self.cycles:,} cycles a frame ({milliseconds:.2f} ms of "
            f"{1000 * self.hop_seconds:g} at {self.clock_hz / 1e6:g} MHz), SRAM "
            f"{self.sram_bytes / 1000:.1f} KB, flash {self.flash_bytes / 1000:.1f} KB"
        )


def compile_for_npu(model: Path, variant: str) -> Compiled:
    """Run Vela on a model file.

    Args:
        model: a .tflite with its manifest.
        variant: one of `VARIANTS`.

    Raises:
        UserError: there is no such variant, the file is no model, or Vela fails or is missing.
    """
    if variant not in VARIANTS:
        raise UserError(f"there is no NPU {variant!r}; choose from {', '.join(VARIANTS)}")
    data, manifest = read_model(model)
    if find_spec("ethosu") is None:
        raise UserError('compiling for Ethos-U needs Vela; pip install "edge-se[npu]"')
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder = Path(name)
        source = folder / "model.tflite"
        source.write_bytes(split(data)[0])
        said = _run_vela([str(source), "--accelerator-config", variant], folder)
        (table,) = folder.glob("model_summary_*.csv")
        with table.open(newline="", encoding="utf-8") as lines:
            (row,) = csv.DictReader(lines)
        counts = {where: int(count) for where, count in _COUNT.findall(said)}
        return Compiled(
            content=(folder / "model_vela.tflite").read_bytes(),
            variant=variant,
            npu_operators=counts["NPU"],
            cpu_operators=counts["CPU"],
            on_cpu=_left_to_cpu(said),
            cycles=round(float(row["cycles_total"])),
            clock_hz=float(row["core_clock"]),
            sram_bytes=round(_KIB * float(row["sram_memory_used"])),
            flash_bytes=round(
                _KIB
                * sum(
                    float(row[f"{where}_memory_used"])
                    for where in ("dram", "on_chip_flash", "off_chip_flash")
                )
            ),
            hop_seconds=manifest.signal.hop_seconds,
        )


def _run_vela(arguments: Sequence[str], folder: Path) -> str:
    command = [sys.executable, "-m", "ethosu.vela", *arguments, "--output-dir", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode or not (folder / "model_vela.tflite").is_file():
        lines = (result.stderr or result.stdout).strip().splitlines() or ["it says nothing"]
        raise UserError(f"Vela can't compile this model ({lines[-1]})")
    return result.stdout + result.stderr


def _left_to_cpu(said: str) -> tuple[str, ...]:
    return tuple(f"{kind}: {reason}" for kind, reason in _ON_CPU.findall(said))
