"""Level normalization: the features' gain, a power of two that follows the input's level.

A network that learned from speech at usual levels does worse on whispers and shouts, and 8-bit
features can't hold both. So the features (never the spectrum that the mask multiplies) are
brought near the level that the network does best at. Causal: a frame's gain depends on its own
hop and those before.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.manifest import Manifest

SILENCE_DBFS = -65.0  # hops below it tell nothing about the speaker's level
LARGEST_EXPONENT = 4  # gains of 2**-4 to 2**4, 24 dB either way
# The level estimate (octaves, 62.5 hops a second) moves this share of the way to a louder hop, and
# falls by no more than this in a quieter one: up within a word, down in many seconds, so that
# pauses don't count as whispers.
RISE = 0.1
FALL = 1 / 400
# In the first frames it moves faster: the start value counts as much as this many hops.
FIRST_WEIGHT = 10
# The estimate, above the mean in speech, reads this many octaves more than a clip's RMS.
BIAS_OCTAVES = 0.5
# The exponent changes only when it is off by more: within 7.5 dB either way, networks hardly mind
# the level, but every change disturbs their states for some frames.
HYSTERESIS_OCTAVES = 1.25

_DB_PER_OCTAVE = 20 * math.log10(2)


class LevelNormalizer:
    """Gain of each frame's features, from the hops of samples so far."""

    def __init__(self, target_dbfs: float) -> None:
        """Normalize to an RMS of `target_dbfs` dB relative to full scale."""
        self._target = target_dbfs / _DB_PER_OCTAVE + BIAS_OCTAVES
        self._silence = SILENCE_DBFS / _DB_PER_OCTAVE
        self.reset()

    def reset(self) -> None:
        """Forget all hops: the gain is one until the level is known."""
        self._estimate = self._target
        self._hops = 0
        self._exponent = 0

    def __call__(self, samples: NDArray[Any]) -> int:
        """Take in one hop (float [hop], full scale is 1) and give its frame's exponent of two."""
        power = float(np.dot(samples, samples)) / len(samples)
        octaves = 0.5 * math.log2(power) if power > 0 else -math.inf
        if octaves > self._silence:
            self._follow(octaves)
        return self._exponent

    def _follow(self, octaves: float) -> None:
        self._hops += 1
        distance = octaves - self._estimate
        first = distance / (FIRST_WEIGHT + self._hops)
        if distance > 0:
            self._estimate += max(RISE * distance, first)
        else:
            self._estimate += min(max(distance, -FALL), first)
        wanted = self._target - self._estimate
        if abs(wanted - self._exponent) > HYSTERESIS_OCTAVES:
            self._exponent = max(-LARGEST_EXPONENT, min(LARGEST_EXPONENT, round(wanted)))


def make_normalizer(manifest: Manifest) -> LevelNormalizer | None:
    """What the manifest asks for; None where features keep the input's level."""
    return LevelNormalizer(manifest.level_dbfs) if manifest.level == "power_of_two" else None
