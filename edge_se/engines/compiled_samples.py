"""Float samples around an int16 `process`, converted by the compiled core."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_se.core import Samples as Context
from edge_se.stft import Samples

_HOP = 256


class CompiledSamples:
    """`edge_se.enhancer.IntegerSamples` with the same bits, for hops of 256."""

    def __init__(self, library: Any, process: Callable[[Any, Any], object]) -> None:
        """Use a library that `edge_se.core.load_core` gives."""
        self._process = process
        self._floats, self._integers = np.empty(_HOP, np.float32), np.empty(_HOP, np.int16)
        self._context = Context(self._floats.ctypes.data, self._integers.ctypes.data)
        self._address = ctypes.addressof(self._context)
        self._to_int16 = library.edge_se_samples_to_int16
        self._to_float = library.edge_se_samples_to_float

    def process(self, frame: Samples, out: Samples) -> None:
        """Enhance one hop, float32 [256] to float32 [256]."""
        self._floats[...] = frame
        self._to_int16(self._address)
        self._process(self._integers, self._integers)
        self._to_float(self._address)
        out[...] = self._floats
