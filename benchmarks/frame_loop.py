"""What a frame takes on emulated cores, whole loop: tables of benchmarks/results/30_arm.json.

`python -m benchmarks.frame_loop MODEL.tflite ...` counts each file in LiteRT, and in C where that
gives the file's own bits. Beside the counts in LiteRT stands what `auto` predicts of them; from all
of them follow projections to boards.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, put
from edge_se.engines.generated import same_arithmetic
from edge_se.errors import run_script
from edge_se.model_file import attach_manifest, attached_weights, read_manifest
from quant.mixed_precision.costs import predict
from targets.boards import Board
from targets.emulation.costs import PYTHON, cores, count_loop, noise
from targets.emulation.emulator import emulated
from targets.emulation.report import project, same_core

ENGINES = {"tflite": "LiteRT", "c": "C"}
COMMAND = "python -m benchmarks.frame_loop MODEL.tflite ..."
MEASURED = (
    "Python included, compiled core as in a bundle, bursts of noise. In brackets what `auto` "
    "predicts, and by how much that is more; of C it knows counts."
)


@dataclass(frozen=True)
class Run:
    """A model file in an engine."""

    path: Path
    engine: str

    @property
    def name(self) -> str:
        """Of its row."""
        manifest = read_manifest(self.path)
        return f"{manifest.architecture}, `{manifest.precision}`, {ENGINES[self.engine]}"

    def cell(self, counted: float, core: str) -> str:
        """What was counted, and what `auto` predicts of LiteRT."""
        if self.engine == "c":
            return f"{counted / 1000:,.0f} K"
        bare = attach_manifest(self.path.read_bytes(), read_manifest(self.path), {})
        expected = predict(bare, core).instructions
        more = 100 * (expected / counted - 1)
        return f"{counted / 1000:,.0f} K ({expected / 1000:,.0f} K, {more:+.1f} %)"

    def factors(self, counted: float, board: Board) -> str:
        """Least and most real-time factor on a board, by its assumed speeds."""
        hop_seconds = read_manifest(self.path).signal.hop_seconds
        least, most = project(board, counted, hop_seconds)["rtf"]
        return f"{least:.3f} to {most:.3f}"


def runs_of(path: Path) -> Iterator[Run]:
    """A model file in each engine that has its bits."""
    yield Run(path, "tflite")
    if same_arithmetic(read_manifest(path), attached_weights(path.read_bytes())) is not None:
        yield Run(path, "c")


def _begun(heading: str, runs: Sequence[Run]) -> dict[str, Any]:
    """A table with its first column."""
    return {"columns": [heading], "rows": [[run.name] for run in runs], "command": [COMMAND]}


def main() -> int:
    """Count, and put the tables into the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frame_loop", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help=".tflite")
    parser.add_argument("--json", type=Path, default=FOLDER / "30_arm.json")
    arguments = parser.parse_args()
    runs = [run for path in arguments.models for run in runs_of(path)]
    loop, factors = (_begun(heading, runs) for heading in ("instructions per frame", ""))
    for core, emulated_one in cores().items():
        boards = same_core(emulated_one)
        loop["columns"].append(core)
        factors["columns"] += [board.name for board in boards]
        with emulated(emulated_one, PYTHON) as machine:
            for run, cells, projected in zip(runs, loop["rows"], factors["rows"], strict=True):
                counted = count_loop(machine, run.path, noise(), run.engine)
                cells.append(run.cell(counted, core))
                projected += [run.factors(counted, board) for board in boards]
                print(core, run.name, cells[-1], sep=" | ", flush=True)
    put(
        arguments.json,
        {"title": "The whole frame loop", "measured": MEASURED, **loop},
        {"title": "Projected real-time factors", **factors},
    )
    return 0


if __name__ == "__main__":
    run_script(main)
