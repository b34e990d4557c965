"""What values the tensors of a float TFLite frame take over the noisy clips.

The official calibrator keeps a moving average and knows no states. Here every frame of every clip
counts, states are carried within a clip and start anew in the next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge_se.errors import UserError
from edge_se.signal import Signal
from quant.audio.frames import heard_in_calibration
from quant.graph.graph import Range
from quant.modules.own import OwnModule, frame_by_frame, largest_difference
from quant.modules.step_file import NEXT, Places
from quant.ptq.calibration import Statistics

Progress = Callable[[int, int], None]
FRAMES_AT_ONCE = 32
# Of each tensor so many elements of a frame are kept for percentiles, or all that it has.
KEPT_OF_A_FRAME = 4
EXACT_FRAMES, LARGEST_ERROR = 200, 1e-4


class FloatFrame:
    """A float frame in the interpreter, all of whose tensors stay to be looked at."""

    def __init__(self, content: bytes, places: Places, own: OwnModule) -> None:
        """Load a frame; its tensors are called as `with_names` calls them."""
        self._interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        self.run = self._interpreter._interpreter.Invoke
        self.run()
        inputs = [detail["index"] for detail in self._interpreter.get_input_details()]
        outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self.taken = [self._view(inputs[place]) for place in places.inputs]
        self.given = [self._view(outputs[place]) for place in places.outputs]
        self._initial = [state.numpy() for state in own.initial]
        computed = {int(i) for op in self._interpreter._get_ops_details() for i in op["outputs"]}
        self.tensors = {
            detail["name"]: self._view(detail["index"]).reshape(-1)
            for detail in self._interpreter.get_tensor_details()
            if detail["index"] in computed | set(inputs) and detail["dtype"] is np.float32
        }

    def _view(self, index: int) -> np.ndarray:
        view: np.ndarray = self._interpreter.tensor(index)()
        return view

    def reset(self) -> None:
        """The states before the first frame."""
        for view, state in zip(self.taken[1:], self._initial, strict=True):
            view[...] = state

    def step(self, features: np.ndarray) -> np.ndarray:
        """One frame [rows, bins] to a copy of its mask; the new states are in `given`."""
        self.taken[0][...] = features
        self.run()
        return self.given[0].copy()

    def carry(self) -> None:
        """Make the new states the next frame's."""
        new = [view.copy() for view in self.given[1:]]
        for view, state in zip(self.taken[1:], new, strict=True):
            view[...] = state


def frames_of(clip: np.ndarray, signal: Signal) -> np.ndarray:
    """What the network hears of a clip (float32 [n]): [frames, rows, bins]."""
    heard = heard_in_calibration(torch.from_numpy(clip)[None], signal)
    frames: np.ndarray = heard[0].numpy()
    return frames


def exactness(frame: FloatFrame, own: OwnModule, clip: np.ndarray) -> float:
    """The largest error of masks and states over `EXACT_FRAMES` frames, against the module.

    Relative to their largest values where these exceed 1.

    Raises:
        UserError: it is not exact.
    """
    frames = frames_of(clip, own.signal)
    frames = np.resize(frames, (EXACT_FRAMES, *frames.shape[1:]))
    frame.reset()
    worst, where = 0.0, ""
    states: Sequence[torch.Tensor] = own.initial
    with frame_by_frame():
        for number, features in enumerate(frames):
            mask, *states = own.step(torch.from_numpy(features), states)
            frame.step(features)
            names = ("the mask", *own.state_names)
            for name, found, expected in zip(names, frame.given, (mask, *states), strict=True):
                error = largest_difference(torch.from_numpy(found.copy()), expected)
                if error > worst:
                    worst, where = error, f"{name} in frame {number}"
            frame.carry()
    if worst > LARGEST_ERROR:
        raise UserError(
            f"the TFLite file differs from {own.architecture} by {worst:.1g} in {where}, more than "
            f"{LARGEST_ERROR:g}; operators that amplify rounding (divisions by what comes near 0, "
            "logarithms of it) do that: guard them by a small constant"
        )
    return worst


@dataclass(frozen=True)
class _Layout:
    """Where each tensor of a frame is in a row that holds all of their values."""

    names: tuple[str, ...]
    sizes: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(frame: FloatFrame) -> "_Layout":
        sizes = np.array([len(view) for view in frame.tensors.values()])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        return _Layout(tuple(frame.tensors), sizes, starts)


def _blocks(
    frame: FloatFrame, layout: _Layout, signal: Signal, clips: Sequence[np.ndarray]
) -> Iterator[np.ndarray]:
    """All values of the frames of noisy clips, states carried: [at most FRAMES_AT_ONCE, values].

    Each is of one clip, and overwritten by the next.
    """
    views = list(frame.tensors.values())
    rows = np.empty((FRAMES_AT_ONCE, layout.starts[-1]), np.float32)
    for clip in clips:
        frame.reset()
        count = 0
        for features in frames_of(clip, signal):
            frame.step(features)
            np.concatenate(views, out=rows[count])
            frame.carry()
            count += 1
            if count == FRAMES_AT_ONCE:
                yield rows
                count = 0
        if count:
            yield rows[:count]


def cut_off(
    frame: FloatFrame,
    signal: Signal,
    clips: Sequence[np.ndarray],
    ranges: Mapping[str, Range],
) -> dict[str, float]:
    """Share of values of noisy clips that lie beyond the range of their tensor, the largest first.

    Args:
        frame: the float one.
        signal: what the file hears.
        clips: float32 [n] each.
        ranges: by tensor.
    """
    layout, frames = _Layout.of(frame), 0
    bounds = np.array([ranges.get(name, (-np.inf, np.inf)) for name in layout.names], np.float32)
    low, high = np.repeat(bounds, layout.sizes, axis=0).T
    beyond = np.zeros(len(low), np.int64)
    for block in _blocks(frame, layout, signal, clips):
        beyond += ((block < low) | (block > high)).sum(0)
        frames += len(block)
    counts = np.add.reduceat(beyond, layout.starts[:-1]) / (frames * layout.sizes)
    shares = {n: float(s) for n, s in zip(layout.names, counts, strict=True) if n in ranges}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def observe(
    frame: FloatFrame,
    own: OwnModule,
    signal: Signal,
    clips: Sequence[np.ndarray],
    progress: Progress = lambda done, total: None,
) -> Statistics:
    """Statistics of all tensors of a frame, by their names, over all frames of noisy clips.

    A state's input and output have one statistic: they hold the same values a frame apart.
    """
    statistics, layout = Statistics(), _Layout.of(frame)
    sizes, starts = layout.sizes, layout.starts
    lows, highs = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    random = np.random.default_rng(0)
    picks = np.minimum(sizes, KEPT_OF_A_FRAME)
    of_tensor = np.repeat(np.arange(len(sizes)), picks)
    kept: list[np.ndarray] = []
    for done, clip in enumerate(clips, 1):
        for block in _blocks(frame, layout, signal, [clip]):
            np.minimum(lows, np.minimum.reduceat(block.min(0), starts[:-1]), out=lows)
            np.maximum(highs, np.maximum.reduceat(block.max(0), starts[:-1]), out=highs)
            chosen = random.integers(0, sizes[of_tensor], (len(block), len(of_tensor)))
            kept.append(np.take_along_axis(block, starts[of_tensor] + chosen, axis=1))
            statistics.frames += len(block)
        progress(done, len(clips))
    samples = np.concatenate(kept)
    columns = np.concatenate([[0], np.cumsum(picks)])
    for number, name in enumerate(layout.names):
        statistics.extremes[name] = float(lows[number]), float(highs[number])
        statistics.samples[name] = np.sort(
            samples[:, columns[number] : columns[number + 1]], axis=None
        )
    _tie(statistics, own)
    return statistics


def _tie(statistics: Statistics, own: OwnModule) -> None:
    for name, initial in zip(own.state_names, own.initial, strict=True):
        pair = [key for key in (name, name + NEXT) if key in statistics.samples]
        reset = float(initial.flatten()[0])
        joined = np.sort(np.concatenate([statistics.samples[key] for key in pair]))
        low = min(reset, *(statistics.extremes[key][0] for key in pair))
        high = max(reset, *(statistics.extremes[key][1] for key in pair))
        for key in pair:
            statistics.samples[key], statistics.extremes[key] = joined, (low, high)
