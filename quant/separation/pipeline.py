"""From a separator's checkpoint and mixtures to its model file.

Only what differs from a network that runs frame by frame is here: the graph is that of one window,
and its input is a window of magnitudes.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_se.manifest import Chunk
from edge_se.model_file import attach_manifest, read_model
from edge_se.offline_stft import Analysis
from edge_se.separator import cut_windows
from edge_se.signal import Signal
from quant.graph.graph import Range
from quant.graph.recipes import Recipe
from quant.networks.checkpoint import Checkpoint
from quant.ptq.calibration import observe
from quant.ptq.pipeline import CalibratedGraph, Progress, build_proven_float, build_quantized
from quant.ptq.proof import run_apart, speech
from quant.ptq.ranges import RANGE_FUNCTIONS
from quant.separation.clips import StereoClips, read_mixtures, spread
from quant.separation.masks import mask_quality

# Windows to calibrate with, evenly taken from all that the clips give.
CALIBRATION_WINDOWS = 24
# A value that is nearly always zero (a convolution before a ReLU that seldom opens) has percentiles
# of zero; it gets its extremes instead. XNNPACK refuses output scales far below the input's.
LARGEST_CLIPPING = 16.0
SMALLEST_WIDTH = 1e-3


def windows_of(samples: np.ndarray, signal: Signal, chunk: Chunk) -> Iterator[Tensor]:
    """The windows of magnitudes that a recording is separated in.

    Args:
        samples: float32 [n, 2] at the signal's rate.
        signal: what the separator hears.
        chunk: what it takes at once.

    Yields:
        float32 [1, 1, 1, frames, bins, 2]: one clip's one window as the graph's input.
    """
    analysis = Analysis(signal, samples.shape[1])
    spectra = np.concatenate([analysis.push(samples), analysis.finish()])
    peak = max(float(np.abs(spectra).max()), np.finfo(np.float32).tiny)
    for window, _ in cut_windows([spectra], chunk):
        yield torch.from_numpy(np.abs(window) / np.float32(peak))[None, None, None]


def pick_windows(
    mixtures: Sequence[np.ndarray],
    signal: Signal,
    chunk: Chunk,
    count: int = CALIBRATION_WINDOWS,
) -> list[Tensor]:
    """At most `count` windows, evenly taken from those of all mixtures."""
    each = -(-count // max(len(mixtures), 1))
    windows = [
        window
        for samples in mixtures
        for window in spread(list(windows_of(samples, signal, chunk)), each)
    ]
    return spread(windows, count)


def split_windows(windows: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Windows to calibrate with, and every fourth to judge by; a single one has to do for both."""
    rest = [window for index, window in enumerate(windows) if index % 4]
    return rest or list(windows), list(windows[::4])


def calibrate_separator(
    checkpoint: Checkpoint,
    windows: Sequence[Tensor],
    progress: Progress = lambda stage, done, total: None,
) -> CalibratedGraph:
    """Collect the statistics of a window's values; nothing is equalized.

    Args:
        checkpoint: the network.
        windows: as `pick_windows` gives them.
        progress: told how far the calibration is.
    """
    graph = checkpoint.graph()
    told = partial(progress, "calibration")
    statistics = observe(graph, windows, len(windows), progress=told)
    return CalibratedGraph(checkpoint, graph, statistics, checkpoint.signal)


def separator_ranges(calibrated: CalibratedGraph, recipe: Recipe) -> dict[str, Range]:
    """Ranges by the recipe's method, unless that leaves out nearly everything."""
    statistics, rules = calibrated.statistics, calibrated.checkpoint.network.range_rules
    ranges: dict[str, Range] = {}
    found = RANGE_FUNCTIONS[recipe.ranges](statistics, rules)
    for key, (low, high) in found.items():
        smallest, largest = min(statistics.extremes[key][0], 0.0), statistics.extremes[key][1]
        if largest - smallest > LARGEST_CLIPPING * (high - low):
            low, high = smallest, largest
        ranges[key] = (low, high) if high - low > SMALLEST_WIDTH else (low, low + SMALLEST_WIDTH)
    return ranges


def quantize_separator(
    checkpoint: Checkpoint,
    clips: Path,
    recipe: Recipe,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[bytes, StereoClips | None]:
    """Calibrate, build and compare with the float network, whose mask SNR the manifest then says.

    Args:
        checkpoint: the separator.
        clips: folder of mixtures, or of vocals and accompaniment.
        recipe: precision of every operator.
        progress: told how far the calibration is.

    Returns:
        The model file, and the clips that it was calibrated with, if it was.

    Raises:
        UserError: the clips can't be used.
    """
    if recipe.is_float:
        return build_proven_float(checkpoint, recipe), None
    chunk = checkpoint.network.chunk(checkpoint.model)
    found = read_mixtures(clips, checkpoint.signal.sample_rate)
    calibration, judged = split_windows(pick_windows(found.mixtures, checkpoint.signal, chunk))
    calibrated = calibrate_separator(checkpoint, calibration, progress)
    ranges = separator_ranges(calibrated, recipe) if recipe.needs_ranges else {}
    details = {"clips": len(found.mixtures), "windows": len(calibration)}
    content = build_quantized(calibrated, recipe, ranges, details)
    run_apart(content, speech(checkpoint.signal.sample_rate))
    with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        quality = mask_quality(path, checkpoint.model, judged) | {"windows": len(judged)}
        flatbuffer, manifest = read_model(path)
    return attach_manifest(flatbuffer, replace(manifest, quality=quality)), found
