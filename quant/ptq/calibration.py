"""Calibration: what values a network's tensors take while it enhances the calibration clips.

The step runs over every frame of every clip; states are carried within a clip and start from zero
in the next. Statistics are over all frames: TFLite tools that keep a moving average forget all but
the last ones.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from edge_se.signal import Signal
from quant.audio.frames import heard_in_calibration
from quant.graph.execute import Values, sequence_values
from quant.graph.graph import Graph, Range, Value
from quant.graph.scale_classes import PINNED, ScaleClasses

CLIPS_AT_ONCE = 8
# One of so many elements is kept for percentiles, but at least so many of each frame.
KEPT_EVERY = 50
KEPT_OF_A_FRAME = 16
ROWS_AT_ONCE = 16000
MAGNITUDE_PERCENTILE = 99.9

Progress = Callable[[int, int], None]


@dataclass
class Statistics:
    """What calibration saw of the values that operators compute.

    Attributes:
        samples: by range key, a seeded random sample of its elements, sorted, float32.
        extremes: by range key, the smallest and largest of all its elements.
        input_means: mean of each channel of a weighted operator's input, by that value.
        magnitudes: a high percentile of the absolute value of each channel, for values whose
            channels can be rescaled.
        saturated: like `samples`, of what values are when all before them saturate at the ends of
            their ranges; empty unless that was observed.
        frames: number of frames seen.
    """

    samples: dict[str, np.ndarray] = field(default_factory=dict)
    extremes: dict[str, tuple[float, float]] = field(default_factory=dict)
    input_means: dict[Value, Tensor] = field(default_factory=dict)
    magnitudes: dict[Value, np.ndarray] = field(default_factory=dict)
    saturated: dict[str, np.ndarray] = field(default_factory=dict)
    frames: int = 0


def batches(clips: Sequence[np.ndarray]) -> Iterator[Tensor]:
    """Clips of similar length together, each batch [clips, n], cut to its shortest clip's length.

    No clip is padded: padding would put silence into the statistics that the clips do not have.
    """
    ordered = sorted(clips, key=len)
    for first in range(0, len(ordered), CLIPS_AT_ONCE):
        group = ordered[first : first + CLIPS_AT_ONCE]
        shortest = len(group[0])
        yield torch.from_numpy(np.stack([clip[:shortest] for clip in group]).astype(np.float32))


@torch.no_grad()
def calibrate(
    graph: Graph,
    clips: Sequence[np.ndarray],
    signal: Signal,
    classes: ScaleClasses | None = None,
    progress: Progress = lambda done, total: None,
    limits: Mapping[str, Range] | None = None,
) -> Statistics:
    """Run the graph over noisy clips and collect the statistics of its values.

    Args:
        graph: the frame, in float.
        clips: noisy samples at the signal's rate, float32 [n] each.
        signal: what the network hears.
        classes: collect the channel magnitudes that equalization needs, and nothing else.
        progress: called with the number of clips done and their total.
        limits: ranges by range key; a value is seen, and goes on, cut off at the ends of its range,
            as in 8 bits.
    """
    heard_clips = (heard_in_calibration(samples, signal) for samples in batches(clips))
    return observe(graph, heard_clips, len(clips), classes, progress, limits)


@torch.no_grad()
def observe(
    graph: Graph,
    features: Iterable[Tensor],
    clips: int,
    classes: ScaleClasses | None = None,
    progress: Progress = lambda done, total: None,
    limits: Mapping[str, Range] | None = None,
) -> Statistics:
    """Run the graph over features and collect the statistics of its values.

    Args:
        graph: the frame (or window), in float.
        features: its input, batch by batch: [clips, frames, *shape] each.
        clips: how many there are in all.
        classes: collect the channel magnitudes that equalization needs, and nothing else.
        progress: called with the number of clips done and their total.
        limits: see `calibrate`.
    """
    observer = _Observer(graph, classes, limits or {})
    done = 0
    for batch in features:
        frames = batch.shape[0] * batch.shape[1]
        # Never two batches' values at once: each takes gigabytes.
        observer.take(sequence_values(graph, {"features": batch}, observer.limit), frames)
        done += len(batch)
        progress(done, clips)
    return observer.finish()


class _Observer:
    """Collects statistics of all values of a batch, cut off at the limits for their range keys."""

    def __init__(
        self, graph: Graph, classes: ScaleClasses | None, limits: Mapping[str, Range]
    ) -> None:
        self.statistics = Statistics()
        moved = {
            value
            for operator in graph.operators
            if operator.keeps_encoding
            for value in operator.outputs
        }
        self._skipped = moved | {state.input for state in graph.states}
        # Signals that the file takes in parts are not cut off before.
        unlimited = self._skipped | (set(graph.inputs) - set(graph.fed))
        computed = {value for op in graph.operators for value in op.outputs} | set(graph.inputs)
        self._limits = {
            value: limits[value.range_key]
            for value in computed - unlimited
            if value.fixed_range is None and value.range_key in limits
        }
        self._weighted = {op.inputs[0] for op in graph.operators if op.rule.weighted}
        self._scalable: list[Value] | None = None
        if classes is not None:
            results = (operator.outputs[0] for operator in graph.operators)
            self._scalable = [v for v in results if v not in moved and _is_scalable(classes, v)]
        self._random = torch.Generator().manual_seed(0)
        self._kept: dict[str, list[Tensor]] = {}
        self._sums: dict[Value, tuple[Tensor, int]] = {}
        self._rows: dict[Value, list[Tensor]] = {}

    def limit(self, value: Value, tensor: Tensor) -> Tensor:
        """Hook that cuts a tensor off where it has a limit."""
        bounds = self._limits.get(value)
        return tensor if bounds is None else tensor.clamp(*bounds)

    def take(self, values: Values, frames: int) -> None:
        """Collect what there is to know of the values of one batch of so many frames."""
        self.statistics.frames += frames
        if self._scalable is not None:
            for value in self._scalable:
                rows = values[value].reshape(-1, value.shape[-1])
                picked = self._pick(len(rows), min(len(rows), ROWS_AT_ONCE))
                self._rows.setdefault(value, []).append(rows[picked].abs())
            return
        by_key: dict[str, list[Tensor]] = {}
        for value, tensor in values.items():
            if value in self._weighted:
                rows = tensor.reshape(-1, tensor.shape[-1])
                total, count = self._sums.get(value, (torch.zeros(1, dtype=torch.float64), 0))
                self._sums[value] = (total + rows.sum(0), count + len(rows))
            if value not in self._skipped:
                by_key.setdefault(value.range_key, []).append(tensor)
        for key, tensors in by_key.items():
            self._keep(key, tensors, frames)

    def _pick(self, size: int, count: int) -> Tensor:
        return torch.randint(size, (count,), generator=self._random)

    def _keep(self, key: str, tensors: Sequence[Tensor], frames: int) -> None:
        """Extremes and samples of the tensors under one key, the same share of every frame."""
        of_a_frame = sum(tensor.numel() for tensor in tensors) / frames
        share = min(1.0, max(1 / KEPT_EVERY, KEPT_OF_A_FRAME / of_a_frame))
        low, high = self.statistics.extremes.get(key, (np.inf, -np.inf))
        for tensor in tensors:
            least, most = (float(bound) for bound in torch.aminmax(tensor))
            low, high = min(low, least), max(high, most)
            flat = tensor.reshape(-1)
            picked = self._pick(len(flat), round(share * len(flat)))
            self._kept.setdefault(key, []).append(flat if share == 1 else flat[picked])
        self.statistics.extremes[key] = low, high

    def finish(self) -> Statistics:
        """Sort and summarise what was kept."""
        statistics = self.statistics
        statistics.samples = {
            key: np.sort(torch.cat(parts).numpy()) for key, parts in self._kept.items()
        }
        statistics.input_means = {
            value: (total / count).float() for value, (total, count) in self._sums.items()
        }
        statistics.magnitudes = {
            value: _high_percentile(torch.cat(rows)) for value, rows in self._rows.items()
        }
        return statistics


def _high_percentile(rows: Tensor) -> np.ndarray:
    """The `MAGNITUDE_PERCENTILE` of each column; the largest few are found sooner than a rank."""
    above = max(round(len(rows) * (1 - MAGNITUDE_PERCENTILE / 100)), 1)
    found: np.ndarray = rows.topk(above, dim=0).values[-1].numpy()
    return found


def _is_scalable(classes: ScaleClasses, value: Value) -> bool:
    scaling = classes.of(value)
    by_channel = scaling.classes.reshape(-1, scaling.classes.shape[-1])
    return bool((by_channel[0] != PINNED).any() and (scaling.exponents == 1).all())
