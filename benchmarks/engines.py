"""What C engines take on Arm, counted under emulation: tables of benchmarks/results/30_arm.json.

`python -m benchmarks.engines AUDIO [CHECKPOINT ...]` counts the instructions of a hop in every
arithmetic, of the built-in GTCRN and of the checkpoints: on 64-bit Arm, compiled by zig as the
wheels are, and on microcontrollers, whose bits are compared with those on this machine. For the
latter it needs gcc-arm-none-eabi and qemu-system-arm.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import FOLDER, put
from edge_se.audio import read
from edge_se.core import VARIANTS
from edge_se.engines.generated import ARITHMETICS
from edge_se.errors import UserError, run_script
from edge_se.resampling import resample
from quant.c.engine import Engine
from quant.c.engines import make_engine
from quant.checkpoints import default_checkpoint_path
from quant.commands.progress import ProgressBars
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from targets.c.generate import frame_sources
from targets.c.microcontroller import CORES, Core
from targets.c.microcontroller.emulation import emulate
from targets.c.microcontroller.package import run_on_host, write_package
from targets.emulation.engine import count_engine

HOP, FULL_SCALE, HOPS = 256, 32768, 110
COMMAND = "python -m benchmarks.engines noisy.wav [CHECKPOINT ...]"
COLUMNS = ["instructions per hop", "Cortex-A53, A72", "Cortex-A55, A76, with dot products"]
MEASURED = (
    "No Python, compiled by zig as the core in wheels is, under `qemu-aarch64`, 100 hops of "
    "speech; the built-in GTCRN and, where one is named, the authors' DNS3 checkpoint of UL-UNAS."
)
# Without dot products and with them, as the core in the wheels is compiled.
CPUS = ((), VARIANTS["_core_dotprod.so"][0])


def main() -> int:
    """Make engines, count, and put the tables into the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("audio", type=Path, help="recording to enhance")
    parser.add_argument("checkpoints", nargs="*", type=Path, help="of further networks")
    parser.add_argument("--json", type=Path, default=FOLDER / "30_arm.json")
    arguments = parser.parse_args()
    built_in = default_checkpoint_path()
    checkpoints = [load_checkpoint(path) for path in (built_in, *arguments.checkpoints)]
    samples = _samples(arguments.audio, checkpoints[0].signal.sample_rate)
    rows, packages = [], []
    for checkpoint in checkpoints:
        for engine in _engines(checkpoint):
            name = f"{checkpoint.architecture}, {engine.arithmetic}"
            counts = [count_on_64_bits(engine, samples, options) for options in CPUS]
            rows.append([name, *(f"{count / 1000:.0f} K" for count in counts)])
            print(*rows[-1], sep=" | ", flush=True)
            if engine.arithmetic != "float":
                for core in CORES.values():
                    row = on_microcontroller(engine, core, _integers(samples), checkpoint.name)
                    packages.append([name, *row])
                    print(*packages[-1], sep=" | ", flush=True)
    alone = {"title": "The C function alone", "measured": MEASURED, "columns": COLUMNS}
    put(arguments.json, {**alone, "command": [COMMAND], "rows": rows})
    put(arguments.json, {"title": "Microcontrollers", "command": [COMMAND], "rows": packages})
    return 0


def _engines(checkpoint: Checkpoint) -> Iterator[Engine]:
    for arithmetic in ARITHMETICS:
        try:
            with ProgressBars() as progress:
                yield make_engine(checkpoint, arithmetic, None, progress)
        except UserError as error:
            print(f"left out: {checkpoint.name}, {arithmetic}: {error}", file=sys.stderr)


def _samples(path: Path, rate: int) -> NDArray[np.float32]:
    """Whole hops, [hops, 256]."""
    recording = read(path)
    samples = resample(recording.samples.mean(axis=1), recording.rate, rate)
    hops = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)[:HOPS]
    if len(hops) < HOPS:
        raise UserError(f"{path} has {len(hops)} hops; give a recording of {HOPS} (2 s)")
    return hops


def _integers(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def count_on_64_bits(
    engine: Engine, samples: NDArray[np.float32], options: Sequence[str] = ()
) -> float:
    """Instructions that an engine takes for a hop.

    Args:
        engine: In any arithmetic.
        samples: float32 [hops, 256], of which the first 10 are not counted.
        options: Of the compiler, beside those of every engine.

    Raises:
        UserError: There is no compiler or emulator for it.
    """
    given = samples if ARITHMETICS[engine.arithmetic] == np.float32 else _integers(samples)
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        for file, text in frame_sources(engine, "engine").items():
            Path(name, file).write_text(text, encoding="utf-8")
        return count_engine(Path(name, "engine.c"), engine.blob, given, options)


def on_microcontroller(
    engine: Engine, core: Core, samples: NDArray[np.int16], network: str
) -> list[str]:
    """What a package of an engine, from a checkpoint of this name, takes on an emulated core."""
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder, work = Path(name) / "package", Path(name)
        memory = write_package(folder, engine, core, network)
        files = {str(path): path.read_text(encoding="utf-8") for path in folder.rglob("*.[ch]")}
        expected = run_on_host(files, samples).ravel()
        report = emulate(folder, core, samples.ravel(), work)
    equal = np.array_equal(expected, report.enhanced)
    flash, ram = (sum(part.values()) / 1024 for part in (memory.flash, memory.ram))
    return [
        core.name,
        f"{report.instructions / 1000:.0f} K",
        f"{flash:.1f} KB",
        f"{ram:.1f} KB",
        f"{report.stack / 1024:.1f} KB",
        "the same" if equal else "OTHERS",
    ]


if __name__ == "__main__":
    run_script(main)
