"""From one sample rate to another by linear-phase filters: without delay, or live."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.audio.formats import INSTALL_HINT
from edge_se.errors import UserError
from edge_se.quantized import SAMPLE_STEP
from edge_se.stft import Samples


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


class SteadyResampler:
    """Resamples a live stream of one channel, whose samples come out as steadily as they go in.

    `Resampler` works in blocks of its own, so that 20 ms come out late and together; this one lags
    by a constant time.

    Attributes:
        delay_s: How much later samples come out, in seconds.
    """

    def __init__(self, rate: int, new_rate: int) -> None:
        """Rates in Hz; raises UserError if they differ and soxr is not installed."""
        self._stream: Any = None
        self.delay_s = 0.0
        if rate == new_rate:
            return
        soxr = _load_soxr(rate, new_rate)
        # What soxr has for rates that vary works sample by sample, also where they do not.
        self._stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", vr=True)
        # The filter is filled with silence, so that from now on as much comes out as goes in.
        silence = np.zeros(rate // 2, np.float32)
        given = len(self._stream.resample_chunk(silence))
        self.delay_s = len(silence) / rate - given / new_rate

    def push(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Take in int16 or float32 [n]; gives what is ready, float32 [m], or [n] as it is."""
        if self._stream is None:
            return samples
        if samples.dtype == np.int16:
            samples = samples * np.float32(SAMPLE_STEP)
        resampled: NDArray[Any] = self._stream.resample_chunk(samples)
        return resampled
