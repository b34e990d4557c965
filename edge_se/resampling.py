"""From one sample rate to another by linear-phase filters, block by block, without delay.

The plugin's targets/c/plugin/resampler.h has the same filters. Both sum in float64, so that the
order of their sums shows in no float32 sample: a network of 8 bits goes another way for a last bit.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_se.stft import Samples

# Of a filter: reach in samples of the lower rate, and where it attenuates by 6 dB, of half of it.
# Flat up to 0.89 of half the rate, 80 dB down where it would fold.
HALF, CUTOFF = 48, 0.95
KAISER = 7.86
# Where a period's filters are more numbers, they are interpolated, with errors below -120 dB, from
# those at so many places in a sample of the lower rate.
MOST_NUMBERS, PLACES = 1 << 22, 1024
AT_ONCE = 1 << 20  # numbers that are gathered, and multiplied, before the next: memory is bounded,
FEW_AT_ONCE = 1 << 16  # and for this many the system need not find new pages each time
# Multiplications of a product of matrices that OpenBLAS does without other threads, for which it
# would wait where the cores have other work; of a row and a matrix it takes far fewer.
ALONE, ROWS = 1 << 18, 2


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """Resample a signal, float32 [n], aligned with it; the same array if the rates match."""
    if rate == new_rate:
        return samples
    resampler = Resampler(rate, new_rate)
    return np.concatenate([resampler.push(samples[:, None]), resampler.finish()])[:, 0]


class Resampler:
    """Resamples block by block: all that comes out is aligned with all that goes in.

    Attributes:
        half: How many samples beyond its own time a sample of the output depends on.
    """

    def __init__(self, rate: int, new_rate: int, channels: int = 1) -> None:
        """Be ready for the first sample; any rates, in whole Hz.

        Raises:
            ValueError: A rate is none.
        """
        for each in (rate, new_rate):
            if not isinstance(each, int | np.integer) or each < 1:
                raise ValueError(f"a sample rate is a whole number of Hz above 0, not {each!r}")
        self.half = 0 if rate == new_rate else math.ceil(HALF * max(rate / new_rate, 1.0))
        # A period: so many samples of the output last as long as so many of the input. One that is
        # shorter than a filter is taken several times.
        common = math.gcd(rate, new_rate)
        times = max(round(2 * self.half * common / rate), 1)
        self._up, self._down = times * new_rate // common, times * rate // common
        # Computed here, since no hop of live sound can wait for that.
        self._parts = _filters(self._up, self._down, self.half) if self.half else []
        interpolated = self.half and not self._parts
        self._table = _table(self._up, self._down, self.half) if interpolated else None
        # From the first one on that the period's first sample depends on.
        self._kept: Samples = np.zeros((max(self.half - 1, 0), channels), np.float32)
        self._done = 0  # samples of the period that have come out

    def push(self, samples: Samples) -> Samples:
        """Take in float32 [n, channels]; gives what is ready, float32 [m, channels]."""
        if not self.half:
            return samples
        kept = np.concatenate([self._kept, samples])
        known = len(kept) - 2 * self.half + 1
        ready = max(-(-known * self._up // self._down), self._done)
        out = np.empty((ready - self._done, kept.shape[1]), np.float32)
        count = max(AT_ONCE // (2 * self.half * kept.shape[1]), 1)
        for start in range(0, len(out), count):
            part = out[start : start + count]
            part[...] = self._filtered(kept, self._done + start, len(part))
        periods, self._done = divmod(ready, self._up)
        self._kept = kept[periods * self._down :]
        return out

    def finish(self) -> Samples:
        """What is left, float32 [m, channels]; silence follows."""
        return self.push(np.zeros((self.half, self._kept.shape[1]), np.float32))

    def needed(self, count: int) -> int:
        """How many samples have to go in until `count`, 1 or more, come out."""
        last = (self._done + count - 1) * self._down // self._up
        return last + max(2 * self.half, 1) - len(self._kept)

    def _filtered(self, kept: Samples, first: int, count: int) -> Samples:
        """So many samples of the output, from one on that is counted from the period's first."""
        if self._table is not None:
            whole, rest = np.divmod(np.arange(first, first + count) * self._down, self._up)
            return self._table.filtered(kept, whole, rest / self._up)
        inputs, at_once = self._parts[0].shape[1], max(ALONE // self._parts[0].size, ROWS)
        start, early = divmod(first, self._up)
        rows = -(-(early + count) // (self._up * at_once)) * at_once
        needed = kept[start * self._down :][: (rows - 1) * self._down + inputs]
        missing = (rows - 1) * self._down + inputs - len(needed)
        padded = np.concatenate([needed, np.zeros((missing, kept.shape[1]))])
        windows = sliding_window_view(padded, inputs, axis=0)[:: self._down]
        stack = windows.reshape(-1, at_once, inputs)  # of [rows, channels, inputs]
        product = np.concatenate([stack @ filters.T for filters in self._parts], axis=2)
        in_turn = product.reshape(rows, -1, self._up).swapaxes(1, 2).reshape(rows * self._up, -1)
        return in_turn[early : early + count]


class KernelTable:
    """Kernels around any time, interpolated between those at some places in a sample."""

    def __init__(self, half: int, cutoff: float = 1.0) -> None:
        """As `windowed_sinc`."""
        places = math.ceil(PLACES * cutoff)
        distance = np.arange(1 - half, half + 1) - np.arange(places + 1)[:, None] / places
        self._kernels = windowed_sinc(distance, half, cutoff)
        self._steps = np.diff(self._kernels, axis=0)

    def filtered(self, samples: Samples, whole: NDArray[Any], fractions: NDArray[Any]) -> Samples:
        """Samples at times, float32 [m, channels], of float32 [n, channels].

        Args:
            samples: Equally far apart.
            whole: Integers [m], the first of the samples that the kernel reaches.
            fractions: [m], how far its centre lies beyond a sample, from 0 to below 1.
        """
        out = np.empty((len(whole), samples.shape[1]), np.float32)
        around = sliding_window_view(samples, self._kernels.shape[1], axis=0)
        count = max(FEW_AT_ONCE // self._kernels.shape[1], 1)
        for part in (slice(start, start + count) for start in range(0, len(out), count)):
            places = fractions[part] * len(self._steps)
            rows = places.astype(np.intp)
            between = (places - rows).astype(np.float32)[:, None]
            kernels = self._kernels[rows] + between * self._steps[rows]
            np.einsum("nct,nt->nc", around[whole[part]], kernels, out=out[part])
        return out


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


@lru_cache(maxsize=4)
def _filters(up: int, down: int, half: int) -> list[NDArray[np.float64]]:
    """A period's filters, [up, inputs], in parts; none where they are more than `MOST_NUMBERS`."""
    whole, rest = np.divmod(np.arange(up) * down, up)
    shape = up, int(whole[-1]) + 2 * half
    if math.prod(shape) > MOST_NUMBERS:
        return []
    distance = np.arange(1 - half, half + 1) - rest[:, None] / up
    kernels = windowed_sinc(distance, half, CUTOFF * min(up / down, 1.0))
    filters = np.zeros(shape)
    np.put_along_axis(filters, whole[:, None] + np.arange(2 * half), kernels, axis=1)
    most = ALONE // (ROWS * shape[1])
    return [filters[start : start + most] for start in range(0, up, most)]


@lru_cache(maxsize=4)
def _table(up: int, down: int, half: int) -> KernelTable:
    return KernelTable(half, CUTOFF * min(up / down, 1.0))
