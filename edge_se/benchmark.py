"""Measuring the frame loop: time per frame, real-time factor, deadlines, memory.

Frames are timed over the whole loop, from new samples in to enhanced samples out, with nothing in
between; stages are timed in a pass of their own, so that their timers disturb nobody.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_se.enhancer import Enhancer
from edge_se.machine import (
    describe_machine,
    peak_resident_mb,
    resident_mb,
    seconds_since_start,
    temperature,
)
from edge_se.quantized import SAMPLE_STEP, quantize

Frames = NDArray[Any]  # float32, or int16 for an engine that takes them
Times = NDArray[np.int64]

PERCENTILES = {"p5": 5, "p50": 50, "p95": 95, "p99": 99, "max": 100}
STAGES = ("analysis", "model", "synthesis")
# Frames that let clock, caches and branch predictors settle before any is counted.
WARM_UP_FRAMES = 200


@dataclass(frozen=True)
class Loaded:
    """An enhancer and what loading it took.

    Attributes:
        enhancer: Ready for its first frame.
        load_s: Seconds for reading the model, building the engine and warming it up.
        start_s: Seconds from the start of the process to the first enhanced frame.
        resident_mb: Memory before loading.
    """

    enhancer: Enhancer
    load_s: float
    start_s: float | None
    resident_mb: float | None


def load(
    model: Path | None,
    engine: str | None = None,
    runtime: str | None = None,
    stft: str | None = None,
) -> Loaded:
    """Load a model as `Enhancer` does, and time it; raises UserError as `Enhancer`."""
    before = resident_mb()
    start = time.perf_counter()
    enhancer = Enhancer(model, engine, runtime, stft)
    load_s = time.perf_counter() - start
    enhancer.process(np.zeros(enhancer.hop_size, enhancer.sample_dtype))
    enhancer.reset()
    return Loaded(enhancer, round(load_s, 4), seconds_since_start(), before)


def bursts(rate: int) -> NDArray[np.float32]:
    """Two seconds of noise at -26 dBFS, 0.2 s on and 0.2 s off; always the same. Float32 [n]."""
    # The standard library's generator: importing NumPy's would add 6 MB to the peak memory.
    noise = np.frombuffer(random.Random(0).randbytes(2 * 2 * rate), np.int16)
    signal = noise * np.float32(0.05 * 3**0.5 / 2**15)
    signal.reshape(10, -1)[1::2] = 0
    return signal


def frames_of(samples: NDArray[np.float32], hop: int, dtype: DTypeLike = np.float32) -> Frames:
    """A signal [n] as frames [count, hop] of float32 or int16, the last one filled with zeros."""
    frames = np.zeros((-(-len(samples) // hop), hop), np.float32)
    frames.ravel()[: len(samples)] = samples
    if np.dtype(dtype) == np.float32:
        return frames
    return quantize(frames, SAMPLE_STEP, 0, dtype)


def repeat(frames: Frames, count: int) -> Iterator[NDArray[Any]]:
    """`count` frames ([hop]), from the first again after the last."""
    return (frames[index % len(frames)] for index in range(count))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Clear garbage, and hide what is alive from the collector, as a careful application does.

    The collector stays on: a frame loop that left garbage behind would show it.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def time_frames(process: Callable[[Any, Any], object], frames: Frames, count: int) -> Times:
    """Nanoseconds that `process(frame, out)` takes for each of `count` frames: int64 [count]."""
    times = np.empty(count, np.int64)
    out = np.empty(frames.shape[1], frames.dtype)
    clock = time.perf_counter_ns
    with undisturbed():
        for index, frame in enumerate(repeat(frames, count)):
            start = clock()
            process(frame, out)
            times[index] = clock() - start
    return times


def time_stages(enhancer: Enhancer, frames: Frames, count: int) -> Times:
    """Nanoseconds that each of `STAGES` takes for each frame: int64 [count, 3]."""
    marks = np.empty((count, len(STAGES) + 1), np.int64)
    out = np.empty(frames.shape[1], frames.dtype)
    analyse, infer = enhancer.engine.analyse, enhancer.engine.infer
    synthesise, clock = enhancer.engine.synthesise, time.perf_counter_ns
    with undisturbed():
        for index, frame in enumerate(repeat(frames, count)):
            start = clock()
            analyse(frame)
            analysed = clock()
            infer()
            inferred = clock()
            synthesise(out)
            marks[index] = start, analysed, inferred, clock()
    return np.diff(marks)


@dataclass(frozen=True)
class Pacing:
    """Frames processed as they would come from a microphone.

    Attributes:
        times: Nanoseconds for each frame, int64 [count].
        wake_ups: Nanoseconds from the moment a frame was complete to the start of its processing.
        misses: Frames that were not done when the next one was complete.
    """

    times: Times
    wake_ups: Times
    misses: int


def pace_frames(
    process: Callable[[Any, Any], object], frames: Frames, count: int, hop_s: float
) -> Pacing:
    """Process each of `count` frames when its last sample would have been recorded."""
    times, wake_ups = (np.empty(count, np.int64) for _ in range(2))
    out = np.empty(frames.shape[1], frames.dtype)
    clock, hop_ns = time.perf_counter_ns, round(hop_s * 1e9)
    misses = 0
    with undisturbed():
        due = clock()
        for index, frame in enumerate(repeat(frames, count)):
            due += hop_ns
            waiting = due - clock()
            if waiting > 0:
                time.sleep(waiting * 1e-9)
            start = clock()
            process(frame, out)
            end = clock()
            times[index], wake_ups[index] = end - start, start - due
            misses += end > due + hop_ns
    return Pacing(times, wake_ups, misses)


def distribution(times: Times) -> dict[str, float]:
    """Percentiles of times in nanoseconds, as microseconds."""
    values = np.percentile(times, list(PERCENTILES.values())) / 1000
    return {name: round(float(value), 1) for name, value in zip(PERCENTILES, values, strict=True)}


@dataclass(frozen=True)
class Measurement:
    """A benchmark's report, ready for JSON, and the frame times (ns) behind it."""

    report: dict[str, Any]
    times: Times


def measure(loaded: Loaded, frames: Frames, count: int, paced: bool = False) -> Measurement:
    """Run the benchmark.

    Args:
        loaded: From `load`.
        frames: [any, hop] of the enhancer's sample dtype, at least one; repeated as often as
            needed.
        count: How many frames to time.
        paced: Take the frame times at real time, one frame per hop, instead of back to back.

    Returns:
        The report: `rtf` (processing time over audio time) and `frame_us` (percentiles) of the
        whole loop, `stage_us` (medians), `frames`, `hop_ms`, `latency_ms` (algorithmic),
        `deadline_misses`, `load_s`, `start_s` (process start to first frame), `peak_rss_mb`,
        `rss_before_load_mb`, `threads`, `versions`, `machine`, `model`, and when paced
        `wake_up_us` (lateness of wake-ups).
    """
    enhancer, manifest = loaded.enhancer, loaded.enhancer.manifest
    hop_s = manifest.signal.hop_seconds
    temperature_before = temperature()
    time_frames(enhancer.process, frames, WARM_UP_FRAMES)
    enhancer.reset()
    pacing: Pacing | None = None
    if paced:
        pacing = pace_frames(enhancer.process, frames, count, hop_s)
        times, misses = pacing.times, pacing.misses
    else:
        times = time_frames(enhancer.process, frames, count)
        misses = int(np.count_nonzero(times > hop_s * 1e9))
    enhancer.reset()
    peak_mb = peak_resident_mb()
    from importlib.metadata import version  # after the peak was read: it takes 4 MB

    stages = np.median(time_stages(enhancer, frames, count), axis=0) / 1000
    enhancer.reset()
    model = enhancer.describe()
    report = {
        "rtf": round(float(times.sum()) * 1e-9 / (count * hop_s), 6),
        "frame_us": distribution(times),
        "stage_us": {
            stage: round(float(value), 1) for stage, value in zip(STAGES, stages, strict=True)
        },
        "frames": count,
        "hop_ms": round(1000 * hop_s, 3),
        "latency_ms": round(manifest.algorithmic_latency_ms, 3),
        "deadline_misses": misses,
        "load_s": loaded.load_s,
        "start_s": loaded.start_s,
        "peak_rss_mb": peak_mb,
        "rss_before_load_mb": loaded.resident_mb,
        "threads": model["threads"],
        "versions": {
            "edge-se": version("edge-se"),
            "numpy": np.__version__,
            model["runtime"]: model["runtime_version"],
        },
        "machine": {**describe_machine(), "temperature_before_c": temperature_before},
        "model": model,
    }
    if pacing is not None:
        report["wake_up_us"] = distribution(pacing.wake_ups)
    return Measurement(report, times)
