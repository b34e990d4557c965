"""Rushing noise: bands of white noise under envelopes that are recorded, changed, or made up.

Wind, water, rain and traffic are told apart by how loud each band is and how that moves (J. H.
McDermott and E. P. Simoncelli, "Sound texture perception via statistics of the auditory periphery",
Neuron, 2011). So a few recordings stand for many: their envelopes, moved along frequency, turned
around in time and with more or less contrast, carry white noise that was never heard before.
"""

import numpy as np
from scipy import fft

from quant.training.curves import stretched

BANDS = 24
_LOWEST_HZ = 100.0
_WINDOW, _HOP = 512, 256  # samples, whatever the rate: envelopes need no more


def like_recorded(recorded: np.ndarray, random: np.random.Generator, rate: int) -> np.ndarray:
    """White noise under the changed envelopes of a recording, float [n] both, at any level."""
    shares = _shares(rate)
    power = np.square(np.abs(_spectra(recorded))) @ (shares / shares.sum(axis=0))
    smoothed = _running_mean(power, int(np.exp(random.uniform(0, np.log(24)))))
    envelopes = np.log(smoothed + 1e-6 * smoothed.mean() + 1e-30) / 2
    # A band further up or down, by at most an octave.
    moved = (np.arange(BANDS) + random.uniform(-4, 4)).clip(0, BANDS - 1)
    envelopes = envelopes @ _triangles(moved).T
    if random.random() < 0.5:
        envelopes = envelopes[::-1]
    mean = envelopes.mean(axis=0)
    envelopes = mean + random.uniform(0.5, 1.5) * (envelopes - mean)
    return _rushing(envelopes, len(recorded), random, rate)


def made_up(length: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """White noise under made-up envelopes, float [length]: gusts, waves, rain, passing cars."""
    frames = length // _HOP + 1
    slope = random.uniform(-0.25, 0.02)
    steps = random.uniform(0, 0.4) * random.standard_normal(BANDS)
    colour = slope * np.arange(BANDS) + np.cumsum(steps - steps.mean())
    # What all bands do together, and what neighbours do.
    together = _movement(frames, 1, random, rate)
    apart = _movement(frames, int(random.integers(2, 9)), random, rate)
    apart = apart @ _triangles(np.linspace(0, apart.shape[1] - 1, BANDS), apart.shape[1]).T
    return _rushing(colour + together + random.uniform(0, 0.7) * apart, length, random, rate)


def _movement(frames: int, bands: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """Logarithms of gains that move at a drawn speed by a drawn depth, [frames, bands]."""
    seconds = frames * _HOP / rate
    points = 2 + int(seconds * np.exp(random.uniform(np.log(0.2), np.log(15))))
    depth = random.uniform(0, 1) ** 2 * 1.2
    moves = [stretched(random.standard_normal(points), frames) for _ in range(bands)]
    return depth * np.stack(moves, axis=1)


def _rushing(
    envelopes: np.ndarray, length: int, random: np.random.Generator, rate: int
) -> np.ndarray:
    """White noise with bands as loud as the logarithms of gains [frames, BANDS] say, [length]."""
    frames = length // _HOP + 1
    white = random.standard_normal((frames + 1) * _HOP, dtype=np.float32)
    spectra = _spectra(white)[:frames]
    gains = np.exp(envelopes - envelopes.max()).astype(np.float32)
    gains = gains @ _shares(rate).T
    parts = fft.irfft(spectra * gains[: len(spectra)], axis=1) * _half_sine()
    samples = np.zeros((len(parts) + 1, _HOP), np.float32)
    samples[:-1] += parts[:, :_HOP]
    samples[1:] += parts[:, _HOP:]
    return samples.reshape(-1)[:length]


def _spectra(samples: np.ndarray) -> np.ndarray:
    """Short-time spectra of samples padded to whole hops, complex [n // hop + 1, bins]."""
    hops = len(samples) // _HOP + 2
    padded = np.zeros(hops * _HOP, np.float32)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    return fft.rfft(frames * _half_sine(), axis=1)


def _half_sine() -> np.ndarray:
    return np.sin(np.pi * (np.arange(_WINDOW, dtype=np.float32) + 0.5) / _WINDOW)


def _shares(rate: int) -> np.ndarray:
    """Which share each bin has in each band, triangles on a logarithmic axis, [bins, BANDS]."""
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / rate).clip(_LOWEST_HZ)
    position = np.log(frequencies / _LOWEST_HZ) / np.log(rate / 2 / _LOWEST_HZ) * (BANDS - 1)
    return _triangles(position)


def _triangles(positions: np.ndarray, points: int = BANDS) -> np.ndarray:
    """Weights of points 0, 1, ... in straight lines through them, [positions, points]."""
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(points))).astype(np.float32)


def _running_mean(rows: np.ndarray, count: int) -> np.ndarray:
    """Means of `count` rows each, as many as there are rows."""
    count = min(count, len(rows))
    before = count // 2
    padded = np.pad(rows, ((before, count - 1 - before), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
    return (sums[count:] - sums[:-count]) / count
