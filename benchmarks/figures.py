"""Pictures for the docs, from measurements: `python -m benchmarks.figures --out DIR`."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from calib_data import clips_folder
from edge_se.errors import run_script
from edge_se.files import make_folder
from quant.audio.clips import read_calibration_clips
from quant.checkpoints import default_checkpoint_path
from quant.commands.progress import ProgressBars
from quant.evaluation.judge import SimulationJudge
from quant.evaluation.sensitivity import (
    JUDGED_CLIPS,
    JUDGED_SECONDS,
    draw_sensitivity,
    measure_sensitivity,
)
from quant.graph.recipes import RECIPES
from quant.mixed_precision.auto import split_clips
from quant.networks.checkpoint import load_checkpoint
from quant.networks.network import Network
from quant.ptq.calibration import Statistics
from quant.ptq.pipeline import calibrate_checkpoint, noisy_clips
from quant.ptq.ranges import RANGE_FUNCTIONS

METHODS = {"min-max": "#c92a2a", "mse": "#e67700", "percentile": "#2b8a3e"}
BINS = 120
STEPS = 255


def widest(statistics: Statistics, ranges: dict[str, tuple[float, float]]) -> str:
    """The tensor whose extremes exceed its range the most."""

    def excess(key: str) -> float:
        (low, high), (least, largest) = ranges[key], statistics.extremes[key]
        return (largest - least) / max(high - low, 1e-9)

    return max(ranges, key=excess)


def draw_ranges(statistics: Statistics, network: Network, path: Path) -> str:
    """Plot one tensor's values and what the range methods make of them; returns its name."""
    from matplotlib.figure import Figure

    found = {name: RANGE_FUNCTIONS[name](statistics, network.range_rules) for name in METHODS}
    key = widest(statistics, found["percentile"])
    samples = statistics.samples[key]
    low, high = statistics.extremes[key]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.hist(samples, bins=list(np.linspace(low, high, BINS)), color="#adb5bd", log=True)
    top = axes.get_ylim()[1]
    for height, (name, colour) in zip((2.0, 6.0, 18.0), METHODS.items(), strict=True):
        start, end = found[name][key]
        axes.hlines(top * height, start, end, color=colour, linewidth=5)
        axes.text(
            end,
            top * height,
            f"  {name}: steps of {(end - start) / STEPS:.2g}",
            color=colour,
            va="center",
        )
    axes.set_ylim(0.5, top * 60)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.45 * (high - low))
    axes.set_xlabel(f"value of {key}")
    axes.set_ylabel("samples (log)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png", dpi=110)
    return key


def main() -> None:
    """Calibrate, measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", help="trained network (default: the built-in one)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    arguments = parser.parse_args()
    make_folder(arguments.out)
    checkpoint = load_checkpoint(arguments.checkpoint or default_checkpoint_path())
    clips = read_calibration_clips(clips_folder(), checkpoint.signal.sample_rate)
    clips, judged = split_clips(clips, JUDGED_CLIPS, JUDGED_SECONDS)
    with ProgressBars() as progress:
        recipe = replace(RECIPES["int8"], level_dbfs=None)
        calibrated = calibrate_checkpoint(checkpoint, noisy_clips(clips), recipe, progress)
        sensitivity = measure_sensitivity(calibrated, SimulationJudge(judged, checkpoint), progress)
    name = draw_ranges(calibrated.statistics, checkpoint.network, arguments.out / "ranges.png")
    draw_sensitivity(sensitivity, arguments.out / "sensitivity.png")
    print(f"wrote ranges.png ({name}) and sensitivity.png into {arguments.out}")


if __name__ == "__main__":
    with torch.no_grad():
        run_script(main)
