"""Level normalization: loud speech is attenuated for the network, by a power of two.

A network that learned from speech at usual levels does worse on loud speech, and 8-bit features end
there. So the features (never the spectrum that the mask multiplies) are brought nearer to the level
that the network does best at. Soft speech is left alone: amplified with it would be the noise of
pauses, after which some networks take long to find their way into speech. Causal: a frame's gain
depends on its own hop and those before.

Integers throughout, so that it has one set of bits everywhere; docs/fixed-point.md specifies them
and `edge_se/core/level.h` is the same in C. Levels are octaves (6.02 dB) of RMS with 16 fractional
bits; the least energy, one step of one int16 sample, has the level 0, full scale 19 octaves.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.manifest import Manifest

HOP = 256
SILENCE = 537640  # -65 dBFS: hops below it tell nothing about the speaker's level
SMALLEST_EXPONENT = -4  # gains of 2**-4 to 1
# In a louder hop the estimate moves a tenth of the way, in a quieter one down by no more than
# 1/400 octave (62.5 hops a second): up within a word, down in many seconds, so that pauses don't
# count as soft speech.
RISE, FALL = 6554, 164
# In the first frames it falls faster: the start value counts as much as this many hops.
FIRST_WEIGHT = 10
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
_FULL_SCALE_OCTAVES = 19  # half of log2(HOP * 2**30)
DB_PER_OCTAVE = 20 * math.log10(2)


def level_of(dbfs: float) -> int:
    """An RMS in dB relative to full scale as a level."""
    return round((dbfs / DB_PER_OCTAVE + _FULL_SCALE_OCTAVES) * ONE)


def hop_energy(samples: NDArray[Any]) -> int:
    """Sum of squares of one hop (float [256], full scale is 1) in steps of int16, saturated."""
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
    """

    def __init__(self, target_dbfs: float) -> None:
        """Normalize to an RMS of `target_dbfs` dB relative to full scale."""
        self.target = level_of(target_dbfs) + round(BIAS_OCTAVES * ONE)
        self.reset()

    def reset(self) -> None:
        """Forget all hops: the gain is one until the level is known."""
        self._estimate = self.target
        self._hops = 0
        self._exponent = 0

    def __call__(self, energy: int) -> int:
        """Take in one hop's sum of squares, in steps of int16; its frame's exponent of two."""
        level = hop_level(energy) if energy else 0
        if level > SILENCE:
            self._follow(level)
        return self._exponent

    def _follow(self, level: int) -> None:
        self._hops = min(self._hops + 1, MOST_HOPS)
        distance = level - self._estimate
        if distance > 0:
            self._estimate += (RISE * distance) >> 16
        else:
            first = -distance // (FIRST_WEIGHT + self._hops)
            self._estimate -= max(first, min(-distance, FALL))
        off = self.target - self._estimate - self._exponent * ONE
        if off < -TOLERANCE:
            self._exponent = max(self._exponent - 1, SMALLEST_EXPONENT)
        elif off > RELEASE:
            self._exponent = min(self._exponent + 1, 0)


def make_normalizer(manifest: Manifest) -> LevelNormalizer | None:
    """What the manifest asks for; None where features keep the input's level."""
    return LevelNormalizer(manifest.level_dbfs) if manifest.level == "power_of_two" else None
