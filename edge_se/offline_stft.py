"""Short-time Fourier transform of long recordings, block by block: centred frames, any hop.

As upstream's separators have it through librosa: a periodic Hann window, frame t centred on sample
t * hop, zeros around the recording; the inverse divides the overlapping frames by the sum of their
squared windows. Memory depends on the blocks, not on the recording.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_se.signal import Signal
from edge_se.stft import Samples, Spectrum

# Loudness is divided out of a recording, whatever it is, as long as sums of a window are finite.
SAMPLE_LIMIT = np.float32(1e30)


class Analysis:
    """Samples to spectra; the recording is continued with zeros to a whole number of hops."""

    def __init__(self, signal: Signal, channels: int) -> None:
        """Transform as a signal says; the window is at least two hops."""
        n_fft, hop = signal.window, signal.hop
        self._n_fft, self._hop = n_fft, hop
        self._window = signal.analysis_window().astype(np.float32)
        self._pending = np.zeros((n_fft // 2, channels), np.float32)
        self._samples = 0

    def push(self, samples: Samples) -> Spectrum:
        """Take in float32 [n, channels]; gives the frames that they complete.

        Returns:
            complex64 [frames, n_fft / 2 + 1, channels].
        """
        self._samples += len(samples)
        limited = np.clip(samples, -SAMPLE_LIMIT, SAMPLE_LIMIT)
        self._pending = np.concatenate([self._pending, limited])
        count = max((len(self._pending) - self._n_fft) // self._hop + 1, 0)
        if not count:
            bins, channels = self._n_fft // 2 + 1, self._pending.shape[1]
            return np.empty((0, bins, channels), np.complex64)
        frames = sliding_window_view(self._pending, self._n_fft, axis=0)[:: self._hop]
        spectra = np.fft.rfft(frames * self._window).astype(np.complex64, copy=False)
        self._pending = self._pending[count * self._hop :]
        return np.ascontiguousarray(spectra.transpose(0, 2, 1))

    def finish(self) -> Spectrum:
        """The last frames; 1 + ceil(samples / hop) in all."""
        missing = -self._samples % self._hop + self._n_fft // 2
        return self.push(np.zeros((missing, self._pending.shape[1]), np.float32))


class Synthesis:
    """Spectra back to samples, from the first sample of the recording on."""

    def __init__(self, signal: Signal, channels: int) -> None:
        """As of `Analysis`."""
        n_fft, hop = signal.window, signal.hop
        self._n_fft, self._hop = n_fft, hop
        self._window = signal.analysis_window().astype(np.float32)
        self._sum: NDArray[Any] = np.zeros((n_fft - hop, channels), np.float32)
        self._weight: NDArray[Any] = np.zeros(n_fft - hop, np.float32)
        self._to_drop = n_fft // 2

    def push(self, spectra: Spectrum) -> Samples:
        """Take in complex64 [frames, n_fft / 2 + 1, channels]; gives the samples they complete.

        Returns:
            float32 [n, channels].
        """
        frames = np.fft.irfft(spectra, self._n_fft, axis=1).astype(np.float32, copy=False)
        frames *= self._window[:, None]
        kept, squared = self._n_fft - self._hop, self._window**2
        total = np.zeros((len(frames) * self._hop + kept, frames.shape[2]), np.float32)
        weight = np.zeros(len(total), np.float32)
        total[:kept], weight[:kept] = self._sum, self._weight
        for start, frame in zip(range(0, len(total), self._hop), frames, strict=False):
            total[start : start + self._n_fft] += frame
            weight[start : start + self._n_fft] += squared
        done = len(frames) * self._hop
        self._sum, self._weight = total[done:], weight[done:]
        dropped = min(self._to_drop, done)
        self._to_drop -= dropped
        # Only what is dropped lies where no window reaches.
        return total[dropped:done] / weight[dropped:done, None]

    def finish(self) -> Samples:
        """What is left up to the last frame's centre."""
        rest = slice(self._to_drop, max(self._n_fft // 2 - self._hop, self._to_drop))
        return self._sum[rest] / self._weight[rest, None]
