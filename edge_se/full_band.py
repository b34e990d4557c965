"""Sound above the network's band, which follows what the network does to the top of its own.

With x the input, d the input as the network hears it, e what the network makes of it and g the gain
at the top of its band, the output is up(e - g d) + g x. Where the network changes nothing that is x
itself, and where it attenuates everything alike it is x attenuated: there is no crossover that
could be uneven, and nothing that could comb. Above the network's band it is g x.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.stft import Samples

TOP = (0.75, 0.95)  # of half the network's rate: where it still hears well, and resampling is flat
SMOOTHING_S = 0.04
# Energy in the top of the band, relative to full scale, below which there is nothing to follow:
# -100 dBFS, less than the rounding of 16 bits.
NOTHING = 1e-10


class TopGain:
    """How much a network attenuates the top of its band, smoothed, hop by hop."""

    def __init__(self, hop: int, rate: int) -> None:
        """Of hops of so many samples, at the network's rate in Hz."""
        window = np.hanning(2 * hop + 1)[:-1]
        self._window = window.astype(np.float32)
        first, last = (round(share * hop) for share in TOP)
        self._bins = slice(first, last + 1)
        self._scale = 2 / (len(window) * float(np.sum(window**2)))
        self._kept = math.exp(-hop / rate / SMOOTHING_S)
        self._pairs = np.zeros((2, 2 * hop), np.float32)
        self._energies = np.zeros(2)
        self._hop = hop

    def next(self, heard: Samples, enhanced: Samples) -> float:
        """The gain at the end of the next hop (float32 [hop] each, aligned), from 0 to 1."""
        self._pairs[:, : self._hop] = self._pairs[:, self._hop :]
        self._pairs[0, self._hop :], self._pairs[1, self._hop :] = heard, enhanced
        spectra = np.fft.rfft(self._pairs * self._window)[:, self._bins]
        energies = self._scale * np.sum(spectra.real**2 + spectra.imag**2, axis=1)
        self._energies += (1 - self._kept) * (energies - self._energies)
        before, after = self._energies + NOTHING
        return min(math.sqrt(after / before), 1.0)


class FullBand:
    """Gives one channel of enhanced sound, at the network's rate, what lies above its band.

    Samples at the network's rate go through `split` and, resampled, through `join`.
    """

    def __init__(self, hop: int, model_rate: int, rate: int) -> None:
        """Start a signal.

        Args:
            hop: Samples of a frame.
            model_rate: Of the network, in Hz.
            rate: Of the input and output, which is higher.
        """
        self._gain = TopGain(hop, model_rate)
        self._hop, self._per_sample = hop, model_rate / rate
        # What came and is still to be split, and to be joined.
        self._heard: Samples = np.empty(0, np.float32)
        self._enhanced: Samples = np.empty(0, np.float32)
        self._input: Samples = np.empty(0, np.float32)
        # Gains at times, in the network's samples, with straight lines between.
        self._times: list[float] = []
        self._gains: list[float] = []
        self._split = self._joined = 0

    def split(self, heard: Samples, enhanced: Samples) -> Samples:
        """Take out what `join` puts in.

        Args:
            heard: float32 [n], the next ones.
            enhanced: float32 [m], the next ones, aligned with what is heard.

        Returns:
            float32 [k], to be resampled; whole hops of `enhanced`.
        """
        self._heard = np.concatenate([self._heard, heard])
        self._enhanced = np.concatenate([self._enhanced, enhanced])
        count = min(len(self._enhanced), len(self._heard)) // self._hop
        parts = [self._split_hop() for _ in range(count)]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def join(self, samples: NDArray[Any], original: NDArray[Any]) -> Samples:
        """Put in what was taken out, and what lies above the band.

        Args:
            samples: float32 [n], the next ones of what `split` gave, resampled.
            original: float32 [m], the next ones of the input, aligned with it.

        Returns:
            float32 [n].
        """
        self._input = np.concatenate([self._input, original])
        count = len(samples)
        times = (self._joined + np.arange(count)) * self._per_sample
        gains = np.interp(times, self._times or [0.0], self._gains or [1.0]).astype(np.float32)
        joined: Samples = samples + gains * self._input[:count]
        self._input = self._input[count:]
        self._joined += count
        while count and len(self._times) > 1 and self._times[1] < times[-1]:
            del self._times[0], self._gains[0]
        return joined

    def _split_hop(self) -> Samples:
        hop = self._hop
        heard, self._heard = self._heard[:hop], self._heard[hop:]
        enhanced, self._enhanced = self._enhanced[:hop], self._enhanced[hop:]
        gain = self._gain.next(heard, enhanced)
        before = self._gains[-1] if self._gains else gain
        self._split += hop
        self._times.append(float(self._split))
        self._gains.append(gain)
        line = before + (gain - before) * np.arange(hop, dtype=np.float32) / hop
        return enhanced - line.astype(np.float32) * heard
