"""From a device's samples to enhanced ones: one channel, the model's rate, whole hops, and back."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_se.chunks import AlignedStream, converted
from edge_se.live.drift import VaryingResampler
from edge_se.live.status import Meter

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer

BIN_US = 5  # width of a bin in which frame times are counted


class LivePath:
    """Enhances a stream at a device's rate and with its channels, all of which get the result.

    Attributes:
        latency_s: How far enhanced sound lags: the model's latency and the resamplers' filters,
            without the waiting for a hop.
        times: Of the frames so far.
        heard: Level of what is enhanced.
        given: Level of what comes out.
    """

    def __init__(
        self,
        enhancer: "Enhancer",
        rate: int,
        channels: int,
        channel: int | None = None,
        varying: bool = False,
        full_band: bool = True,
    ) -> None:
        """Start a stream.

        Args:
            enhancer: It serves this stream alone; what it has heard before is forgotten.
            rate: Of what comes in and goes out, in Hz.
            channels: Of what comes in and goes out.
            channel: Which of them to enhance, from 1 on; None for their mean.
            varying: Whether it can be played faster or slower.
            full_band: Whether what lies above the model's band comes out too.
        """
        self._channel, self._channels = channel, channels
        self._frames = 0
        self._stream = AlignedStream(enhancer, rate, full_band, self._count_frame)
        self._silence = self._stream.latency  # samples that are still to come out first
        self.latency_s = self._silence / rate
        self._varying = VaryingResampler() if varying else None
        if self._varying is not None:
            self.latency_s += self._varying.delay / rate
        self.heard, self.given = Meter(), Meter()
        self.times = FrameTimes(enhancer.hop_size, enhancer.sample_rate)
        self._spent_us = 0.0  # on a frame that is not complete

    @property
    def needed(self) -> int:
        """How many samples make the next hop full."""
        return self._stream.needed

    def push(self, samples: NDArray[Any], speed: float = 1.0) -> NDArray[Any]:
        """Take in int16 or float32 [n, channels]; gives what is ready, [m, channels].

        Args:
            samples: The next ones.
            speed: How fast to play, of a path that is `varying`; 1 leaves samples as they are.
        """
        start = time.perf_counter()
        heard, self._frames = self._one_channel(samples), 0
        out = self._after_silence(self._stream.push(heard), len(heard))
        if self._varying is not None:
            out = self._varying.push(out, speed)
        self.heard.add(heard)
        self.given.add(out)
        self._spent_us += 1e6 * (time.perf_counter() - start)
        if self._frames:
            self.times.count(self._spent_us / self._frames, self._frames)
            self._spent_us = 0.0
        return self._all_channels(out)

    def finish(self) -> NDArray[Any]:
        """What is still inside, pushed out by silence: all that came in, later by the latency."""
        out = self._after_silence(self._stream.finish(), self._silence)
        if self._varying is not None:
            after = np.zeros(self._varying.delay, out.dtype)
            out = self._varying.push(np.concatenate([out, after]), 1.0)
        return self._all_channels(out)

    def _after_silence(self, samples: NDArray[Any], count: int) -> NDArray[Any]:
        """Put up to so many samples of what is left of the latency before what comes out."""
        count = min(count, self._silence)
        self._silence -= count
        return np.concatenate([np.zeros(count, samples.dtype), samples])

    def _count_frame(self) -> None:
        self._frames += 1

    def _one_channel(self, samples: NDArray[Any]) -> NDArray[Any]:
        if samples.shape[1] == 1:
            return samples[:, 0]
        if self._channel is not None:
            return samples[:, self._channel - 1]
        return converted(samples, np.dtype(np.float32)).mean(axis=1)

    def _all_channels(self, samples: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(samples[:, None], self._channels, axis=1)


class FrameTimes:
    """How long frames take, counted in bins, so that a stream may run for months.

    The time of a frame is that of its processing, resampling included, and not of waiting for
    samples or for whoever takes them. It misses its deadline when that is more than a hop.
    """

    def __init__(self, hop: int, rate: int) -> None:
        """Count frames of so many samples at a rate in Hz."""
        self._hop_us = 1e6 * hop / rate
        self._bins = np.zeros(round(4 * self._hop_us / BIN_US) + 1, np.int64)
        self.frames = self.misses = 0
        self._total_us = self._max_us = 0.0

    @property
    def seconds(self) -> float:
        """Of audio."""
        return self.frames * self._hop_us * 1e-6

    def count(self, elapsed_us: float, frames: int) -> None:
        """Take note of so many frames that took so long each."""
        self.frames += frames
        self._total_us += elapsed_us * frames
        self._max_us = max(self._max_us, elapsed_us)
        self.misses += frames * (elapsed_us > self._hop_us)
        self._bins[min(int(elapsed_us / BIN_US), len(self._bins) - 1)] += frames

    def summary(self) -> dict[str, Any]:
        """What was counted so far, ready for JSON; percentiles are upper ends of bins."""
        percentiles = {}
        if self.frames:
            reached = self._bins.cumsum()
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                bin_index = int(reached.searchsorted(share * self.frames))
                percentiles[name] = round(min((bin_index + 1) * BIN_US, self._max_us), 1)
            percentiles["max"] = round(self._max_us, 1)
        return {
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "frame_us": percentiles,
            "rtf": round(self._total_us * 1e-6 / self.seconds, 6) if self.frames else None,
            "deadline_misses": self.misses,
        }
