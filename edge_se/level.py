"""The front end: what keeps a network where it was trained, whatever the microphone delivers.

A constant part of the samples (DC) is followed and taken off. Features (never the spectrum that the
mask multiplies, so that no gain is heard) are brought nearer to the level that the network learned
from, by a power of two: down where speech is loud, up where it is soft. A hop far above that level
is a knock, or speech that is loud all the time: the frames that hold it are held down, and when it
is over, network and level go on from where they were before, for the states that it left would be
of no use for seconds. Causal: what happens to a frame depends on its own hop and those before.

All of that is the front end "follow". The other, "attenuate", does no more than bring loud speech
down: files of earlier checkouts ask for it.

Levels are in integers throughout, so that they have one set of bits everywhere;
docs/fixed-point.md specifies them and `edge_se/core/level.h` is the same in C. They are octaves
(6.02 dB) of RMS with 16 fractional bits; the least energy, one step of one int16 sample, has the
level 0, full scale of a hop of 256 samples 19 octaves.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.signal import Signal

# Hops below it tell nothing about the speaker's level.
SILENCE_DBFS = {"attenuate": -65.0, "follow": -85.0}
SMALLEST_EXPONENT, LARGEST_EXPONENT = -4, {"attenuate": 0, "follow": 7}
# In a louder hop the estimate moves a tenth of the way in 16 ms, in a quieter one down by no more
# than 1/400 octave: up within a word, down in many seconds, so that pauses don't count as soft
# speech.
USUAL_HOP_SECONDS = 0.016
RISE, FALL = 0.1, 1 / 400
# In the first frames it falls faster: the start value counts as much as so many seconds of hops.
FIRST_SECONDS = {"attenuate": 0.16, "follow": 0.064}
# After so many hops `FALL` is the faster one whatever the distance.
MOST_HOPS = 2**15
# The estimate, above the mean in speech, reads this many octaves more than a clip's RMS.
BIAS_OCTAVES = 0.5
# Features are attenuated while they are 12 dB above the target: near it networks hardly mind the
# level, but every change, by one exponent a hop, disturbs their states for some frames. They are
# amplified once they are 18 dB below it, which usual recordings are not, and then until they are
# within 6 dB of it. Where they are changed, they are changed back once they are 3 dB beyond it.
TOO_LOUD, TOO_SOFT, SOFT, NEAR = 131072, 196608, 65536, 32768
# Soft hops count as speech where they are 4 dB above the quietest of late, which is forgotten by
# 1/64 octave a hop: a pause is not to be amplified as if it were soft speech. Loud speech is
# followed down to the target whatever comes after it.
ABOVE_FLOOR, FLOOR_RISE = 40960, 1024
# No frame reaches the network louder than 15 dB above the target. What is 16.5 dB above it is a
# knock, or may be one: it is over once nothing is more than 9 dB above the target for 64 ms.
LIMIT, KNOCK, OVER = 163840, 180224, 98304
# A click is too short to make its hop that loud: a sample that is 20.5 dB above both the target and
# the estimate, 11 dB above its own hop and 18 dB above the hop before. Less would take the first
# sounds of loud speakers for clicks.
CLICK, OF_ITS_HOP, OF_THE_HOP_BEFORE = 42598, 121242, 196608
PATIENCE_SECONDS = 0.064
KNOCK_BEGAN, KNOCK_ENDED = 1, 2
# What no level is above or below.
BEYOND = 2**29
# DC is the mean of so many hops, of which older ones count ever less: a high-pass of first order.
DC_HOPS = 32
# What the mean moves by without DC stays in the samples, which usual recordings keep to the bit: 48
# dB below full scale, as the network hears it, and more in the first hops, of which fewer say less
# of a mean, unless it has 3/4 of the hop's energy. Twice that and more is taken off whole.
DC_FLOOR = 2.0**-8
# Fractional bits of DC in integers.
DC_BITS = 8
# Of the parabola f + c f (1 - f), within 0.008 of log2(1 + f); 16 fractional bits.
CURVATURE = 22545

ONE = 2**16
DB_PER_OCTAVE = 20 * math.log10(2)


def level_of(dbfs: float, hop: int) -> int:
    """An RMS in dB relative to full scale as the level of a hop of so many samples."""
    full_scale = math.log2(hop * 2.0**30) / 2
    return round((dbfs / DB_PER_OCTAVE + full_scale) * ONE)


def largest_exponent(front_end: str, features: str) -> int:
    """By which power of two features are amplified at most: logarithms bring soft sound near."""
    return 0 if features == "log_magnitude" else LARGEST_EXPONENT[front_end]


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


def hop_crest(samples: NDArray[Any]) -> int:
    """The energy that one hop would have if all samples were as its loudest."""
    return int(min(float(np.square(samples).max()) * len(samples) * 2.0**30, 2.0**60))


class LevelNormalizer:
    """Gain of each frame's features, from the hops of samples so far.

    Attributes:
        target: Level that estimates are brought nearer to.
        silence: Level up to which a hop is not heard.
        rise: By which share of the distance the estimate follows a louder hop, 16 fractional bits.
        fall: By how much at most it follows a quieter one.
        first_weight: How many hops the start value counts as.
        patience: How many hops without it end a knock.
        above_floor: How far a soft hop has to be above the quietest of late to be heard.
        largest: The largest exponent.
        limit: How far above the target a frame may be heard.
        knock: How far above the target a hop is a knock.
        removes_dc: Whether samples are to come without DC.
        exponent: Of two, by which features are multiplied unless that makes a frame too loud.
        event: `KNOCK_BEGAN` where the newest frame is the first of a knock, before which the
            network's states are to be kept; `KNOCK_ENDED` where it is the first after one, for
            which they are to be restored; else 0.
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
        self.silence = level_of(SILENCE_DBFS[signal.front_end], signal.hop)
        self.rise = round((1 - (1 - RISE) ** hops) * ONE)
        self.fall = round(FALL * hops * ONE)
        self.patience = max(round(PATIENCE_SECONDS / signal.hop_seconds), 1)
        self.first_weight = round(FIRST_SECONDS[signal.front_end] / signal.hop_seconds)
        self.largest = largest_exponent(signal.front_end, signal.features)
        self.removes_dc = signal.front_end == "follow"
        self.above_floor, self.limit, self.knock = ABOVE_FLOOR, LIMIT, KNOCK
        if signal.front_end == "attenuate":
            self.above_floor, self.limit, self.knock = -BEYOND, BEYOND, BEYOND
        self.reset()

    def reset(self) -> None:
        """Forget all hops: the gain is one until the level is known."""
        self._estimate = self._floor = self.target
        self._hops = self.exponent = self._previous = 0
        self._loud = self._kept_estimate = self._kept_exponent = self.event = 0

    def __call__(self, energy: int, crest: int = 0) -> int:
        """Take in one hop; its frame's exponent of two.

        Args:
            energy: sum of the samples' squares, in steps of int16.
            crest: the same if all samples were as the loudest; 0 hears no clicks.
        """
        level, crest_level = (hop_level(each) if each else 0 for each in (energy, crest))
        is_click = crest_level > max(
            max(self._estimate, self.target) + self.knock + CLICK,
            level + OF_ITS_HOP,
            self._previous + OF_THE_HOP_BEFORE,
        )
        self._floor = min(self._floor + FLOOR_RISE, max(level, self.silence))
        loudest, self._previous = max(level, self._previous), level
        self._notice_knock(loudest, is_click)
        if level > self.silence:
            self._follow(level)
        return min(self.exponent, (self.target + self.limit - loudest) >> 16)

    def _notice_knock(self, loudest: int, is_click: bool) -> None:
        self.event = 0
        if is_click or loudest > self.target + self.knock:
            if not self._loud:
                self.event = KNOCK_BEGAN
                self._kept_estimate, self._kept_exponent = self._estimate, self.exponent
            self._loud = self.patience
        elif self._loud and loudest > self.target + OVER:
            self._loud = self.patience
        elif self._loud:
            self._loud -= 1
            if not self._loud:
                self.event = KNOCK_ENDED
                self._estimate, self.exponent = self._kept_estimate, self._kept_exponent

    def _follow(self, level: int) -> None:
        distance = level - self._estimate
        if distance > 0:
            self._hops = min(self._hops + 1, MOST_HOPS)
            self._estimate += (self.rise * distance) >> 16
        elif self._estimate > self.target or level > self._floor + self.above_floor:
            self._hops = min(self._hops + 1, MOST_HOPS)
            first = -distance // (self.first_weight + self._hops)
            self._estimate -= max(first, min(-distance, self.fall))
        off = self.target - self._estimate - self.exponent * ONE
        if off < -TOO_LOUD or (self.exponent > 0 and off < -NEAR):
            self.exponent = max(self.exponent - 1, SMALLEST_EXPONENT)
        elif off > (NEAR if self.exponent < 0 else SOFT if self.exponent > 0 else TOO_SOFT):
            self.exponent = min(self.exponent + 1, self.largest)


class IntegerDc:
    """The constant part of int16 samples; hops of 256, whose sums are means of `DC_BITS`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all hops."""
        self._mean = self._hops = 0

    def __call__(self, samples: NDArray[np.int64], exponent: int) -> int:
        """Take in a hop (int64 [256], values of int16); what to take off each sample.

        Args:
            samples: the hop.
            exponent: of two, by which the network hears features multiplied.
        """
        total = int(samples.sum())
        self._hops = min(self._hops + 1, DC_HOPS)
        off = total - self._mean
        step = abs(off) // self._hops
        self._mean += step if off > 0 else -step
        first = DC_HOPS
        if self._hops < DC_HOPS and total * total <= 192 * int(np.square(samples).sum()):
            first = self._hops
        floor = int(DC_FLOOR * 2 ** (15 + DC_BITS)) * DC_HOPS // first
        floor = floor >> exponent if exponent > 0 else floor << -exponent
        size = abs(self._mean)
        size = min(max(2 * (size - floor), 0), size)
        return ((size if self._mean > 0 else -size) + (1 << (DC_BITS - 1))) >> DC_BITS


class FloatDc:
    """The constant part of float samples."""

    def __init__(self, hop: int) -> None:
        self._ones = np.full(hop, 1 / hop, np.float32)
        self._centred = np.empty(hop, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all hops."""
        self._mean, self._hops = 0.0, 0

    def __call__(self, samples: NDArray[np.float32], exponent: int) -> NDArray[np.float32]:
        """Take in a hop (float32 [hop]) and give it without, the same buffer at each call.

        Args:
            samples: the hop.
            exponent: of two, by which the network hears features multiplied.
        """
        self._hops = min(self._hops + 1, DC_HOPS)
        mean = float(np.dot(samples, self._ones))
        self._mean += (mean - self._mean) / self._hops
        first, constant = DC_HOPS, len(samples) * mean * mean
        if self._hops < DC_HOPS and 4 * constant <= 3 * np.dot(samples, samples):
            first = self._hops
        floor = DC_FLOOR * DC_HOPS / first * 2.0**-exponent
        size = abs(self._mean)
        removed = math.copysign(min(max(2 * (size - floor), 0), size), self._mean)
        return np.subtract(samples, np.float32(removed), self._centred)


class FloatFrontEnd:
    """The front end of float samples: takes DC off, and finds each frame's exponent of two."""

    def __init__(self, signal: Signal) -> None:
        """Begin a stream; raises ValueError where the signal keeps its level."""
        self._normalize, self._centre = LevelNormalizer(signal), FloatDc(signal.hop)

    def reset(self) -> None:
        """Forget all hops."""
        self._normalize.reset()
        self._centre.reset()

    @property
    def event(self) -> int:
        """What happens with the newest frame; see `LevelNormalizer.event`."""
        return self._normalize.event

    def __call__(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        """Take in a hop (float32 [hop]); what goes on in its place, and the exponent."""
        if self._normalize.removes_dc:
            samples = self._centre(samples, self._normalize.exponent)
        return samples, self._normalize(hop_energy(samples), hop_crest(samples))


def make_normalizer(signal: Signal) -> LevelNormalizer | None:
    """What the signal asks for; None where features keep the input's level."""
    return None if signal.level_dbfs is None else LevelNormalizer(signal)
