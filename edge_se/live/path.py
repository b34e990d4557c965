"""From a device's samples to enhanced ones: one channel, the model's rate, whole hops, and back."""

import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_se.audio.resampling import SteadyResampler
from edge_se.chunks import converted
from edge_se.full_band import FullBand
from edge_se.live.drift import VaryingResampler
from edge_se.live.status import Meter

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer

BIN_US = 5  # width of a bin in which frame times are counted


class LivePath:
    """Enhances a stream at a device's rate and with its channels, all of which get the result.

    Attributes:
        enhancer: It serves this stream alone.
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
            enhancer: Ready for its first frame.
            rate: Of what comes in and goes out, in Hz.
            channels: Of what comes in and goes out.
            channel: Which of them to enhance, from 1 on; None for their mean.
            varying: Whether it can be played faster or slower.
            full_band: Whether what lies above the model's band comes out too.

        Raises:
            UserError: The rate is none that sound cards have.
        """
        self.enhancer = enhancer
        self._channel, self._rate, self._channels = channel, rate, channels
        model_rate = enhancer.sample_rate
        self._down = SteadyResampler(rate, model_rate)
        late_s = Fraction(enhancer.latency_samples, model_rate) + self._down.delay_s
        self._up = SteadyResampler(model_rate, rate, late_s)
        late_s += self._up.delay_s
        self.latency_s = float(late_s)
        self._full_band: FullBand | None = None
        if full_band and rate > model_rate:
            self._full_band = FullBand(
                enhancer.hop_size,
                model_rate,
                rate,
                enhancer.latency_samples,
                float(self._up.delay_s),
                round(late_s * rate),
            )
        self._varying = VaryingResampler() if varying else None
        if self._varying is not None:
            self.latency_s += self._varying.delay / rate
        self.heard, self.given = Meter(), Meter()
        self.times = FrameTimes(enhancer.hop_size, model_rate)
        self._rest: NDArray[Any] = np.empty(0, enhancer.sample_dtype)
        self._owed = 0.0  # seconds taken in and not given out
        self._spent_us = 0.0  # on a frame that is not complete

    def push(self, samples: NDArray[Any], speed: float = 1.0) -> NDArray[Any]:
        """Take in int16 or float32 [n, channels]; gives what is ready, [m, channels].

        Args:
            samples: The next ones.
            speed: How fast to play, of a path that is `varying`; 1 leaves samples as they are.
        """
        start = time.perf_counter()
        self._owed += len(samples) / self._rate
        heard = self._one_channel(samples)
        out, frames = self._through(heard)
        self._owed -= len(out) / self._rate
        if self._varying is not None:
            out = self._varying.push(out, speed)
        self.heard.add(heard)
        self.given.add(out)
        self._spent_us += 1e6 * (time.perf_counter() - start)
        if frames:
            self.times.count(self._spent_us / frames, frames)
            self._spent_us = 0.0
        return np.repeat(out[:, None], self._channels, axis=1)

    def finish(self) -> NDArray[Any]:
        """What is still inside, pushed out by silence: all that came in, later by the latency."""
        left = round((self._owed + self.latency_s) * self._rate)
        parts = [np.empty((0, self._channels), self._rest.dtype)]
        silence = np.zeros(self._rate // 50 + 1, self._rest.dtype)
        while sum(map(len, parts)) < left:
            out, _ = self._through(silence)
            if self._varying is not None:
                out = self._varying.push(out, 1.0)
            parts.append(np.repeat(out[:, None], self._channels, axis=1))
        return np.concatenate(parts)[:left]

    def _one_channel(self, samples: NDArray[Any]) -> NDArray[Any]:
        if samples.shape[1] == 1:
            return samples[:, 0]
        if self._channel is not None:
            return samples[:, self._channel - 1]
        return converted(samples, np.dtype(np.float32)).mean(axis=1)

    def _through(self, samples: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """One channel there and back, and how many frames that took."""
        heard = self._down.push(samples)
        enhanced, frames = self._enhance(heard)
        if self._full_band is None:
            return self._up.push(enhanced), frames
        changed = self._up.push(self._full_band.split(heard, enhanced))
        return self._full_band.join(changed, converted(samples, np.dtype(np.float32))), frames

    def _enhance(self, samples: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """Whole hops of what came, enhanced, in the dtype it came in, and how many they are."""
        hop, dtype = self.enhancer.hop_size, self.enhancer.sample_dtype
        waiting = np.concatenate([self._rest, converted(samples, dtype)])
        frames = len(waiting) // hop
        whole = waiting[: frames * hop].reshape(frames, hop)
        self._rest = waiting[frames * hop :]
        for frame in whole:
            self.enhancer.process(frame, frame)
        return converted(whole.reshape(-1), samples.dtype), frames


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
