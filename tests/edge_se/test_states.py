from dataclasses import replace

import numpy as np
import pytest

from edge_se.manifest import StateSpec
from edge_se.states import StateCache

FLOAT = StateSpec("float.cache", (2, 3), "float32", 0.0, 0, 0.5, 1, 2)
INT8 = StateSpec("int8.cache", (4,), "int8", 0.25, -3, 0.5, 3, 4)
INT16 = StateSpec("int16.cache", (4,), "int16", 2.0**-15, 0, 0.0, 5, 6)
SPECS = (FLOAT, INT8, INT16)


@pytest.fixture
def outputs() -> list[np.ndarray]:
    return [np.zeros(spec.shape, spec.dtype) for spec in SPECS]


@pytest.fixture
def cache(outputs) -> StateCache:
    return StateCache(SPECS, [np.ones(spec.shape, spec.dtype) for spec in SPECS], outputs)


def test_states_start_from_their_reset_value(cache):
    assert {name: float(cache[name].flat[0]) for name in cache} == {
        "float.cache": 0.5,
        "int8.cache": 0.5,
        "int16.cache": 0.0,
    }


def test_the_reset_value_is_quantized(cache):
    np.testing.assert_array_equal(cache.raw("int8.cache"), np.full(4, -1, np.int8))


def test_carrying_passes_raw_values(cache, outputs):
    outputs[1][...] = [-128, -1, 0, 127]

    cache.carry()

    np.testing.assert_array_equal(cache.raw("int8.cache"), [-128, -1, 0, 127])


def test_states_read_as_real_values(cache, outputs):
    outputs[1][...] = [-128, -3, 1, 127]

    cache.carry()

    np.testing.assert_array_equal(cache["int8.cache"], [-31.25, 0, 1, 32.5])


def test_reading_a_state_gives_a_copy(cache):
    cache["float.cache"][...] = 9

    np.testing.assert_array_equal(cache["float.cache"], np.full((2, 3), 0.5))


def test_saturated_values_are_counted(cache, outputs):
    outputs[1][...] = [-128, 0, 127, 127]
    outputs[2][...] = [32767, 0, 0, 0]

    cache.carry()

    assert cache.saturated() == {"float.cache": 0, "int8.cache": 3, "int16.cache": 1}


def test_an_end_that_stands_for_zero_is_no_saturation():
    spec = replace(SPECS[1], zero_point=-128, reset_value=0.0)
    inputs, outputs = ([np.zeros(spec.shape, spec.dtype)] for _ in range(2))
    cache = StateCache([spec], inputs, outputs)
    outputs[0][...] = [-128, -128, 0, 127]

    cache.carry()

    assert cache.saturated() == {spec.name: 1}


def test_reset_forgets_what_was_carried(cache, outputs):
    outputs[0][...] = 7
    cache.carry()

    cache.reset()

    np.testing.assert_array_equal(cache["float.cache"], np.full((2, 3), 0.5))
