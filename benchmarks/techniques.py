"""What each technique of quantization is worth: each added in turn to plain static INT8.

`python -m benchmarks.techniques CHECKPOINT ... --noisy DIR --clean DIR` writes a file after each
and scores it through the frame loop, beside float and the other precisions. With `--calibration
DIR` the last static file is calibrated with those clips too, and compared with the embedded ones.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from calib_data import clips_folder
from edge_se.benchmark import bursts
from edge_se.comparison import compare
from edge_se.enhancer import Enhancer
from edge_se.files import write_json
from edge_se.peers import Ours
from quant.audio.clips import CalibrationClips, read_calibration_clips
from quant.checkpoints import default_checkpoint_path
from quant.evaluation.evaluate import EvaluationResult, evaluate_pairs
from quant.evaluation.pairs import Pair, load_pairs
from quant.graph.recipes import RECIPES, find_recipe
from quant.graph.scale_classes import ScaleClasses
from quant.mixed_precision.costs import DEFAULT_BOARD, find_board, predict
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.ptq.calibration import calibrate
from quant.ptq.equalization import choose_scales, equalize
from quant.ptq.pipeline import (
    CalibratedGraph,
    build,
    build_float,
    build_quantized,
    calibrate_checkpoint,
    find_ranges,
    noisy_clips,
)
from quant.ptq.ranges import RANGE_FUNCTIONS, percentile_ranges
from quant.training.recovery import RecoverySettings, recover

TIMED_SECONDS = 6.0
EXACT_DB = 90.0  # from here on the files give the same samples
INT8 = RECIPES["int8"]


@dataclass(frozen=True)
class Row:
    """A file of the table.

    Attributes:
        name: what was added, or the precision.
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

    def to_dict(self) -> dict[str, Any]:
        """Means and differences for JSON."""
        return {
            "name": self.name,
            "means": self.result.overall.means["enhanced"],
            "noisy": self.result.overall.means["noisy"],
            "differences": {name: vars(d) for name, d in self.result.differences.items()},
            "snr_to_float_db": self.result.overall.snr_to_reference_db,
            "instructions": round(self.instructions),
            "frame_us": self.frame_us,
            "bytes": self.size,
        }


def add_in_turn(checkpoint: Checkpoint, noisy: Sequence[np.ndarray]) -> Iterator[tuple[str, bytes]]:
    """Static INT8 files, each with one technique more, and error-optimal ranges beside them."""
    graph, signal = checkpoint.step(), checkpoint.signal
    rules = checkpoint.network.range_rules
    plain = CalibratedGraph(checkpoint, graph, calibrate(graph, noisy, signal), signal)
    statistics = plain.statistics
    yield (
        "ranges from smallest to largest",
        build(plain, INT8, RANGE_FUNCTIONS["min-max"](statistics, rules), {}),
    )
    yield (
        "ranges of least squared error",
        build(plain, INT8, RANGE_FUNCTIONS["mse"](statistics, rules), {}),
    )
    yield "percentiles, 99.9 for all", build(plain, INT8, percentile_ranges(statistics), {})
    classes = ScaleClasses(plain.graph)
    before = calibrate(plain.graph, noisy, signal, classes)
    equalize(plain.graph, classes, choose_scales(classes, before.magnitudes))
    equal = replace(plain, statistics=calibrate(plain.graph, noisy, signal))
    ranges = percentile_ranges(equal.statistics)
    yield "and equalization", build(equal, INT8, ranges, {})
    yield "and bias correction", build_quantized(equal, INT8, ranges, {})
    ranges = find_ranges(equal, INT8)
    yield "and percentiles for each kind of tensor", build_quantized(equal, INT8, ranges, {})
    whole = calibrate_checkpoint(checkpoint, noisy, replace(INT8, level_dbfs=None))
    split = replace(whole, clips=())
    ranges = percentile_ranges(replace(split.statistics, saturated={}), rules)
    yield "and the step described for 8 bits", build_quantized(split, INT8, ranges, {})
    ranges = percentile_ranges(split.statistics, rules)
    yield "and attention's as it saturates", build_quantized(split, INT8, ranges, {})
    ranges = find_ranges(split, INT8)
    yield "and without what rectified sums drop", build_quantized(split, INT8, ranges, {})
    yield "and biases corrected for rounded values", build_quantized(whole, INT8, ranges, {})
    yield "and loud speech attenuated", static_file(checkpoint, noisy)


def recovered_file(checkpoint: Checkpoint, clips: CalibrationClips) -> bytes:
    """The file that `quantize --precision int8 --recover` makes."""
    calibrated = calibrate_checkpoint(checkpoint, noisy_clips(clips), INT8)
    ranges = find_ranges(calibrated, INT8)
    found = recover(calibrated, INT8, ranges, clips, RecoverySettings())
    return build_quantized(found.calibrated, INT8, ranges, {})


def static_file(
    checkpoint: Checkpoint, noisy: Sequence[np.ndarray], precision: str = "int8"
) -> bytes:
    """The file that `quantize --precision` makes with `--recover 0`."""
    recipe = find_recipe(precision, checkpoint.network.recipes)
    calibrated = calibrate_checkpoint(checkpoint, noisy, recipe)
    return build_quantized(calibrated, recipe, find_ranges(calibrated, recipe), {})


def score(files: dict[str, Path], pairs: Sequence[Pair], plain: Path) -> list[Row]:
    """Score files against the float one, and time them by turns."""
    reference, board = Enhancer(plain), find_board(DEFAULT_BOARD)
    names, rows = list(files), []
    timed = compare(
        [Ours(Enhancer(path)) for path in files.values()],
        bursts(reference.sample_rate),
        TIMED_SECONDS,
    )
    for name, times in zip(tqdm(names, desc="scoring"), timed, strict=True):
        content = files[name].read_bytes()
        result = evaluate_pairs(Enhancer(files[name]).enhance, pairs, reference=reference.enhance)
        cost = predict(content, board.core)
        rows.append(Row(name, result, cost.instructions, times["frame_us"]["p50"], len(content)))
    return rows


def format_rows(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [
        "| | PESQ-WB | against float | STOI | SI-SNR dB | SNR to float dB | K instructions (pi4) "
        "| µs p50 here | KB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    means = rows[0].result.overall.means["noisy"]
    noisy = f"{means['pesq']:.3f} | | {means['stoi']:.4f} | {means['si_snr_db']:.2f}"
    lines.append(f"| noisy | {noisy} | | | | |")
    for row in rows:
        means, pesq = row.result.overall.means["enhanced"], row.result.differences["pesq"]
        ratio = row.result.overall.snr_to_reference_db
        exact = ratio is None or ratio >= EXACT_DB
        against = "" if exact else f"{pesq.mean:+.3f} [{pesq.low:+.3f}, {pesq.high:+.3f}]"
        lines.append(
            f"| {row.name} | {means['pesq']:.3f} | {against} | {means['stoi']:.4f} "
            f"| {means['si_snr_db']:.2f} | {'' if exact else f'{ratio:.1f}'} "
            f"| {row.instructions / 1000:.0f} | {row.frame_us:.0f} | {row.size / 1000:.0f} |"
        )
    return "\n".join(lines)


def draw(tables: dict[str, list[Row]], path: Path) -> None:
    """Plot PESQ against float of each file of each checkpoint, with intervals, as PNG."""
    from matplotlib.figure import Figure

    names = [row.name for row in next(iter(tables.values()))][1:]
    figure = Figure(figsize=(9, 0.45 * len(names) + 1.3), layout="constrained")
    axes = figure.subplots()
    colours = ("#4c6ef5", "#e8590c", "#2b8a3e", "#ae3ec9")
    for index, (checkpoint, rows) in enumerate(tables.items()):
        differences = [row.result.differences["pesq"] for row in rows[1:]]
        positions = [p + 0.18 * (index - (len(tables) - 1) / 2) for p in range(len(names))]
        means = [difference.mean for difference in differences]
        spans = [
            [d.mean - d.low for d in differences],
            [d.high - d.mean for d in differences],
        ]
        colour = colours[index % len(colours)]
        axes.errorbar(means, positions, xerr=spans, fmt="o", color=colour, label=checkpoint)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="#868e96", linewidth=1)
    axes.set_xlabel("PESQ-WB against float, with 95 % intervals")
    axes.grid(axis="x", color="#e9ecef")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path, format="png", dpi=110)


def rows_of(checkpoint: Checkpoint, pairs: Sequence[Pair], given: Sequence[Path]) -> list[Row]:
    """All rows for a checkpoint; `given` are folders of clips to calibrate with besides."""
    rate = checkpoint.signal.sample_rate
    embedded = read_calibration_clips(clips_folder(), rate)
    noisy = noisy_clips(embedded)
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}

        def keep(name: str, content: bytes) -> None:
            files[name] = Path(folder) / f"{len(files)}.tflite"
            files[name].write_bytes(content)

        keep("float", build_float(checkpoint))
        for name, content in tqdm(add_in_turn(checkpoint, noisy), desc="making", total=10):
            keep(name, content)
        keep("and recovery: int8", recovered_file(checkpoint, embedded))
        for recipe in (*checkpoint.network.recipes, RECIPES["dynamic"]):
            keep(recipe.name, static_file(checkpoint, noisy, recipe.name))
        for clips in given:
            other = noisy_clips(read_calibration_clips(clips, rate))
            keep(f"int8, calibrated with {clips.name}", static_file(checkpoint, other))
        return score(files, pairs, files["float"])


def main() -> None:
    """Print a table for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "checkpoints", type=Path, nargs="*", help="trained networks (default: the built-in one)"
    )
    parser.add_argument("--noisy", type=Path, required=True, help="folder of noisy clips")
    parser.add_argument("--clean", type=Path, required=True, help="folder of their clean clips")
    parser.add_argument(
        "--calibration", type=Path, nargs="*", default=[], help="folders to calibrate with besides"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture there (.png)")
    arguments = parser.parse_args()
    tables: dict[str, list[Row]] = {}
    for path in arguments.checkpoints or [default_checkpoint_path()]:
        checkpoint = load_checkpoint(path)
        pairs = load_pairs(arguments.noisy, arguments.clean, checkpoint.signal.sample_rate)
        tables[checkpoint.name] = rows_of(checkpoint, pairs, arguments.calibration)
        print(f"\n{checkpoint.name}, {len(pairs)} clips:\n\n{format_rows(tables[checkpoint.name])}")
        sys.stdout.flush()
    if arguments.json:
        write_json(
            arguments.json, {name: [row.to_dict() for row in rows] for name, rows in tables.items()}
        )
    if arguments.plot:
        draw(tables, arguments.plot)


if __name__ == "__main__":
    with torch.no_grad():
        main()
