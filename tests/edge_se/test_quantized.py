import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_se.quantized import Dequantizer, Quantizer, dequantize, limits, quantize

DTYPES = ("int8", "int16")


@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20),
    scale=st.floats(2.0**-15, 100, width=32),
    zero_point=st.integers(-128, 127),
    dtype=st.sampled_from(DTYPES),
)
def test_quantize_is_the_rounded_quotient_plus_the_zero_point_saturated(
    values, scale, zero_point, dtype
):
    x = np.array(values, np.float32)

    q = quantize(x, scale, zero_point, dtype)

    low, high = limits(dtype)
    expected = np.clip(np.rint(x / np.float32(scale)).astype(np.float64) + zero_point, low, high)
    np.testing.assert_array_equal(q, expected)
    assert q.dtype == dtype


@given(q=st.integers(-128, 127), zero_point=st.integers(-128, 127))
def test_quantize_undoes_dequantize(q, zero_point):
    raw = np.array([q], np.int8)

    assert quantize(dequantize(raw, 0.037, zero_point), 0.037, zero_point, np.int8) == raw


def test_ties_go_to_the_even_integer():
    np.testing.assert_array_equal(quantize([0.5, 1.5, 2.5, -0.5], 1.0, 0, np.int8), [0, 2, 2, 0])


def test_infinity_saturates():
    np.testing.assert_array_equal(quantize([-np.inf, np.inf], 0.1, 3, np.int8), [-128, 127])


def test_scale_and_zero_point_may_differ_per_channel():
    q = quantize([[1.0], [1.0]], [[0.5], [0.25]], [[0], [1]], np.int8)

    np.testing.assert_array_equal(q, [[2], [5]])


def test_int32_values_are_exact():
    assert quantize([123456789.0], 1.0, 0, np.int32) == 123456789


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_preallocated_forms_give_the_same_bits(dtype):
    x = np.random.default_rng(0).normal(0, 3, (3, 257)).astype(np.float32)
    q, real = np.empty((3, 257), dtype), np.empty((3, 257), np.float32)

    Quantizer((3, 257), 0.0311, -5, dtype)(x, q)
    Dequantizer(0.0311, -5)(q, real)

    np.testing.assert_array_equal(q, quantize(x, 0.0311, -5, dtype))
    np.testing.assert_array_equal(real, dequantize(q, 0.0311, -5))
