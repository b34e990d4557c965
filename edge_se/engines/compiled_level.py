"""The level of float samples in the compiled core: as `edge_se.level` has it, up to rounding."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core import FloatLevel, LevelFollower
from edge_se.level import HOP


class CompiledLevel:
    """Gain of each frame's features, from the hops of samples so far."""

    def __init__(self, library: Any, target: int) -> None:
        """Use a library that `edge_se.core.load_core` gives; the target is a normalizer's."""
        # The core reads and writes these where they are: they must live as long as this.
        self._samples = np.zeros(HOP, np.float32)
        self._context = FloatLevel(self._samples.ctypes.data, LevelFollower(target=target))
        self._level = self._context.level
        self._address = ctypes.addressof(self._context)
        self._follow = library.edge_se_float_level_follow
        self.reset()

    def of_hop(self, samples: NDArray[Any]) -> int:
        """Take in one hop of float samples [256]; its frame's exponent of two."""
        self._samples[...] = samples
        self._follow(self._address)
        return int(self._level.exponent)

    def reset(self) -> None:
        """Forget all hops."""
        self._level.reset()
