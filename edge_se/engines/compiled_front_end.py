"""The front end in the compiled core: `edge_se.level.FloatFrontEnd`, up to rounding.

In NumPy and Python it takes more than the whole STFT does in the core.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core import FloatLevel, make_level, reset_level
from edge_se.level import LevelNormalizer
from edge_se.signal import Signal


class CompiledFrontEnd:
    """The front end of hops of 256 float samples, as `edge_se.level.FloatFrontEnd`."""

    def __init__(self, library: Any, signal: Signal) -> None:
        """Begin a stream; raises ValueError where the signal keeps its level.

        Args:
            library: Of `edge_se.core.load_core`.
            signal: With hops of 256.
        """
        # The core reads and writes these where they are: they must live as long as this.
        self._level = make_level(LevelNormalizer(signal))
        self._samples = np.zeros(signal.hop, np.float32)
        self._context = FloatLevel(
            level=ctypes.addressof(self._level), samples=self._samples.ctypes.data
        )
        self._address = ctypes.addressof(self._context)
        self._take_in = library.edge_se_float_level

    def reset(self) -> None:
        """Forget all hops."""
        reset_level(self._level)
        self._context.mean = 0.0

    @property
    def event(self) -> int:
        """What happens with the newest frame; see `edge_se.level.LevelNormalizer.event`."""
        return int(self._level.event)

    def __call__(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        """Take in a hop (float32 [256]); what goes on in its place, and the exponent."""
        self._samples[...] = samples
        self._take_in(self._address)
        return self._samples, int(self._context.exponent)
