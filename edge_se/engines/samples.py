"""Samples of one kind around a `process` that takes and gives the other: float32 and int16."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se import fixed
from edge_se.core import SampleBuffers
from edge_se.quantized import SAMPLE_STEP, Dequantizer, Quantizer
from edge_se.stft import Samples

Process = Callable[[Any, Any], object]

# Float samples are cut off 60 dB above full scale: beyond anything that was recorded, and below
# what makes a network's squares overflow. `SAMPLE_LIMIT` of core/float_kernels.h is the same.
SAMPLE_LIMIT = 1024.0


class Limiter:
    """Cuts float samples off at `SAMPLE_LIMIT`; all others keep their bits."""

    def __init__(self, hop: int) -> None:
        # Whole arrays: NumPy's vector kernels of maximum and minimum want no broadcast operand.
        self._high = np.full(hop, SAMPLE_LIMIT, np.float32)
        self._low = -self._high
        self._limited = np.empty(hop, np.float32)

    def __call__(self, samples: Samples) -> Samples:
        """Give one hop cut off, float32 [hop], the same buffer at each call."""
        np.minimum(samples, self._high, out=self._limited)
        return np.maximum(self._limited, self._low, out=self._limited)


class IntegerSamples:
    """Float samples in [-1, 1] in and out, around a `process` that takes and gives int16."""

    def __init__(self, process: Process, hop: int) -> None:
        self._process = process
        self._quantize = Quantizer((hop,), SAMPLE_STEP, 0, np.int16)
        self._dequantize = Dequantizer(SAMPLE_STEP, 0)
        self._limit = Limiter(hop)
        self._samples = np.empty(hop, np.int16)

    def process(self, frame: Samples, out: Samples) -> None:
        """Enhance one hop, float32 [hop] to float32 [hop]."""
        self._quantize(self._limit(frame), self._samples)
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


class FloatProcess:
    """Samples of int16 in and out, around a `process` that takes and gives floats in [-1, 1]."""

    def __init__(self, process: Process, hop: int) -> None:
        self._process = process
        self._quantize = Quantizer((hop,), SAMPLE_STEP, 0, np.int16)
        self._dequantize = Dequantizer(SAMPLE_STEP, 0)
        self._frame = np.empty(hop, np.float32)

    def process(self, samples: NDArray[np.int16], out: NDArray[np.int16]) -> None:
        """Enhance one hop, int16 [hop] to int16 [hop]."""
        self._dequantize(samples, self._frame)
        self._process(self._frame, self._frame)
        self._quantize(self._frame, out)
