"""What packages take on every emulated core: `python -m targets.c.microcontroller AUDIO`."""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from edge_se.audio import read, resample
from edge_se.errors import UserError
from quant.c.engine import Engine
from quant.c.engines import int8_engine, make_engine
from quant.checkpoints import default_checkpoint_path
from quant.commands.progress import ProgressBars
from quant.networks.checkpoint import load_checkpoint
from targets.c.microcontroller import CORES, Core
from targets.c.microcontroller.emulation import emulate
from targets.c.microcontroller.package import run_on_host, write_package

HOP, FULL_SCALE = 256, 32768
COLUMNS = ("engine", "core", "instructions per hop", "flash", "RAM", "of which stack", "bits")


def main() -> int:
    """Write packages for every core, run them, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m targets.c.microcontroller", description=__doc__
    )
    parser.add_argument("audio", type=Path, help="recording to enhance")
    parser.add_argument("--model", type=Path, help="an int8 .tflite, measured too")
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(default_checkpoint_path())
    with ProgressBars() as progress:
        engines = [make_engine(checkpoint, "fixed", None, progress)]
    if arguments.model:
        engines.append(int8_engine(arguments.model.read_bytes()))
    recording = read(arguments.audio)
    samples = resample(
        recording.samples.mean(axis=1), recording.rate, checkpoint.signal.sample_rate
    )
    whole = samples[: len(samples) // HOP * HOP] * FULL_SCALE
    integers = np.clip(np.rint(whole), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    print(f"| {' | '.join(COLUMNS)} |\n|{len(COLUMNS) * ' --- |'}")
    for engine in engines:
        for core in CORES.values():
            print(f"| {' | '.join(_row(engine, core, integers))} |", flush=True)
    return 0


def _row(engine: Engine, core: Core, samples: np.ndarray) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder, work = Path(name) / "package", Path(name)
        memory = write_package(folder, engine, core, "the built-in network")
        files = {str(path): path.read_text(encoding="utf-8") for path in folder.rglob("*.[ch]")}
        expected = run_on_host(files, samples.reshape(-1, HOP)).ravel()
        report = emulate(folder, core, samples, work)
    equal = np.array_equal(expected, report.enhanced)
    flash, ram = (sum(part.values()) / 1024 for part in (memory.flash, memory.ram))
    return [
        engine.arithmetic,
        core.name,
        f"{report.instructions / 1000:.0f} K",
        f"{flash:.1f} KB",
        f"{ram:.1f} KB",
        f"{report.stack / 1024:.1f} KB",
        "the same" if equal else "OTHERS",
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"edge-se: error: {error}")
