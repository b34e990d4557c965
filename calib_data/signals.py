"""Building blocks that the synthesized speech and noises share. Samples are float64 [n], 16 kHz."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

Samples = NDArray[np.float64]

SAMPLE_RATE = 16_000


def rms(samples: Samples) -> float:
    """Root-mean-square of `samples`."""
    return float(np.sqrt(np.mean(np.square(samples))))


def count(seconds: float) -> int:
    """Number of samples in `seconds`."""
    return round(seconds * SAMPLE_RATE)


def shape_spectrum(samples: Samples, gain_db: Callable[[Samples], Samples]) -> Samples:
    """`samples` filtered by `gain_db`, a function of frequency in Hz (from 20 Hz up)."""
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    frequency = np.maximum(np.fft.rfftfreq(2 * len(samples), 1 / SAMPLE_RATE), 20.0)
    return np.fft.irfft(spectrum * 10 ** (gain_db(frequency) / 20))[: len(samples)]


def coloured_noise(
    rng: np.random.Generator,
    length: int,
    slope_db: float = 0.0,
    low_hz: float = 20.0,
    high_hz: float = 8000.0,
) -> Samples:
    """Gaussian noise [length], level 1, falling by `slope_db` per octave between two corners.

    Outside the corners it falls by a further 24 dB per octave.
    """

    def gain_db(frequency: Samples) -> Samples:
        below = np.maximum(np.log2(low_hz / frequency), 0)
        above = np.maximum(np.log2(frequency / high_hz), 0)
        return -slope_db * np.log2(frequency / 1000) - 24 * (below + above)

    noise = shape_spectrum(rng.standard_normal(length), gain_db)
    return noise / rms(noise)


def drifting(rng: np.random.Generator, length: int, points_per_s: float) -> Samples:
    """A smooth random curve [length] of about unit standard deviation."""
    points = max(4, round(points_per_s * length / SAMPLE_RATE) + 2)
    curve = CubicSpline(np.linspace(0, length, points), rng.standard_normal(points))
    return curve(np.arange(length))


def drifting_gain(
    rng: np.random.Generator, length: int, points_per_s: float, depth_db: float
) -> Samples:
    """A smooth random gain [length] with a standard deviation of about `depth_db`."""
    return 10 ** (depth_db * drifting(rng, length, points_per_s) / 20)


def tone(frequency_hz: ArrayLike, length: int, amplitudes: ArrayLike) -> Samples:
    """Harmonics 1, 2, 3 ... of a (gliding) frequency with the given amplitudes, below 7.8 kHz."""
    frequency = np.broadcast_to(np.asarray(frequency_hz, dtype=np.float64), (length,))
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    samples = np.zeros(length)
    for harmonic, amplitude in enumerate(np.asarray(amplitudes), start=1):
        samples += amplitude * np.where(harmonic * frequency < 7800, np.sin(harmonic * phase), 0)
    return samples


def ring(
    frequencies_hz: Samples, decays_s: Samples, amplitudes: Samples, seconds: float
) -> Samples:
    """What a struck body does: decaying resonances, `decays_s` being their time constants."""
    time = np.arange(count(seconds))[:, None] / SAMPLE_RATE
    partials = np.sin(2 * np.pi * frequencies_hz * time) * np.exp(-time / decays_s)
    return partials @ np.asarray(amplitudes, dtype=np.float64)


def add_at(samples: Samples, start: int, event: Samples) -> None:
    """Adds `event` into `samples` from `start` on, in place; what hangs over is dropped."""
    fits = min(len(event), max(0, len(samples) - start))
    samples[start : start + fits] += event[:fits]


def event_starts(rng: np.random.Generator, length: int, per_s: float) -> list[int]:
    """Random (Poisson) starts of events, `per_s` on average; at least two."""
    number = max(2, int(rng.poisson(per_s * length / SAMPLE_RATE)))
    return sorted(int(start) for start in rng.integers(0, length, number))
