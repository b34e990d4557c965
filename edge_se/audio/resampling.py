"""From one sample rate to another by linear-phase filters: without delay, or live."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_se.audio.formats import INSTALL_HINT
from edge_se.errors import UserError
from edge_se.quantized import SAMPLE_STEP
from edge_se.stft import Samples

# Of live filters: reach in samples of the lower rate, and where they attenuate by 6 dB, of half of
# it. Flat up to 0.89 of half the rate, 80 dB down where it would fold.
HALF, CUTOFF = 48, 0.95
KAISER = 7.86
MOST_PHASES, FEW_PHASES = 2000, 8


def _load_soxr(rate: int, new_rate: int) -> Any:
    try:
        import soxr
    except ModuleNotFoundError:
        raise UserError(
            f"audio at {rate} Hz has to be resampled to {new_rate} Hz; to do so, {INSTALL_HINT}"
        ) from None
    return soxr


def resample(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Resample a signal [n]; the same array if rates match.

    Raises:
        UserError: The rates differ and soxr is not installed.
    """
    if rate == new_rate:
        return samples
    resampled: NDArray[np.float32] = _load_soxr(rate, new_rate).resample(samples, rate, new_rate)
    return resampled


class Resampler:
    """Resamples block by block; all blocks together are what `resample` gives."""

    def __init__(self, rate: int, new_rate: int, channels: int) -> None:
        """Rates in Hz; raises UserError if they differ and soxr is not installed."""
        self._channels = channels
        self._stream: Any = None
        if rate != new_rate:
            soxr = _load_soxr(rate, new_rate)
            self._stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32")

    def push(self, samples: Samples) -> Samples:
        """Take in float32 [n, channels]; gives what is ready, float32 [m, channels]."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def finish(self) -> Samples:
        """What is left, float32 [m, channels]."""
        nothing = np.empty((0, self._channels), np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


def windowed_sinc(distance: NDArray[Any], half: int, cutoff: float = 1.0) -> NDArray[np.float32]:
    """Low-pass kernels, one a row, each of which sums to one.

    Args:
        distance: From where the kernel's centre is to its taps, in samples, [n, 2 * half].
        half: How far the kernel reaches.
        cutoff: Where it attenuates by 6 dB, of half the rate.
    """
    window = np.i0(KAISER * np.sqrt(np.maximum(1 - (distance / half) ** 2, 0)))
    kernels = np.sinc(cutoff * distance) * window
    normalized: NDArray[Any] = kernels / kernels.sum(axis=1, keepdims=True)
    return normalized.astype(np.float32)


class SteadyResampler:
    """Resamples a live stream of one channel, whose samples come out as steadily as they go in.

    soxr works in blocks of its own or, for rates that vary, with filters of 14 ms each way; this
    lags by a constant 3 ms there and 3 ms back, and needs NumPy alone.

    Attributes:
        delay_s: How much later samples come out, in seconds.
    """

    def __init__(self, rate: int, new_rate: int, late_s: Fraction | None = None) -> None:
        """Be ready for the first sample.

        Args:
            rate: Of what comes in, in Hz.
            new_rate: Of what comes out; the ratio is one of whole numbers below `MOST_PHASES`.
            late_s: How late what comes in is already. It is delayed a bit further, so that what
                comes out is late by a whole number of samples; None to leave it at the filter.

        Raises:
            UserError: The ratio is none.
        """
        common = math.gcd(rate, new_rate)
        self._up, self._down = new_rate // common, rate // common
        if self._up > MOST_PHASES:
            raise UserError(
                f"live audio at {rate} Hz can't be resampled to {new_rate} Hz; use a rate that "
                "sound cards have, as 16000, 44100 or 48000"
            )
        ratio = max(rate / new_rate, 1.0)
        self._half = 0 if rate == new_rate else math.ceil(HALF * ratio)
        more = 0  # in the parts that `_time` counts
        if self._half and late_s is not None:
            more = math.floor(-(late_s * rate + self._half) * self._up % self._down)
        self.delay_s = Fraction(self._half, rate) + Fraction(more, rate * self._up)
        if rate == new_rate:
            return
        phases = np.arange(self._up)[:, None] / self._up
        distance = np.arange(1 - self._half, self._half + 1) - phases
        self._kernels = windowed_sinc(distance, self._half, CUTOFF / ratio)
        silence = -(-more // self._up)
        self._samples: NDArray[Any] = np.zeros(2 * self._half - 1 + silence, np.float32)
        # Of the next sample, in parts of `_up` of a sample, from the first that is kept.
        self._time = (self._half - 1 + silence) * self._up - more

    def push(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Take in int16 or float32 [n]; gives what is ready, float32 [m], or [n] as it is."""
        if not self._half:
            return samples
        if samples.dtype == np.int16:
            samples = samples * np.float32(SAMPLE_STEP)
        kept = np.concatenate([self._samples, samples])
        ready = (len(kept) - self._half) * self._up - self._time
        times = self._time + self._down * np.arange(max(-(-ready // self._down), 0))
        out = self._filtered(kept, *np.divmod(times, self._up))
        self._time += self._down * len(times)
        done = self._time // self._up - self._half + 1
        self._samples = kept[done:]
        self._time -= done * self._up
        return out

    def _filtered(
        self, kept: NDArray[Any], whole: NDArray[Any], phases: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Samples at times of whole samples and a phase."""
        out = np.empty(len(whole), np.float32)
        if not len(whole):
            return out
        around, first = sliding_window_view(kept, 2 * self._half), whole - self._half + 1
        if self._up > FEW_PHASES:
            np.einsum("nt,nt->n", around[first], self._kernels[phases], out=out)
            return out
        for start in range(min(self._up, len(whole))):  # every so many samples have one kernel
            part = out[start :: self._up]
            rows = around[first[start] :: self._down][: len(part)]
            part[...] = np.ascontiguousarray(rows) @ self._kernels[phases[start]]
        return out
