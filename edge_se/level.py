"""Level normalization: loud speech is attenuated for the network, by a power of two.

A network that learned from speech at usual levels does worse on loud speech, and 8-bit features end
there. So the features (never the spectrum that the mask multiplies) are brought nearer to the level
that the network does best at. Soft speech is left alone: amplified with it would be the noise of
pauses, after which some networks take long to find their way into speech. Causal: a frame's gain
depends on its own hop and those before.

Integers throughout, so that it has one set of bits everywhere; docs/fixed-point.md specifies them
and `edge_se/core/level.h` is the same in C. Levels are octaves (6.02 dB) of RMS with 16 fractional
bits; the least energy, one step of one int16 sample, has the level 0, full scale of a hop of 256
samples 19 octaves.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.signal import Signal

SILENCE_DBFS = -65.0  # hops below it tell nothing about the speaker's level
SMALLEST_EXPONENT = -4  # gains of 2**-4 to 1
# In a louder hop the estimate moves a tenth of the way in 16 ms, in a quieter one down by no more
# than 1/400 octave: up within a word, down in many seconds, so that pauses don't count as soft
# speech.
USUAL_HOP_SECONDS = 0.016
RISE, FALL = 0.1, 1 / 400
# In the first frames it falls faster: the start value counts as much as so many seconds of hops.
FIRST_SECONDS = 0.16
# After so many hops `FALL` is the faster one whatever the distance.
MOST_HOPS = 2**15
# The estimate, above the mean in speech, reads this many octaves more than a clip's RMS.
BIAS_OCTAVES = 0.5
# Features are attenuated once they are 12 dB above the target, and less again once they are 3 dB
# below it, by one exponent a hop: near the target networks hardly mind the level, but every change
# disturbs their states for some frames, the more the larger it is.
TOLERANCE, RELEASE = 131072, 32768
# Of the parabola f + c f (1 - f), within 0.008 of log2(1 + f); 16 fractional bits.
CURVATURE = 22545

ONE = 2**16
DB_PER_OCTAVE = 20 * math.log10(2)


def level_of(dbfs: float, hop: int) -> int:
    """An RMS in dB relative to full scale as the level of a hop of so many samples."""
    full_scale = math.log2(hop * 2.0**30) / 2
    return round((dbfs / DB_PER_OCTAVE + full_scale) * ONE)


def hop_energy(samples: NDArray[Any]) -> int:
    """Sum of squares of one hop (float [hop], full scale is 1) in steps of int16, saturated."""
    return int(min(float(np.dot(samples, samples)) * 2.0**30, 2.0**60))


def hop_level(energy: int) -> int:
    """Level of a hop with that energy, at least 1 and below 2**62."""
    whole = energy.bit_length() - 1
    fraction = ((energy << 16) >> whole) - ONE
    # Of energy: twice the octaves of RMS, which the fifteenth bit instead of the sixteenth halves.
    curved = fraction + ((CURVATURE * ((fraction * (ONE - fraction)) >> 16)) >> 16)
    return (whole << 15) + (curved >> 1)


class LevelNormalizer:
    """Gain of each frame's features, from the hops of samples so far.

    Attributes:
        target: Level that estimates are brought nearer to.
        silence: Level up to which a hop is not heard.
        rise: By which share of the distance the estimate follows a louder hop, 16 fractional bits.
        fall: By how much at most it follows a quieter one.
        first_weight: How many hops the start value counts as.
    """

    def __init__(self, signal: Signal) -> None:
        """Normalize hops of a signal to its level.

        Raises:
            ValueError: The signal keeps its level.
        """
        if signal.level_dbfs is None:
            raise ValueError("this signal keeps its level")
        hops = signal.hop_seconds / USUAL_HOP_SECONDS
        self.target = level_of(signal.level_dbfs, signal.hop) + round(BIAS_OCTAVES * ONE)
        self.silence = level_of(SILENCE_DBFS, signal.hop)
        self.rise = round((1 - (1 - RISE) ** hops) * ONE)
        self.fall = round(FALL * hops * ONE)
        self.first_weight = round(FIRST_SECONDS / signal.hop_seconds)
        self.reset()

    def reset(self) -> None:
        """Forget all hops: the gain is one until the level is known."""
        self._estimate = self.target
        self._hops = 0
        self._exponent = 0

    def __call__(self, energy: int) -> int:
        """Take in one hop's sum of squares, in steps of int16; its frame's exponent of two."""
        level = hop_level(energy) if energy else 0
        if level > self.silence:
            self._follow(level)
        return self._exponent

    def _follow(self, level: int) -> None:
        self._hops = min(self._hops + 1, MOST_HOPS)
        distance = level - self._estimate
        if distance > 0:
            self._estimate += (self.rise * distance) >> 16
        else:
            first = -distance // (self.first_weight + self._hops)
            self._estimate -= max(first, min(-distance, self.fall))
        off = self.target - self._estimate - self._exponent * ONE
        if off < -TOLERANCE:
            self._exponent = max(self._exponent - 1, SMALLEST_EXPONENT)
        elif off > RELEASE:
            self._exponent = min(self._exponent + 1, 0)


def make_normalizer(signal: Signal) -> LevelNormalizer | None:
    """What the signal asks for; None where features keep the input's level."""
    return None if signal.level_dbfs is None else LevelNormalizer(signal)
