"""The one place where real values become quantized ones and back.

A quantized value is `round(x / scale) + zero_point`, ties to even, saturated to its dtype; the real
value it stands for is `(q - zero_point) * scale`. `Quantizer` and `Dequantizer` do the same as
`quantize` and `dequantize`, bit for bit, in buffers allocated once.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Real: TypeAlias = NDArray[np.floating[Any]]
Quantized: TypeAlias = NDArray[np.integer[Any]]

# What one step of an int16 sample stands for.
SAMPLE_STEP = 2.0**-15


def limits(dtype: DTypeLike) -> tuple[int, int]:
    """Smallest and largest value of an integer dtype."""
    info = np.iinfo(np.dtype(dtype))
    return int(info.min), int(info.max)


def _working_dtype(x: NDArray[Any], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Float32 holds every 16-bit integer; wider ones, and float64 inputs, need float64."""
    wide = dtype.itemsize > 2 or x.dtype not in (np.float32, np.float16)
    return np.dtype(np.float64 if wide else np.float32)


def _quantize_into(
    x: Real, scale: Real, zero_point: Real, low: Real, high: Real, scratch: Real, out: Quantized
) -> None:
    np.divide(x, scale, out=scratch)
    np.rint(scratch, out=scratch)
    np.add(scratch, zero_point, out=scratch)
    np.maximum(scratch, low, out=scratch)
    np.minimum(scratch, high, out=scratch)
    out[...] = scratch


def _dequantize_into(q: Quantized, scale: Real, zero_point: Real, out: Real) -> None:
    out[...] = q
    np.subtract(out, zero_point, out=out)
    np.multiply(out, scale, out=out)


def quantize(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike,
    dtype: DTypeLike,
    out: Quantized | None = None,
) -> Quantized:
    """Quantize real values: `rint(x / scale) + zero_point`, saturated.

    Args:
        x: Real values, any shape. NaN has no quantized value and must not occur.
        scale: Positive; a scalar, or an array that broadcasts against `x` (per channel).
        zero_point: As `scale`.
        dtype: Integer dtype of the result.
        out: Where to write, of the broadcast shape and of `dtype`; allocated when not given.

    Returns:
        `out`, or a new array of `dtype`.
    """
    values = np.asarray(x)
    integer = np.dtype(dtype)
    working = _working_dtype(values, integer)
    factor, offset = np.asarray(scale, working), np.asarray(zero_point, working)
    shape = np.broadcast_shapes(values.shape, factor.shape, offset.shape)
    if out is None:
        out = np.empty(shape, integer)
    low, high = (np.asarray(limit, working) for limit in limits(integer))
    scratch = np.empty(shape, working)
    _quantize_into(values.astype(working, copy=False), factor, offset, low, high, scratch, out)
    return out


def dequantize(
    q: Quantized, scale: ArrayLike, zero_point: ArrayLike, out: Real | None = None
) -> Real:
    """Real values of quantized ones: `(q - zero_point) * scale`, float32 unless `out` is wider."""
    if out is None:
        shape = np.broadcast_shapes(q.shape, np.shape(scale), np.shape(zero_point))
        out = np.empty(shape, np.float32)
    _dequantize_into(q, np.asarray(scale, out.dtype), np.asarray(zero_point, out.dtype), out)
    return out


class Quantizer:
    """Quantizes float32 arrays of one shape, allocating nothing per call."""

    def __init__(
        self, shape: tuple[int, ...], scale: float, zero_point: int, dtype: DTypeLike
    ) -> None:
        low, high = limits(dtype)
        self._scale = np.array(scale, np.float32)
        self._zero_point = np.array(zero_point, np.float32)
        # Whole arrays: NumPy's vector kernels of maximum and minimum want no broadcast operand.
        self._low = np.full(shape, low, np.float32)
        self._high = np.full(shape, high, np.float32)
        self._scratch = np.empty(shape, np.float32)

    def __call__(self, x: Real, out: Quantized) -> None:
        """Write the quantized values of `x` (float32, of the shape) into `out`."""
        _quantize_into(x, self._scale, self._zero_point, self._low, self._high, self._scratch, out)


class Dequantizer:
    """Dequantizes arrays with one scale and zero point into float32, allocating nothing."""

    def __init__(self, scale: float, zero_point: int) -> None:
        self._scale = np.array(scale, np.float32)
        self._zero_point = np.array(zero_point, np.float32)

    def __call__(self, q: Quantized, out: Real) -> None:
        """Write the real values of `q` into `out` (float32, same shape)."""
        _dequantize_into(q, self._scale, self._zero_point, out)
