"""Scales and zero points: zero is exact, what is moved or carried keeps its encoding."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_se.quantized import dequantize, quantize
from quant.c.int8_program import multiplier_of
from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.encoding import (
    DTYPES,
    FLOAT,
    Encoding,
    Precision,
    assign_encodings,
    encode_range,
    encoding_at,
)
from quant.graph.graph import UNIT_RANGE, Graph, Operator, Value
from tests.helpers.small_graphs import constant

bounds = st.floats(-1e4, 1e4, width=32)
INTEGER = [Precision.INT8, Precision.INT16]


@pytest.mark.parametrize("precision", INTEGER)
@settings(deadline=None)
@given(low=bounds, high=bounds)
def test_zero_is_exact_and_the_range_is_covered(precision, low, high):
    low, high = min(low, high), max(low, high)

    encoding = encode_range(low, high, precision)

    stored = [
        quantize(x, encoding.scale, encoding.zero_point, DTYPES[precision]) for x in (0, low, high)
    ]
    zero, *ends = (dequantize(x, encoding.scale, encoding.zero_point) for x in stored)
    assert zero == 0
    np.testing.assert_allclose(ends, [low, high], atol=1.01 * encoding.scale)


@settings(deadline=None)
@given(high=bounds)
def test_16_bit_encodings_are_symmetric(high):
    assert encode_range(0, high, Precision.INT16).zero_point == 0


@pytest.mark.parametrize(
    ("low", "high", "precision", "expected"),
    [
        (0.0, 255 / 256, Precision.INT8, Encoding(Precision.INT8, 1 / 256, -128)),
        (*UNIT_RANGE, Precision.INT8, Encoding(Precision.INT8, 1 / 128, 0)),
        (*UNIT_RANGE, Precision.INT16, Encoding(Precision.INT16, 1 / 32768, 0)),
        (0.0, 255 / 256, Precision.INT16, Encoding(Precision.INT16, 1 / 32768, 0)),
        (-2.0, 32767 / 16384, Precision.INT16, Encoding(Precision.INT16, 2 / 32767, 0)),
        (-1.0, 3.0, Precision.FLOAT, FLOAT),
        (-1.0, 3.0, Precision.DYNAMIC, FLOAT),
    ],
)
def test_known_encodings(low, high, precision, expected):
    encoding = encode_range(low, high, precision)

    assert (encoding.precision, encoding.zero_point) == (expected.precision, expected.zero_point)
    assert encoding.scale == pytest.approx(expected.scale, rel=1e-6)


def test_range_of_an_encoding():
    assert Encoding(Precision.INT8, 0.5, -28).range == (-50.0, 77.5)


@pytest.fixture
def graph() -> Graph:
    """x -> linear -> recurrence and history -> moves -> linear."""
    graph = Graph()
    x = graph.input("x", (4, 8))
    memory = graph.recurrent_state("memory", (4, 8))
    mixed = ops.linear(graph, x, constant(8, 8), None, "mixed")
    opened = ops.sigmoid(graph, ops.add(graph, mixed, memory, "sum"), "gate")
    after = ops.multiply(graph, ops.tanh(graph, mixed, "candidate"), opened, "after")
    graph.carry(memory, after)
    image = ops.reshape(graph, after, (1, 1, 4, 8), "image")
    window = histories.history(graph, image, 2, "cache")
    half = ops.slice(graph, window, (0, 0, 0, 0), (1, 3, 4, 4), "half")
    rows = ops.reshape(graph, half, (6, 8), "rows")
    graph.output(ops.linear(graph, rows, constant(3, 8), None, "last"))
    return graph


RANGES = {"x": (-4.0, 4.0), "mixed": (-8.0, 2.0), "sum": (-9.0, 3.0), "last": (-1.0, 1.0)}


def by_name(encodings):
    return {value.name: encoding for value, encoding in encodings.items()}


@pytest.mark.parametrize("precision", INTEGER)
def test_states_have_one_encoding_in_and_out(graph, precision):
    encodings = assign_encodings(graph, lambda _: precision, RANGES, precision)

    for state in graph.states:
        assert encodings[state.input] == encodings[state.output]


@pytest.mark.parametrize("precision", INTEGER)
def test_what_is_only_moved_keeps_its_encoding(graph, precision):
    encodings = by_name(assign_encodings(graph, lambda _: precision, RANGES, precision))

    moved = ["image", "cache", "cache.window", "cache.next", "half", "rows"]
    assert {encodings[name] for name in moved} == {encodings["after"]}


def test_gates_candidates_and_memories_have_fixed_scales(graph):
    encodings = by_name(assign_encodings(graph, lambda _: Precision.INT8, RANGES, Precision.INT8))

    assert encodings["gate"] == Encoding(Precision.INT8, 1 / 256, -128)
    assert encodings["candidate"] == encodings["memory"] == Encoding(Precision.INT8, 1 / 128, 0)


def squashed() -> tuple[Graph, dict[str, Value]]:
    """x -> linear -> moved -> tanh; and a sum that a tanh reads, and a gate."""
    graph = Graph()
    x = graph.input("x", (4, 8))
    own = ops.linear(graph, x, constant(8, 8), None, "own")
    moved = ops.transpose(graph, own, (1, 0), "moved")
    graph.output(ops.tanh(graph, moved, "squashed"))
    shared = ops.add(graph, x, x, "shared")
    graph.output(
        ops.multiply(
            graph, ops.tanh(graph, shared, "both"), ops.sigmoid(graph, shared, "gate"), "gated"
        )
    )
    return graph, {value.name: value for value in (own, moved, shared)}


WIDE = {"x": (-4.0, 4.0), "own": (-1.0, 9.0), "shared": (-8.0, 8.0), "gated": (-1.0, 1.0)}


def test_what_only_a_tanh_reads_has_no_room_beyond_its_last_step():
    graph, values = squashed()

    encodings = assign_encodings(graph, lambda _: Precision.INT8, WIDE, Precision.INT8)

    assert encodings[values["own"]] == encodings[values["moved"]]
    assert encodings[values["own"]] == encode_range(-1.0, math.atanh(127 / 128), Precision.INT8)
    assert encodings[values["shared"]] == encode_range(-8.0, 8.0, Precision.INT8)


def test_a_tanh_in_finer_precision_hears_everything():
    graph, values = squashed()

    def choose(operator: Operator) -> Precision:
        return Precision.FLOAT if operator.kind == "tanh" else Precision.INT8

    mixed = assign_encodings(graph, choose, WIDE, Precision.INT8)
    finer = assign_encodings(graph, lambda _: Precision.INT16, WIDE, Precision.INT16)

    assert mixed[values["own"]] == encode_range(-1.0, 9.0, Precision.INT8)
    assert finer[values["own"]] == encode_range(-1.0, 9.0, Precision.INT16)


def test_parts_of_a_mixed_concatenation_keep_their_encodings():
    graph = Graph()
    small, large = graph.input("small", (1, 4)), graph.input("large", (1, 4))
    joined = ops.concat(graph, [small, large], 1, "joined", mixed=True)
    graph.output(joined)
    ranges = {"small": (-1.0, 1.0), "large": (-50.0, 50.0), "joined": (-40.0, 40.0)}

    encodings = assign_encodings(graph, lambda _: Precision.INT8, ranges, Precision.INT8)

    scales = [encodings[value].scale for value in (small, large, joined)]
    assert scales == pytest.approx([2 / 255, 100 / 255, 80 / 255])


def test_parts_of_a_concatenation_share_the_widest_range():
    graph = Graph()
    small, large = graph.input("small", (1, 4)), graph.input("large", (1, 4))
    joined = ops.concat(graph, [small, large], 1, "joined")
    graph.output(joined)
    ranges = {"small": (-9.0, 1.0), "large": (-5.0, 50.0)}

    encodings = assign_encodings(graph, lambda _: Precision.INT8, ranges, Precision.INT8)

    assert encodings[small] == encodings[large] == encodings[joined]
    assert encodings[joined].scale == pytest.approx(59 / 255)


def test_values_that_share_an_encoding_take_the_finest_precision(graph):
    def choose(operator):
        return Precision.INT16 if operator.scope == "after" else Precision.INT8

    encodings = by_name(assign_encodings(graph, choose, RANGES, Precision.INT8))

    finer = {name for name, e in encodings.items() if e.precision is Precision.INT16}
    assert finer == {
        *("after", "memory", "image", "cache", "cache.window", "cache.next", "half", "rows")
    }


def test_repeated_steps_share_a_range():
    graph = Graph()
    x = graph.input("x", (1, 4))
    for row in range(3):
        with graph.scope("row", repeated=row):
            x = ops.linear(graph, x, constant(4, 4), None, "y")
    graph.output(x)

    encodings = assign_encodings(
        graph, lambda _: Precision.INT8, {"x": (-1, 1), "row.y": (-3, 3)}, Precision.INT8
    )

    steps = {encodings[operator.outputs[0]] for operator in graph.operators}
    assert len(steps) == 1


def test_a_missing_range_is_named(graph):
    with pytest.raises(KeyError, match="mixed"):
        assign_encodings(graph, lambda _: Precision.INT8, {"x": (-1, 1)}, Precision.INT8)


def test_floats_need_no_ranges(graph):
    encodings = assign_encodings(graph, lambda _: Precision.DYNAMIC, {}, Precision.DYNAMIC)

    assert set(encodings.values()) == {FLOAT}


def test_every_value_that_is_no_constant_is_encoded(graph):
    encodings = assign_encodings(graph, lambda _: Precision.FLOAT, {}, Precision.FLOAT)

    values = {v for op in graph.operators for v in (*op.inputs, *op.outputs)}
    assert set(encodings) == {value for value in values if value.constant is None}


def test_runtimes_multiply_8_bit_products_by_one_factor():
    """Whether they divide scales as floats, as LiteRT does, or in double, as TFLite Micro does."""
    graph, ranges = Graph(), dict[str, tuple[float, float]]()
    for index in range(40):
        x = graph.input(f"x{index}", (1, 4))
        squared = ops.multiply(graph, x, x, f"squared{index}")
        factor = graph.constant(constant(1, 4, seed=index), f"by{index}")
        graph.output(ops.multiply(graph, squared, factor, f"y{index}"))
        ranges |= {f"x{index}": (-3.0, 3 + index / 7), f"squared{index}": (0.0, 9.1 + index)}
        ranges[f"y{index}"] = (-20.0, 21.3)

    encodings = assign_encodings(graph, lambda _: Precision.INT8, ranges, Precision.INT8)

    for operator in graph.operators:
        a, b = (encoding_at(v, encodings, Precision.INT8).scale for v in operator.inputs)
        result = encodings[operator.outputs[0]].scale
        in_float = np.float32(a) * np.float32(b) / np.float32(result)
        assert multiplier_of(float(in_float)) == multiplier_of(a * b / result)
        low, high = ranges[operator.scope]
        assert result == pytest.approx(encode_range(low, high, Precision.INT8).scale, rel=1e-3)
