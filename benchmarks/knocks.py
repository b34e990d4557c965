"""What restoring states after a knock is worth on microcontrollers, and what it takes.

`python -m benchmarks.knocks NOISY [CHECKPOINT ...]` runs the frames of packages on this machine,
where they give the same bits, through the knocks of `edge-se evaluate --stress`, for each set of
six recordings, and puts a table into benchmarks/results/30_arm.json. It needs gcc-arm-none-eabi.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import FOLDER, put
from edge_se.core.build import find_compiler
from edge_se.enhancer import Enhancer
from edge_se.errors import run_script
from quant.audio.clips import read_clips
from quant.c.engine import Engine
from quant.c.engines import make_engine
from quant.checkpoints import default_checkpoint_path
from quant.commands.progress import ProgressBars
from quant.evaluation.stress import CLIPS, KNOCKS, LATE_S, Recovery, measure_stress
from quant.networks.checkpoint import load_checkpoint
from targets.c.generate import Variant
from targets.c.microcontroller import find_core
from targets.c.microcontroller.package import ARITHMETICS, write_package
from targets.engines import library_of

CORE = find_core("cortex-m33")
COLUMNS = ["network, engine", "after a knock", "RAM", "over 300 ms", "slowest", "windows off"]


def main() -> int:
    """Measure, and put the table into the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knocks", description=__doc__)
    parser.add_argument("noisy", type=Path, help="folder of noisy recordings")
    parser.add_argument("checkpoints", nargs="*", type=Path, help="of further networks")
    parser.add_argument("--json", type=Path, default=FOLDER / "30_arm.json")
    arguments = parser.parse_args()
    rows, sets = [], 0
    for path in (default_checkpoint_path(), *arguments.checkpoints):
        checkpoint = load_checkpoint(path)
        rate = checkpoint.signal.sample_rate
        recordings = read_clips(arguments.noisy, rate, minimum_clips=CLIPS).clips
        clips = [recording.samples for recording in recordings]
        sets = len(clips) // CLIPS
        for arithmetic in ARITHMETICS:
            with ProgressBars() as progress:
                engine = make_engine(checkpoint, arithmetic, None, progress)
            for restores in (False, True):
                name = f"{checkpoint.architecture}, {arithmetic}"
                kind = "states are restored" if restores else "goes on"
                rows.append(
                    [name, kind, *_measured(engine, checkpoint.describe(), restores, clips)]
                )
                print(*rows[-1], sep=" | ", flush=True)
    measured = (
        f"{len(KNOCKS)} knocks in each of {sets} sets of {CLIPS} public evaluation recordings, by "
        f"`evaluate --stress`'s measure: how many took longer than {1000 * LATE_S:.0f} ms, the "
        "slowest, and how many windows of 50 ms with speech were still off by then; RAM on a "
        f"{CORE.name}."
    )
    command = "python -m benchmarks.knocks NOISY [CHECKPOINT ...]"
    table = {"title": "Knocks on microcontrollers", "command": [command], "measured": measured}
    put(arguments.json, table | {"columns": COLUMNS, "rows": rows})
    return 0


def _measured(
    engine: Engine,
    checkpoint: Mapping[str, Any],
    restores: bool,
    clips: Sequence[NDArray[np.float32]],
) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        memory = write_package(Path(name) / "package", engine, CORE, "a checkpoint", restores)
        variant, library = Variant(restores=restores), Path(name) / "engine.so"
        library.write_bytes(library_of(engine, checkpoint, find_compiler(), variant))
        model = Enhancer(library)
        found: list[Recovery] = []
        for first in range(0, len(clips) - CLIPS + 1, CLIPS):
            found.extend(measure_stress(model, clips[first : first + CLIPS], None).recoveries)
    times = [np.inf if each.ms is None else each.ms for each in found]
    late = sum(time > 1000 * LATE_S for time in times)
    return (
        f"{sum(memory.ram.values()) / 1024:.1f} KB",
        f"{late} of {len(found)}",
        "never" if np.isinf(max(times)) else f"{max(times):,.0f} ms",
        str(sum(each.late_windows for each in found)),
    )


if __name__ == "__main__":
    run_script(main)
