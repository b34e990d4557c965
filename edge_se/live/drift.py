"""The clocks of a microphone and a loudspeaker differ; sound is resampled by as much.

What waits before the loudspeaker grows or shrinks by the difference of the clocks. A controller
keeps it where it should be, by playing a bit faster or slower: too little to be heard, and not at
all as long as nothing has drifted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.chunks import converted
from edge_se.resampling import KernelTable

MOST_SPEED = 0.0015  # of 1; 2.6 cents
# Crystals differ by less than 200 ppm; what else makes the waiting grow is no drift to learn.
MOST_DRIFT = 500e-6
SMOOTHING_S = 2.0
SETTLING_S = 5.0
# Of a proportional and integral controller, critically damped, which settles in a minute or two.
NATURAL_FREQUENCY = 0.03  # per second
HALF = 16  # samples on each side of the kernel


class DriftControl:
    """Says how fast to play, from what waits before the loudspeaker.

    Attributes:
        engaged: Whether anything has drifted; until then sound is left as it is.
    """

    def __init__(self, target_s: float, tolerance_s: float, step_s: float) -> None:
        """Start with nothing found.

        Args:
            target_s: Keep so many seconds waiting.
            tolerance_s: Correct nothing while they differ by less.
            step_s: What is taken at once, so that less than that stays where too little comes.
        """
        self._target, self._tolerance, self._step = target_s, tolerance_s, step_s
        self._mean = target_s
        self._elapsed = self._drift = 0.0
        self._waited = False
        self.engaged = False

    @property
    def drift_ppm(self) -> float:
        """By how much the microphone's clock was found to be faster; 0 until that is known."""
        return 1e6 * self._drift

    def speed(self, waiting_s: float, elapsed_s: float) -> float:
        """How fast to play next, relative to the microphone's clock.

        Args:
            waiting_s: What waits before the loudspeaker now, in seconds.
            elapsed_s: Since the last call.
        """
        self._elapsed += elapsed_s
        if waiting_s < self._step:
            waiting_s = 0.0
        # What takes all at once, as a file or the null device, has no clock to follow.
        self._waited |= waiting_s > 0
        self._mean += (waiting_s - self._mean) * min(elapsed_s / SMOOTHING_S, 1.0)
        error = self._mean - self._target
        if not self.engaged:
            drifted = abs(error) > self._tolerance
            self.engaged = drifted and self._waited and self._elapsed > SETTLING_S
            return 1.0
        wanted = 2 * NATURAL_FREQUENCY * error + self._drift
        speed = min(max(wanted, -MOST_SPEED), MOST_SPEED)
        if speed == wanted:  # otherwise the integral would run away
            drift = self._drift + NATURAL_FREQUENCY**2 * error * elapsed_s
            self._drift = min(max(drift, -MOST_DRIFT), MOST_DRIFT)
        return 1.0 + speed


class VaryingResampler:
    """Plays one channel faster or slower by a factor near 1 that may change at any time.

    As long as the factor is 1, samples come out as they went in, bit by bit.

    Attributes:
        delay: How many samples later they come out.
    """

    delay = HALF

    def __init__(self) -> None:
        """Start with silence."""
        self._kernels = KernelTable(HALF)
        self._samples: NDArray[Any] = np.zeros(2 * HALF - 1, np.float32)
        self._time = float(HALF - 1)  # of the next sample, counted from the first that is kept

    def push(self, samples: NDArray[Any], speed: float) -> NDArray[Any]:
        """Take in int16 or float32 [n]; gives what is ready: as it is, or float32 [m].

        Args:
            samples: At the microphone's clock.
            speed: Samples to take in for each that comes out, from here on.
        """
        kept = np.concatenate([converted(self._samples, samples.dtype), samples])
        ready = len(kept) - HALF - self._time
        count = max(int(np.ceil(ready / speed)), 0)
        first = int(self._time)
        if not count or (speed == 1.0 and first == self._time):
            out = kept[first : first + count]
        else:
            times = self._time + speed * np.arange(count)
            whole = times.astype(np.intp)
            floats = converted(kept, np.dtype(np.float32))[:, None]
            out = self._kernels.filtered(floats, whole - HALF + 1, times - whole)[:, 0]
        self._time += count * speed
        done = int(self._time) - HALF + 1
        self._samples = kept[done:]
        self._time -= done
        return out
