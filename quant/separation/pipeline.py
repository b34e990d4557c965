"""From a separator's checkpoint and mixtures to its model file.

Only what differs from a network that runs frame by frame is here: the graph is that of one window,
and its input is a window of magnitudes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from edge_se.errors import UserError
from edge_se.manifest import Chunk
from edge_se.offline_stft import Analysis
from edge_se.separator import cut_windows
from quant.graph.graph import Graph, Range
from quant.graph.recipes import Recipe
from quant.networks.checkpoint import Checkpoint
from quant.ptq.calibration import Statistics, observe
from quant.ptq.pipeline import CalibratedGraph, Progress, SignalFormat, build
from quant.ptq.ranges import percentile_ranges
from quant.separation import describe_window
from quant.separation.clips import spread

# Upstream's defaults: frames of a window by architecture, then of the signal.
WINDOW_FRAMES = {"cascaded_aspp": 512, "cascaded_lstm": 256}
SAMPLE_RATE = 44100
# Windows to calibrate with, evenly taken from all that the clips give.
CALIBRATION_WINDOWS = 24
PERCENTILE = 99.99
# A value that is nearly always zero (a convolution before a ReLU that seldom opens) has percentiles
# of zero; it gets its extremes instead. XNNPACK refuses output scales far below the input's.
LARGEST_CLIPPING = 16.0
SMALLEST_WIDTH = 1e-3


@dataclass(frozen=True)
class SeparationOptions:
    """What a separator's checkpoint does not tell.

    Attributes:
        sample_rate: in Hz.
        hop: in samples; None for half of the network's n_fft.
        window_frames: of a window; None for the architecture's default.
    """

    sample_rate: int = SAMPLE_RATE
    hop: int | None = None
    window_frames: int | None = None


def separator_format(checkpoint: Checkpoint, options: SeparationOptions) -> SignalFormat:
    """What the model file of a separator hears.

    Raises:
        UserError: the options don't fit the network.
    """
    model = checkpoint.model
    n_fft, offset = cast(int, model.n_fft), cast(int, model.offset)
    hop = n_fft // 2 if options.hop is None else options.hop
    if not 0 < 2 * hop <= n_fft:
        raise UserError(f"a hop of {hop} samples is not between 1 and half the n_fft of {n_fft}")
    if options.sample_rate <= 0:
        raise UserError(f"a sample rate of {options.sample_rate} Hz is none")
    frames = options.window_frames or WINDOW_FRAMES[checkpoint.architecture]
    chunk = Chunk(frames, offset)
    return SignalFormat(options.sample_rate, n_fft, hop, "stereo_magnitude", chunk)


def windows_of(samples: np.ndarray, form: SignalFormat) -> Iterator[Tensor]:
    """The windows of magnitudes that a recording is separated in.

    Args:
        samples: float32 [n, 2] at the format's rate.
        form: the separator's.

    Yields:
        float32 [1, 1, 1, frames, bins, 2]: one clip's one window as the graph's input.
    """
    assert form.chunk is not None
    analysis = Analysis(form.window, form.hop, samples.shape[1])
    spectra = np.concatenate([analysis.push(samples), analysis.finish()])
    peak = max(float(np.abs(spectra).max()), np.finfo(np.float32).tiny)
    for window, _ in cut_windows([spectra], form.chunk):
        yield torch.from_numpy(np.abs(window) / np.float32(peak))[None, None, None]


def pick_windows(
    mixtures: Sequence[np.ndarray], form: SignalFormat, count: int = CALIBRATION_WINDOWS
) -> list[Tensor]:
    """At most `count` windows, evenly taken from those of all mixtures."""
    each = -(-count // max(len(mixtures), 1))
    windows = [
        window for samples in mixtures for window in spread(list(windows_of(samples, form)), each)
    ]
    return spread(windows, count)


def split_windows(windows: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Windows to calibrate with, and every fourth to judge by; a single one has to do for both."""
    rest = [window for index, window in enumerate(windows) if index % 4]
    return rest or list(windows), list(windows[::4])


def calibrate_separator(
    checkpoint: Checkpoint,
    form: SignalFormat,
    windows: Sequence[Tensor],
    progress: Progress = lambda stage, done, total: None,
) -> CalibratedGraph:
    """Collect the statistics of a window's values; nothing is equalized.

    Args:
        checkpoint: the network.
        form: of its signals.
        windows: as `pick_windows` gives them.
        progress: told how far the calibration is.
    """
    graph = _graph(checkpoint, form)
    statistics = observe(
        graph,
        windows,
        len(windows),
        progress=lambda done, total: progress("calibration", done, total),
    )
    return CalibratedGraph(checkpoint, graph, statistics, None, form)


def separator_ranges(statistics: Statistics) -> dict[str, Range]:
    """Ranges of a separator's values: percentiles, unless these leave out nearly everything."""
    ranges: dict[str, Range] = {}
    for key, (low, high) in percentile_ranges(statistics, (), PERCENTILE).items():
        smallest, largest = min(statistics.extremes[key][0], 0.0), statistics.extremes[key][1]
        if largest - smallest > LARGEST_CLIPPING * (high - low):
            low, high = smallest, largest
        ranges[key] = (low, high) if high - low > SMALLEST_WIDTH else (low, low + SMALLEST_WIDTH)
    return ranges


def build_float_separator(checkpoint: Checkpoint, form: SignalFormat, recipe: Recipe) -> bytes:
    """The float model file of a separator."""
    graph = _graph(checkpoint, form)
    return build(CalibratedGraph(checkpoint, graph, Statistics(), None, form), recipe, {}, {})


def _graph(checkpoint: Checkpoint, form: SignalFormat) -> Graph:
    assert form.chunk is not None
    return describe_window(checkpoint.architecture, checkpoint.model, form.chunk.frames)
