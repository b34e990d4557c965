"""What each technique of quantization is worth: each added in turn to plain static INT8.

`python -m benchmarks.techniques --noisy DIR --clean DIR ["TITLE=CHECKPOINT" ...]` makes a file
after each, scores it through the frame loop, and puts a table of that title into a file of
`benchmarks/results/`; without a checkpoint that of the built-in GTCRN. `--plot FILE` draws all
tables that stand there. After it, `python -m benchmarks.results` writes the page.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.precisions import networks, row
from benchmarks.results import FOLDER, put
from calib_data import clips_folder
from edge_se.enhancer import Enhancer
from edge_se.errors import run_script
from quant.audio.clips import CalibrationClips, read_calibration_clips
from quant.evaluation.evaluate import evaluate_pairs
from quant.evaluation.pairs import Pair, load_pairs
from quant.graph.recipes import RECIPES, Recipe
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

INT8 = RECIPES["int8"]
FILE = FOLDER / "15_techniques.json"
SUFFIX = ", technique by technique"
COMMAND = "python -m benchmarks.techniques --noisy NOISY --clean CLEAN [TITLE=CHECKPOINT ...]"
COLUMNS = [
    *("", "PESQ-WB", "against float", "STOI", "SI-SNR dB", "SNR to float dB"),
    *(f"K instructions ({DEFAULT_BOARD})", "KB"),
]


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
    yield "and loud speech attenuated", static_file(checkpoint, noisy, INT8)


def recovered_file(checkpoint: Checkpoint, clips: CalibrationClips) -> bytes:
    """The file that `quantize --precision int8 --recover` makes."""
    calibrated = calibrate_checkpoint(checkpoint, noisy_clips(clips), INT8)
    ranges = find_ranges(calibrated, INT8)
    found = recover(calibrated, INT8, ranges, clips, RecoverySettings())
    return build_quantized(found.calibrated, INT8, ranges, {})


def static_file(checkpoint: Checkpoint, noisy: Sequence[np.ndarray], recipe: Recipe) -> bytes:
    """The file that `quantize --precision` makes with `--recover 0`."""
    calibrated = calibrate_checkpoint(checkpoint, noisy, recipe)
    return build_quantized(calibrated, recipe, find_ranges(calibrated, recipe), {})


def table(title: str, checkpoint: Checkpoint, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The table of a network: float, then a row for each technique."""
    embedded = read_calibration_clips(clips_folder(), checkpoint.signal.sample_rate)
    core, rows = find_board(DEFAULT_BOARD).core, []
    with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
        plain, path = Path(folder) / "float.tflite", Path(folder) / "int8.tflite"
        plain.write_bytes(build_float(checkpoint))
        reference = Enhancer(plain)

        def add(name: str, path: Path) -> None:
            enhance = Enhancer(path).enhance
            result = evaluate_pairs(enhance, pairs, reference=reference.enhance, score_noisy=False)
            *cells, size = row(name, path, result)
            cost = predict(path.read_bytes(), core).instructions / 1000
            rows.append([*cells, f"{cost:.0f}", size])
            print(*rows[-1], sep=" | ", flush=True)

        add("`float`", plain)
        for name, content in add_in_turn(checkpoint, noisy_clips(embedded)):
            path.write_bytes(content)
            add(name, path)
        path.write_bytes(recovered_file(checkpoint, embedded))
        add("and recovery", path)
    return {"title": title + SUFFIX, "command": [COMMAND], "columns": COLUMNS, "rows": rows}


def draw(tables: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot PESQ against float of each file of each network, with intervals, as PNG."""
    from matplotlib.figure import Figure

    names = [name for name, *_ in tables[0]["rows"][1:]]
    figure = Figure(figsize=(9, 0.45 * len(names) + 1.3), layout="constrained")
    axes = figure.subplots()
    colours = ("#4c6ef5", "#e8590c", "#2b8a3e", "#ae3ec9")
    for index, table in enumerate(tables):
        cells = [re.findall(r"[-+][\d.]+", against) for _, _, against, *_ in table["rows"][1:]]
        means, low, high = np.array(cells, dtype=float).T
        positions = [p + 0.18 * (index - (len(tables) - 1) / 2) for p in range(len(names))]
        colour, label = colours[index % len(colours)], table["title"].removesuffix(SUFFIX)
        spans = [means - low, high - means]
        axes.errorbar(means, positions, xerr=spans, fmt="o", color=colour, label=label)
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


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", nargs="*", metavar="TITLE=CHECKPOINT")
    for name in ("noisy", "clean"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture there (.png)")
    arguments = parser.parse_args()
    for title, path in networks(arguments.checkpoints):
        checkpoint = load_checkpoint(path)
        pairs = load_pairs(arguments.noisy, arguments.clean, checkpoint.signal.sample_rate)
        put(arguments.json, table(title, checkpoint, pairs))
    if arguments.plot:
        draw(json.loads(arguments.json.read_text(encoding="utf-8"))["tables"], arguments.plot)


if __name__ == "__main__":
    with torch.no_grad():
        run_script(main)
