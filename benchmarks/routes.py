"""Both routes to a TFLite file for one network: our graph, and a module by the official tools.

`python -m benchmarks.routes CHECKPOINT --module FILE.py:FUNCTION --noisy DIR --clean DIR` makes
float, dynamic and INT8 files by both, times them by turns, scores them against our float file and
writes the table into a file of `benchmarks/results/`. Module and checkpoint have to be one network.
"""

import argparse
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.precisions import with_interval
from benchmarks.results import section, write
from benchmarks.techniques import static_file
from calib_data import clips_folder
from edge_se.benchmark import bursts
from edge_se.comparison import compare
from edge_se.enhancer import Enhancer
from edge_se.errors import run_script
from edge_se.peers import Ours
from quant.audio.clips import read_calibration_clips
from quant.evaluation.evaluate import EvaluationResult, evaluate_pairs
from quant.evaluation.pairs import Pair, load_pairs
from quant.graph.recipes import RECIPES
from quant.mixed_precision.costs import DEFAULT_BOARD, find_board, predict
from quant.mixed_precision.operators import parse
from quant.modules.calibration import EXACT_FRAMES
from quant.modules.own import load_own_module
from quant.modules.pipeline import lower_module, make_module
from quant.networks.checkpoint import load_checkpoint
from quant.ptq.pipeline import build_float, noisy_clips

TIMED_SECONDS = 6.0
EXACT_DB = 90.0  # from here on the files give the same samples
FILE = Path(__file__).resolve().parent / "results" / "65_own_modules.json"
ROUTES = ("our graph", "litert-torch")
TOOLS = ("litert-torch", "litert-quantizer", "torch", "ai-edge-litert")
COLUMNS = (
    *("route, precision", "operators", "KB", "µs p50", "K instructions", "PESQ-WB"),
    *("against our float", "SNR to our float dB"),
)
MEASURED = (
    "{checkpoint}: described in our graph, and as `{module}` through litert-torch and "
    "litert-quantizer. Calibrated alike with the built-in clips; ours without recovery. {clips} "
    "pairs, PESQ-WB with paired 95 % intervals against our float file. Times by turns in one run "
    "on {cores} cores of {machine} under a load of {load:.0f}: compare ratios. Instructions of a "
    "whole frame on a Cortex-A72 are predicted by the table of costs."
)


@dataclass(frozen=True)
class Conversion:
    """What litert-torch took for a module, its processes included, and how exact the result is."""

    processor_s: float
    error: float

    def __str__(self) -> str:
        return (
            f"Conversion took {self.processor_s:.0f} s of processor time; its largest error "
            f"against the module over {EXACT_FRAMES} frames is {self.error:.0e}."
        )


@dataclass(frozen=True)
class Row:
    """A file of the table.

    Attributes:
        name: of the route and the precision.
        result: scores, with paired differences to float.
        instructions: per frame on the default board, predicted.
        frame_us: median on this machine, all files by turns.
        size: in bytes.
    """

    name: str
    result: EvaluationResult
    instructions: float
    frame_us: float
    size: int


def make_files(
    checkpoint: Path, module: str, precisions: Sequence[str], folder: Path
) -> tuple[dict[str, Path], Conversion]:
    """Write the files of both routes into a folder; their paths by row of the table."""
    ours, own = load_checkpoint(checkpoint), load_own_module(module, checkpoint)
    noisy = noisy_clips(read_calibration_clips(clips_folder(), ours.signal.sample_rate))
    before = os.times()
    lowered = lower_module(own)
    conversion = Conversion(sum(os.times()[:4]) - sum(before[:4]), lowered.error)
    files: dict[str, Path] = {}

    def keep(route: str, precision: str, content: bytes) -> None:
        files[f"{route}, {precision}"] = path = folder / f"{len(files)}.tflite"
        path.write_bytes(content)

    for precision in precisions:
        recipe = RECIPES[precision]
        by_graph = build_float(ours) if recipe.is_float else static_file(ours, noisy, recipe)
        keep(ROUTES[0], precision, by_graph)
        keep(ROUTES[1], precision, make_module(lowered, recipe, noisy).content)
    return files, conversion


def score(files: dict[str, Path], pairs: Sequence[Pair], plain: Path) -> list[Row]:
    """Score files against the float one, and time them by turns."""
    reference, board = Enhancer(plain), find_board(DEFAULT_BOARD)
    rows = []
    timed = compare(
        [Ours(Enhancer(path)) for path in files.values()],
        bursts(reference.sample_rate),
        TIMED_SECONDS,
    )
    for name, times in zip(tqdm(files, desc="scoring"), timed, strict=True):
        content = files[name].read_bytes()
        result = evaluate_pairs(Enhancer(files[name]).enhance, pairs, reference=reference.enhance)
        cost = predict(content, board.core)
        rows.append(Row(name, result, cost.instructions, times["frame_us"]["p50"], len(content)))
    return rows


def operators(path: Path) -> int:
    """How many operators a file has."""
    return len(parse(path.read_bytes()).subgraphs[0].operators)


def cells(row: Row, count: int) -> list[str]:
    """A file's row of the table; `count` is of its operators."""
    pesq, ratio = row.result.differences["pesq"], row.result.overall.snr_to_reference_db
    exact = ratio is None or ratio >= EXACT_DB
    return [
        *(row.name, str(count), f"{row.size / 1000:.0f}", f"{row.frame_us:.0f}"),
        f"{row.instructions / 1000:.0f}",
        f"{row.result.overall.means['enhanced']['pesq']:.3f}",
        "" if exact else with_interval(pesq),
        "" if exact else f"{ratio:.1f}",
    ]


def contents(
    rows: Sequence[Row], counts: Mapping[str, int], conversion: Conversion, measured: str
) -> dict[str, Any]:
    """Content of a file of results.

    Args:
        rows: of the files.
        counts: operators of each, by name.
        conversion: of the module.
        measured: what was, and how.
    """
    means = rows[0].result.overall.means["noisy"]
    noisy = ["" if column != "PESQ-WB" else f"{means['pesq']:.3f}" for column in COLUMNS[1:]]
    versions = (f"{name} {importlib.metadata.version(name)}" for name in TOOLS)
    return {
        "title": "Modules of one's own",
        "measured": f"{', '.join(versions)}.",
        "tables": [
            {
                "title": "Both routes for GTCRN",
                "command": [
                    "python -m benchmarks.routes model_trained_on_dns3.tar --module "
                    "examples/modules/gtcrn_stream.py:build --noisy NOISY --clean CLEAN"
                ],
                "measured": measured,
                "columns": list(COLUMNS),
                "rows": [*(cells(row, counts[row.name]) for row in rows), ["noisy", *noisy]],
                "footnotes": [str(conversion)],
            }
        ],
    }


def main() -> None:
    """Measure, write the table, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="trained network")
    parser.add_argument("--module", required=True, help="the same network, FILE.py:FUNCTION")
    parser.add_argument("--noisy", type=Path, required=True, help="folder of noisy clips")
    parser.add_argument("--clean", type=Path, required=True, help="folder of their clean clips")
    parser.add_argument("--precision", nargs="+", default=["float", "dynamic", "int8"])
    parser.add_argument("--json", type=Path, default=FILE, help="where the table goes")
    arguments = parser.parse_args()
    rate = load_checkpoint(arguments.checkpoint).signal.sample_rate
    pairs = load_pairs(arguments.noisy, arguments.clean, rate)
    with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
        files, conversion = make_files(
            arguments.checkpoint, arguments.module, arguments.precision, Path(folder)
        )
        load = os.getloadavg()[0]
        rows = score(files, pairs, files[f"{ROUTES[0]}, {arguments.precision[0]}"])
        counts = {name: operators(path) for name, path in files.items()}
    module = Path(arguments.module.rpartition(":")[0])
    measured = MEASURED.format(
        checkpoint=arguments.checkpoint.name,
        module=Path(*module.parts[-3:]),
        clips=len(pairs),
        cores=os.cpu_count(),
        machine=platform.machine(),
        load=load,
    )
    found = contents(rows, counts, conversion, measured)
    write(arguments.json, found)
    print("\n\n".join(section(found, arguments.json.name)))


if __name__ == "__main__":
    run_script(main)
