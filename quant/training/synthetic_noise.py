"""Noises made up: coloured noise, rushing, machines, clatter and tones.

Recorded noise is mostly weather, water and animals; rooms are full of engines, dishes, keys and
alarms. Everything random comes from one `numpy.random.Generator`.
"""

import numpy as np
from scipy import fft

from quant.audio.mixing import rms
from quant.training.curves import stretched
from quant.training.rushing import made_up

_TABLE = 4096  # samples of one period of a waveform


def synthetic_noise(length: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """Make up one of the five kinds, float [length] at `rate` Hz, at any level."""
    make = (coloured_noise, made_up, machine, clatter, tones)[int(random.integers(5))]
    return make(length, random, rate)


def coloured_noise(length: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """White to brown noise, its loudness slowly moving in half of the cases."""
    frequencies = np.arange(1, length // 2 + 2, dtype=np.float32)
    gains = frequencies ** np.float32(-random.uniform(0, 1))
    white = random.standard_normal(length, dtype=np.float32)
    samples = fft.irfft(fft.rfft(white) * gains, length)
    if random.random() < 0.5:
        samples = samples * stretched(random.uniform(0.2, 1, int(random.integers(3, 12))), length)
    return samples


def machine(length: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """A motor: harmonics of a wandering pitch, throbbing, and the rush around it."""
    pitch = np.exp(random.uniform(np.log(25), np.log(400)))
    wander = stretched(random.uniform(0.95, 1.05, int(random.integers(2, 8))), length)
    hum = _waveform(pitch * wander, random.uniform(0.2, 1.5), random, rate)
    beat, depth = random.uniform(0.5, 20), random.uniform(0, 0.8)
    throb = 1 + depth * np.sin(2 * np.pi * beat * np.arange(length) / rate)
    rush = coloured_noise(length, random, rate)
    return throb * (_unit(hum) + 10 ** random.uniform(-1, 0.3) * _unit(rush))


def clatter(length: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """A few things that ring when they are hit, at random times: dishes, keys, steps, tools."""
    samples = np.zeros(length + rate // 2)
    for _ in range(int(random.integers(1, 4))):
        ringing = _ringing(random, rate)
        count = 1 + random.poisson(random.uniform(0.5, 8) * length / rate)
        for start in random.integers(length, size=count):
            samples[start : start + len(ringing)] += ringing * np.exp(random.standard_normal())
    quiet = 10 ** random.uniform(-2.5, -1) * coloured_noise(length, random, rate)
    return _unit(samples[:length]) + quiet


def tones(length: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """Notes, beeps or a siren: a pitch that steps or glides, with or without pauses."""
    count = int(random.integers(2, 14))
    pitches = np.exp(random.uniform(np.log(150), np.log(3000), size=count))
    glides = random.random() < 0.4
    pitch = stretched(pitches, length) if glides else _steps(pitches, length)
    loudness = random.uniform(0.3, 1, count)
    if random.random() < 0.6:
        loudness[random.random(count) < 0.4] = 0
        loudness[int(random.integers(count))] = 1
    samples = _waveform(pitch, random.uniform(0.5, 3), random, rate)
    # Steps of loudness within some milliseconds, as a loudspeaker makes them.
    fade = np.hanning(int(random.uniform(0.002, 0.03) * rate))
    envelope = np.convolve(_steps(loudness, length), fade / fade.sum(), "same")
    hiss = 10 ** random.uniform(-3, -1) * random.standard_normal(length)
    return _unit(samples * envelope) + hiss


def _waveform(
    pitch: np.ndarray, slope: float, random: np.random.Generator, rate: int
) -> np.ndarray:
    """Harmonics of a pitch in Hz, [n], their amplitudes falling with a power of their number."""
    harmonics = max(1, min(40, int(0.45 * rate / pitch.max())))
    numbers = np.arange(1, harmonics + 1)
    spectrum = np.zeros(_TABLE // 2 + 1, complex)
    phases = np.exp(2j * np.pi * random.random(harmonics))
    spectrum[1 : harmonics + 1] = numbers**-slope * np.exp(random.standard_normal(harmonics))
    spectrum[1 : harmonics + 1] *= phases
    period = fft.irfft(spectrum, _TABLE)
    cycles = np.cumsum(pitch / rate)
    return period[(cycles * _TABLE).astype(np.int64) % _TABLE]


def _ringing(random: np.random.Generator, rate: int) -> np.ndarray:
    """Damped vibrations after a blow, [n]."""
    seconds = np.exp(random.uniform(np.log(0.01), np.log(0.4)))
    times = np.arange(int(seconds * rate)) / rate
    modes = int(random.integers(1, 9))
    frequencies = np.exp(random.uniform(np.log(200), np.log(7000), size=modes))
    decay = np.exp(-times * random.uniform(3, 10, (modes, 1)) / seconds)
    vibrations = decay * np.sin(2 * np.pi * frequencies[:, None] * times)
    ringing = (vibrations * random.uniform(0.1, 1, (modes, 1))).sum(0)
    blow = random.standard_normal(len(times)) * np.exp(-times / random.uniform(0.001, 0.01))
    return ringing + random.uniform(0, 1) * blow


def _steps(points: np.ndarray, length: int) -> np.ndarray:
    """Stretch points to [length], each held as long."""
    return points[np.arange(length) * len(points) // length]


def _unit(samples: np.ndarray) -> np.ndarray:
    return samples / (rms(samples) + 1e-9)
