"""Both routes to a TFLite file for one network: our graph, and a module by the official tools.

`python -m benchmarks.routes CHECKPOINT --module FILE.py:FUNCTION --noisy DIR --clean DIR` makes
float, dynamic, INT8 and 16x8 files by both, times them by turns and scores them against our float
file. The module has to be the checkpoint's network.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.techniques import EXACT_DB, Row, score, static_file
from calib_data import clips_folder
from edge_se.files import write_json
from quant.audio.clips import read_calibration_clips
from quant.evaluation.pairs import load_pairs
from quant.graph.recipes import RECIPES
from quant.mixed_precision.operators import parse
from quant.modules.own import load_own_module
from quant.modules.pipeline import lower_module, make_module
from quant.networks.checkpoint import load_checkpoint
from quant.ptq.pipeline import build_float, noisy_clips

ROUTES = ("our graph", "litert-torch")


def make_files(
    checkpoint: Path, module: str, precisions: Sequence[str], folder: Path
) -> dict[str, Path]:
    """Write the files of both routes into a folder; their paths by row of the table."""
    ours, own = load_checkpoint(checkpoint), load_own_module(module, checkpoint)
    noisy = noisy_clips(read_calibration_clips(clips_folder(), ours.signal.sample_rate))
    before = os.times()
    lowered = lower_module(own)
    spent = sum(os.times()[:4]) - sum(before[:4])  # its processes' included
    print(f"conversion: {spent:.0f} s of processor time, largest error {lowered.error:.1g}\n")
    files: dict[str, Path] = {}

    def keep(route: str, precision: str, content: bytes) -> None:
        files[f"{route}, {precision}"] = path = folder / f"{len(files)}.tflite"
        path.write_bytes(content)

    for precision in precisions:
        recipe = RECIPES[precision]
        by_graph = build_float(ours) if recipe.is_float else static_file(ours, noisy, precision)
        keep(ROUTES[0], precision, by_graph)
        keep(ROUTES[1], precision, make_module(lowered, recipe, noisy).content)
    return files


def operators(path: Path) -> int:
    """How many operators a file has."""
    return len(parse(path.read_bytes()).subgraphs[0].operators)


def format_rows(rows: Sequence[Row], files: dict[str, Path]) -> str:
    """A Markdown table."""
    lines = [
        "| route, precision | operators | KB | µs p50 here | K instructions (pi4) | PESQ-WB "
        "| against our float | SNR to our float dB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        pesq, ratio = row.result.differences["pesq"], row.result.overall.snr_to_reference_db
        exact = ratio is None or ratio >= EXACT_DB
        against = "" if exact else f"{pesq.mean:+.3f} [{pesq.low:+.3f}, {pesq.high:+.3f}]"
        lines.append(
            f"| {row.name} | {operators(files[row.name])} | {row.size / 1000:.0f} "
            f"| {row.frame_us:.0f} | {row.instructions / 1000:.0f} "
            f"| {row.result.overall.means['enhanced']['pesq']:.3f} | {against} "
            f"| {'' if exact else f'{ratio:.1f}'} |"
        )
    noisy = rows[0].result.overall.means["noisy"]["pesq"]
    return "\n".join([*lines, f"| noisy | | | | | {noisy:.3f} | | |"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="trained network")
    parser.add_argument("--module", required=True, help="the same network, FILE.py:FUNCTION")
    parser.add_argument("--noisy", type=Path, required=True, help="folder of noisy clips")
    parser.add_argument("--clean", type=Path, required=True, help="folder of their clean clips")
    parser.add_argument("--precision", nargs="+", default=["float", "dynamic", "int8"])
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
        files = make_files(
            arguments.checkpoint, arguments.module, arguments.precision, Path(folder)
        )
        rate = load_checkpoint(arguments.checkpoint).signal.sample_rate
        pairs = load_pairs(arguments.noisy, arguments.clean, rate)
        rows = score(files, pairs, files[f"{ROUTES[0]}, {arguments.precision[0]}"])
        print(format_rows(rows, files))
    if arguments.json:
        write_json(arguments.json, [row.to_dict() for row in rows])


if __name__ == "__main__":
    main()
