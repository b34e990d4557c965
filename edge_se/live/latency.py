"""Latency of a pair of devices: what is played is recorded, by a cable or a loopback.

Bursts of noise go out in place of enhanced sound, hop by hop as it would. What was written as the
n-th sample comes in as a later one, by the time that sound takes through all but the network.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError
from edge_se.live.pcm import Pcm
from edge_se.live.stream import Settings, Sink, Source, Stream

BURSTS = 5
LEAD_S, EVERY_S, BURST_S = 1.0, 1.5, 0.4
LEVEL = 0.1  # -20 dBFS
HOP_S = 0.016
SILENCE = 1e-9  # power below which nothing is heard, -90 dBFS
# Correlation of a burst with what was recorded, of 1, below which it was not heard.
HEARD = 0.3


@dataclass(frozen=True)
class Latency:
    """How late sound is, in seconds.

    Attributes:
        median: Of all bursts that were heard.
        least: Of any.
        most: Of any.
    """

    median: float
    least: float
    most: float


class _DoneError(Exception):
    """All bursts have been played."""


class _Probe:
    """In place of an enhancer: remembers what comes in, and gives bursts."""

    latency_samples, sample_dtype = 0, np.dtype(np.float32)

    def __init__(self, rate: int) -> None:
        self.sample_rate, self.hop_size = rate, round(HOP_S * rate)
        self.manifest = SimpleNamespace(algorithmic_latency_ms=1e3 * HOP_S)
        self.played = np.zeros(round((LEAD_S + BURSTS * EVERY_S) * rate), np.float32)
        burst = np.random.default_rng(0).uniform(-1, 1, round(BURST_S * rate))
        self.burst: NDArray[Any] = (LEVEL * np.sign(burst)).astype(np.float32)
        self.starts = [round((LEAD_S + n * EVERY_S) * rate) for n in range(BURSTS)]
        for start in self.starts:
            self.played[start : start + len(self.burst)] = self.burst
        self.reset()

    def reset(self) -> None:
        self.recorded: list[NDArray[Any]] = []

    def process(self, frame: NDArray[Any], out: NDArray[Any]) -> None:
        position = len(self.recorded) * self.hop_size
        self.recorded.append(frame.copy())
        hop = self.played[position : position + self.hop_size]
        if len(hop) < self.hop_size:
            raise _DoneError
        out[...] = hop


def measure_latency(
    source: Source,
    sink: Sink,
    layout: Pcm,
    channel: int | None = None,
    max_lag: int | None = None,
    say: Callable[[str], object] = lambda text: None,
    frame_done: Callable[[], object] = lambda: None,
) -> Latency:
    """Measure how late what comes in would go out, if the network took no time; takes 9 s.

    Args:
        source: What is recorded.
        sink: What is played.
        layout: Of both.
        channel: To listen to, from 1 on; None for the mean of all.
        max_lag: Hops that may wait.
        say: Is told what was discarded.
        frame_done: Called whenever samples have gone out.

    Raises:
        UserError: Bursts were not heard.
    """
    probe = _Probe(layout.rate)
    settings = Settings(layout.rate, layout.channels, layout.format, channel, max_lag)
    stream = Stream(cast(Any, probe), source, sink, settings, say, frame_done)
    with contextlib.suppress(_DoneError):
        stream.pump()
    recorded = np.concatenate([np.zeros(0, np.float32), *probe.recorded])
    found = [_find(recorded[start:], probe.burst, layout.rate) for start in probe.starts]
    heard = [lag for lag in found if lag is not None]
    if len(heard) <= BURSTS // 2:
        raise UserError(
            f"{len(heard)} of {BURSTS} bursts of noise came back from the loudspeaker; connect it "
            "to the microphone by a cable or a loopback, and see to the levels of both"
        )
    return Latency(float(np.median(heard)), min(heard), max(heard))


def _find(recorded: NDArray[Any], burst: NDArray[Any], rate: int) -> float | None:
    """When a burst begins, in seconds; None where it is not heard before the next one."""
    recorded = recorded[: round(EVERY_S * rate)].astype(np.float64)
    count = len(recorded) - len(burst) + 1
    if count < 1:
        return None
    size = 1 << len(recorded).bit_length()
    spectrum = np.fft.rfft(recorded, size) * np.fft.rfft(burst, size).conj()
    products = np.fft.irfft(spectrum, size)[:count]
    energies = np.cumsum(np.concatenate([[0.0], recorded**2]))
    around = np.maximum(energies[len(burst) :] - energies[:count], SILENCE * len(burst))
    own = float(np.sum(burst.astype(np.float64) ** 2))
    likeness = np.abs(products) / np.sqrt(around * own)  # a cable may turn the sign
    best = int(np.argmax(likeness))
    return best / rate if likeness[best] > HEARD else None
