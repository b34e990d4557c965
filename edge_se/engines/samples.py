"""Float samples around a `process` that takes and gives int16."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_se import fixed
from edge_se.core import SampleBuffers
from edge_se.quantized import SAMPLE_STEP, Dequantizer, Quantizer
from edge_se.stft import Samples

Process = Callable[[Any, Any], object]


class IntegerSamples:
    """Float samples in [-1, 1] in and out, around a `process` that takes and gives int16."""

    def __init__(self, process: Process, hop: int) -> None:
        self._process = process
        self._quantize = Quantizer((hop,), SAMPLE_STEP, 0, np.int16)
        self._dequantize = Dequantizer(SAMPLE_STEP, 0)
        self._samples = np.empty(hop, np.int16)

    def process(self, frame: Samples, out: Samples) -> None:
        """Enhance one hop, float32 [hop] to float32 [hop]."""
        self._quantize(frame, self._samples)
        self._process(self._samples, self._samples)
        self._dequantize(self._samples, out)


class CompiledSamples:
    """`IntegerSamples` with the same bits, for hops of `HOP`, the core's."""

    HOP = fixed.HOP

    def __init__(self, library: Any, process: Process) -> None:
        """Use a library that `edge_se.core.load_core` gives."""
        self._process = process
        self._floats = np.empty(self.HOP, np.float32)
        self._integers = np.empty(self.HOP, np.int16)
        self._context = SampleBuffers(self._floats.ctypes.data, self._integers.ctypes.data)
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
