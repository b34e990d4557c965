"""Mixing speech with noise at a signal-to-noise ratio and a level.

Both are plain RMS over the whole clip, pauses included: SNR is the ratio of the RMS of speech to
that of noise, and level is the RMS of the mixture in dB relative to full scale (amplitude 1.0).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_se.quantized import SAMPLE_STEP, dequantize, quantize

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
LEVELS_DBFS = (-35.0, -30.0, -25.0, -20.0, -15.0, -10.0)


@dataclass(frozen=True)
class Mixture:
    """Noisy speech and the clean speech in it, scaled alike: two `float32` arrays [n]."""

    noisy: np.ndarray
    clean: np.ndarray
    snr_db: float
    level_dbfs: float


def rms(samples: np.ndarray) -> float:
    """Root of the mean square over all samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def level_dbfs(samples: np.ndarray) -> float:
    """Level of the samples in dB relative to an RMS of 1.0."""
    return float(20 * np.log10(rms(samples)))


def gain_to(samples: np.ndarray, level: float) -> np.float32:
    """The gain that brings samples, not silent, to a level in dBFS."""
    return np.float32(10 ** ((level - level_dbfs(samples)) / 20))


def recorded(samples: np.ndarray) -> np.ndarray:
    """Samples as a recorder of 16 bits has them: within full scale, in its steps."""
    stored = quantize(samples, SAMPLE_STEP, 0, np.int16)
    return dequantize(stored, SAMPLE_STEP, 0).astype(np.float32)


def mixing_gains(
    speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float
) -> tuple[float, float]:
    """Return the gains of speech and noise that give their sum this SNR and this level.

    Raises:
        ValueError: lengths differ, or speech or noise is all zeros.
    """
    if speech.shape != noise.shape:
        raise ValueError(f"speech {speech.shape} and noise {noise.shape} differ in length")
    speech_rms, noise_rms = rms(speech), rms(noise)
    if speech_rms == 0 or noise_rms == 0:
        raise ValueError("speech and noise must not be silent to be mixed at an SNR")
    noise_gain = speech_rms / noise_rms * 10 ** (-snr_db / 20)
    total = 10 ** (level_dbfs / 20) / rms(speech + noise_gain * noise)
    return total, total * noise_gain


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: float, level_dbfs: float) -> Mixture:
    """Mix speech and noise of equal length at an SNR and a level; nothing is clipped.

    Args:
        speech: clean speech [n].
        noise: noise [n].
        snr_db: ratio of the RMS of speech to that of noise, in dB.
        level_dbfs: RMS of the mixture, in dB relative to full scale.

    Raises:
        ValueError: lengths differ, or speech or noise is all zeros.
    """
    speech_gain, noise_gain = mixing_gains(speech, noise, snr_db, level_dbfs)
    clean = (speech_gain * speech).astype(np.float32)
    noisy = (speech_gain * speech + noise_gain * noise).astype(np.float32)
    return Mixture(noisy, clean, snr_db, level_dbfs)


def random_part(samples: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    """Cut `length` samples out at a random place; shorter ones are repeated from a random start."""
    if len(samples) >= length:
        start = int(random.integers(len(samples) - length + 1))
        return samples[start : start + length]
    start = int(random.integers(len(samples)))
    return np.resize(np.roll(samples, -start), length)


def loudest_part(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut out the `length` samples around the loudest one; there are as many or more."""
    start = int(np.abs(samples).argmax()) - length // 2
    start = min(max(start, 0), len(samples) - length)
    return samples[start : start + length]


def calibration_mixtures(
    clean: Sequence[np.ndarray],
    noise: Sequence[np.ndarray],
    seed: int,
    snrs_db: Sequence[float] = SNRS_DB,
    levels_dbfs: Sequence[float] = LEVELS_DBFS,
) -> list[Mixture]:
    """Mix every clean clip once with a random part of a random noise clip.

    SNRs and levels are dealt out evenly in a random order, so that a few clips already cover all of
    them. A mixture that would exceed full scale at its level is made as loud as fits, since no
    recording exceeds it.

    Args:
        clean: clean speech clips, `float32` [n] each, not silent.
        noise: noise clips, `float32` [n] each.
        seed: same seed and clips, same mixtures.
        snrs_db: ratios of RMS to use.
        levels_dbfs: levels of the mixtures to use.
    """
    random = np.random.default_rng(seed)
    snrs = _dealt(snrs_db, len(clean), random)
    levels = _dealt(levels_dbfs, len(clean), random)
    mixtures = []
    for speech, snr_db, level in zip(clean, snrs, levels, strict=True):
        part = _audible_part(noise, len(speech), random)
        mixture = mix(speech, part, snr_db, level)
        mixtures.append(_within_full_scale(mixture))
    return mixtures


def _dealt(values: Sequence[float], count: int, random: np.random.Generator) -> list[float]:
    rounds = -(-count // len(values))
    dealt = [value for _ in range(rounds) for value in random.permutation(list(values))]
    return [float(value) for value in dealt[:count]]


def _audible_part(
    noise: Sequence[np.ndarray], length: int, random: np.random.Generator, tries: int = 100
) -> np.ndarray:
    for _ in range(tries):
        part = random_part(noise[int(random.integers(len(noise)))], length, random)
        if part.any():
            return part
    raise ValueError("the noise clips are silent nearly everywhere")


def _within_full_scale(mixture: Mixture) -> Mixture:
    peak = float(np.abs(mixture.noisy).max())
    if peak <= 1:
        return mixture
    level = mixture.level_dbfs - 20 * np.log10(peak)
    return Mixture(
        mixture.noisy / np.float32(peak),
        mixture.clean / np.float32(peak),
        mixture.snr_db,
        float(level),
    )
