"""The flatbuffer: equal things stored once, inner ones unnamed, conversions between precisions."""

import collections

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.execute import run_step
from quant.graph.graph import Graph
from quant.graph.operators.weighted import weight_scales
from quant.graph.simulate import FakeQuantizer
from quant.graph.tflite import write_tflite
from tests.helpers.running import run_tflite
from tests.helpers.small_graphs import constant, one_operator, random_inputs

NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
RANGES = dict.fromkeys(("x", "first", "second", "last", "y"), (-6.0, 6.0))


@pytest.fixture
def chain() -> Graph:
    """Three linear operators with the same weight, and states of both kinds."""
    graph = Graph()
    x = graph.input("x", (4, 8))
    for name in ("first", "second", "last"):
        x = ops.linear(graph, x, 0.3 * constant(8, 8), constant(8), name)
    memory = graph.recurrent_state("memory", (4, 8))
    after = ops.multiply(graph, ops.tanh(graph, x, "candidate"), memory, "after")
    graph.carry(memory, after)
    window = histories.history(graph, ops.reshape(graph, x, (1, 1, 4, 8), "image"), 2, "cache")
    graph.output(ops.slice(graph, window, (0, 0, 0, 0), (1, 1, 4, 8), "oldest"))
    return graph


def write(graph, choose, signals=Precision.INT8, ranges=RANGES):
    return write_tflite(graph, assign_encodings(graph, choose, ranges, signals), choose)


def everywhere(precision):
    return lambda operator: precision


def subgraph_of(written):
    model = schema.Model.GetRootAs(written.content, 0)
    return model, model.Subgraphs(0)


def operators_of(written) -> collections.Counter:
    model, subgraph = subgraph_of(written)
    codes = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]
    return collections.Counter(
        NAMES[codes[subgraph.Operators(i).OpcodeIndex()]] for i in range(subgraph.OperatorsLength())
    )


@pytest.mark.parametrize("precision", Precision)
def test_file_is_reproducible(chain, precision):
    first, second = (write(chain, everywhere(precision), precision).content for _ in range(2))

    assert first == second


@pytest.mark.parametrize("precision", Precision)
def test_one_operator_of_the_file_per_operator_of_the_graph(chain, precision):
    written = write(chain, everywhere(precision), precision)

    expected = collections.Counter(operator.rule.builtin for operator in chain.operators)
    assert operators_of(written) == expected


def test_only_signals_and_states_are_named(chain):
    _, subgraph = subgraph_of(write(chain, everywhere(Precision.INT8)))

    tensors = [subgraph.Tensors(index) for index in range(subgraph.TensorsLength())]
    names = [tensor.Name().decode() for tensor in tensors if tensor.Name()]
    assert sorted(names) == ["after", "cache", "cache.next", "memory", "oldest", "x"]


def test_values_are_found_where_the_writer_says(chain):
    written = write(chain, everywhere(Precision.INT8))
    interpreter = Interpreter(model_content=written.content, num_threads=1)

    found = {
        detail["name"]: detail["index"]
        for detail in (*interpreter.get_input_details(), *interpreter.get_output_details())
    }
    assert found == {value.name: index for value, index in written.tensors.items()}


def contents_of(model) -> list[bytes]:
    contents = [model.Buffers(i).DataAsNumpy() for i in range(model.BuffersLength())]
    return [content.tobytes() for content in contents if isinstance(content, np.ndarray)]


@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.INT8])
def test_equal_weights_are_stored_once(chain, precision):
    model, _ = subgraph_of(write(chain, everywhere(precision), precision))

    stored = contents_of(model)
    size = 64 * (4 if precision is Precision.FLOAT else 1)
    assert len(stored) == len(set(stored))
    assert [len(content) for content in stored].count(size) == 1


def test_equal_weights_of_different_shapes_are_stored_once():
    graph = Graph()
    x, weight = graph.input("x", (1, 8)), constant(4, 8)
    ops.linear(graph, x, weight, None, "narrow")
    graph.output(
        ops.linear(graph, ops.reshape(graph, x, (2, 4), "rows"), weight.view(8, 4), None, "wide")
    )

    model, _ = subgraph_of(write(graph, everywhere(Precision.FLOAT), Precision.FLOAT))

    assert contents_of(model).count(weight.numpy().tobytes()) == 1


def test_equal_quantization_tables_are_stored_once(chain):
    _, subgraph = subgraph_of(write(chain, everywhere(Precision.INT8)))

    tensors = (subgraph.Tensors(index) for index in range(subgraph.TensorsLength()))
    tables = [table for tensor in tensors if (table := tensor.Quantization()) is not None]
    contents = {
        (table.ScaleAsNumpy().tobytes(), table.ZeroPointAsNumpy().tobytes()) for table in tables
    }
    assert len({table._tab.Pos for table in tables}) == len(contents) < len(tables)


def test_contents_of_buffers_are_aligned(chain):
    written = write(chain, everywhere(Precision.FLOAT), Precision.FLOAT)
    model, _ = subgraph_of(written)

    buffers = (model.Buffers(index) for index in range(model.BuffersLength()))
    fields = [
        buffer._tab.Offset(4) and buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers
    ]
    assert all(start % 16 == 0 for start in fields)


def three_precisions(operator):
    """8 bits, then 16, then 8 again, then float."""
    finer = {"second": Precision.INT16, "y": Precision.FLOAT}
    return finer.get(operator.scope, Precision.INT8)


@pytest.fixture
def mixed() -> Graph:
    graph = Graph()
    x = graph.input("x", (4, 8))
    for name in ("first", "second", "last", "y"):
        x = ops.linear(graph, x, 0.3 * constant(8, 8), constant(8), name)
    graph.output(x)
    return graph


def test_conversions_are_written_where_precisions_meet(mixed):
    operators = operators_of(write(mixed, three_precisions))

    assert operators == {"FULLY_CONNECTED": 4, "QUANTIZE": 2, "DEQUANTIZE": 1}


def test_mixed_precisions_compute_what_their_simulation_does(mixed):
    encodings = assign_encodings(mixed, three_precisions, RANGES, Precision.INT8)
    written = write_tflite(mixed, encodings, three_precisions)
    inputs = random_inputs(mixed)

    (result,) = run_tflite(written, {v: t.numpy() for v, t in inputs.items()}, mixed.outputs)

    named = {value.name: tensor[None] for value, tensor in inputs.items()}
    (expected,), _ = run_step(mixed, named, {}, FakeQuantizer(mixed, encodings, three_precisions))
    # The second value is rounded to 8 bits once more where the third operator reads it.
    np.testing.assert_allclose(result, expected[0], atol=3 * 12 / 255)


def test_a_value_is_converted_once_for_all_its_readers():
    graph = Graph()
    x = graph.input("x", (1, 8))
    a, b = ops.tanh(graph, x, "a"), ops.sigmoid(graph, x, "b")
    graph.output(ops.multiply(graph, a, b, "y"))

    operators = operators_of(write(graph, everywhere(Precision.FLOAT)))

    assert operators["DEQUANTIZE"] == 1


def test_parts_of_a_mixed_concatenation_are_requantized():
    graph = Graph()
    small, large = graph.input("small", (1, 4)), graph.input("large", (1, 4))
    graph.output(ops.concat(graph, [small, large], 1, "joined", mixed=True))
    ranges = {"small": (-1.0, 1.0), "large": (-50.0, 50.0), "joined": (-50.0, 50.0)}

    written = write(graph, everywhere(Precision.INT8), ranges=ranges)

    assert operators_of(written) == {"QUANTIZE": 1, "CONCATENATION": 1}
    inputs = {
        small: np.array([[1, -1, 0.5, 0]], np.float32),
        large: np.array([[50, -50, 25, 0]], np.float32),
    }
    (result,) = run_tflite(written, inputs, graph.outputs)
    np.testing.assert_allclose(result, [[1, -1, 0.5, 0, 50, -50, 25, 0]], atol=0.3)


def test_an_integer_operator_can_not_read_a_float_without_range():
    graph = Graph()
    x = ops.tanh(graph, graph.input("x", (1, 8)), "first")
    graph.output(ops.leaky_relu(graph, x, torch.tensor(0.1), "y"))

    def choose(operator):
        return Precision.FLOAT if operator.scope == "first" else Precision.INT8

    with pytest.raises(ValueError, match="first is float and has no range"):
        write(graph, choose, ranges={"x": (-1.0, 1.0), "y": (-1.0, 1.0)})


def test_weights_have_a_scale_per_output_channel():
    weight = np.array([[127.0, 1.0], [0.0, -1.27]], np.float32)

    np.testing.assert_allclose(weight_scales(weight, 0), [1.0, 0.01])
    np.testing.assert_allclose(weight_scales(weight, 1), [1.0, 0.01])


def test_a_channel_of_zero_weights_keeps_its_bias():
    graph = Graph()
    weight = torch.stack([torch.zeros(8), constant(8)])
    graph.output(ops.linear(graph, graph.input("x", (1, 8)), weight, torch.tensor([5.0, 0.0]), "y"))

    written = write(graph, everywhere(Precision.INT8))

    (result,) = run_tflite(written, {graph.inputs[0]: np.ones((1, 8), np.float32)}, graph.outputs)
    assert result[0, 0] == pytest.approx(5.0, abs=6 / 255)


def test_dilated_depthwise_asks_for_a_kernel_that_knows_dilation():
    written = write(one_operator("depthwise"), everywhere(Precision.FLOAT), Precision.FLOAT)
    model, _ = subgraph_of(written)

    codes = [model.OperatorCodes(index) for index in range(model.OperatorCodesLength())]
    versions = {NAMES[code.BuiltinCode()]: code.Version() for code in codes}
    assert versions["DEPTHWISE_CONV_2D"] == 2


def options_of(written, kind: str, table: str) -> list:
    """Inputs and options of every operator of a kind."""
    model, subgraph = subgraph_of(written)
    found = []
    for index in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(index)
        if NAMES[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()] == kind:
            options, given = getattr(schema, table)(), operator.BuiltinOptions()
            options.Init(given.Bytes, given.Pos)
            found.append((operator.InputsAsNumpy(), options))
    return found


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize(("count", "operators"), [(5, 1), (6, 2), (9, 2), (10, 3), (33, 8)])
def test_wide_concatenations_are_written_in_groups(count, operators, precision):
    """Of five at most, as XNNPACK takes them, and no more of them than it needs."""
    graph = Graph()
    parts = [graph.input(f"x{index}", (1, 4)) for index in range(count)]
    graph.output(ops.concat(graph, parts, 0, "joined"))
    ranges = {value.name: (-4.0, 4.0) for value in parts}

    written = write(graph, everywhere(precision), precision, ranges)

    groups = [inputs for inputs, _ in options_of(written, "CONCATENATION", "ConcatenationOptions")]
    assert len(groups) == operators and max(map(len, groups)) <= 5
    steps = {v: np.full((1, 4), i - count // 2, np.float32) for i, v in enumerate(parts)}
    scale = max(
        assign_encodings(graph, everywhere(precision), ranges, precision)[parts[0]].scale, 1 / 32
    )
    (result,) = run_tflite(
        written, {v: np.float32(scale) * x for v, x in steps.items()}, graph.outputs
    )
    np.testing.assert_allclose(result, scale * np.concatenate(list(steps.values())), rtol=1e-3)


@pytest.mark.parametrize("precision", Precision)
def test_reversing_moves_every_value_as_it_is(precision):
    """By matrices, as no other operator does that all runtimes have; exactly, also the ends."""
    graph, shape = Graph(), (1, 1, 33, 16)
    x = graph.input("x", shape)
    graph.output(ops.reverse(graph, x, 2, "reversed"))
    encodings = assign_encodings(graph, everywhere(precision), {"x": (-4.0, 4.0)}, precision)
    low, high = (-4.0, 4.0) if encodings[x].scale == 0 else encodings[x].range
    given = np.linspace(low, high, 33 * 16, dtype=np.float32).reshape(shape)
    straight = Graph()
    same = straight.input("x", shape)
    straight.output(ops.reshape(straight, same, shape, "same"))

    written = write(graph, everywhere(precision), precision, {"x": (-4.0, 4.0)})
    moved = write(straight, everywhere(precision), precision, {"x": (-4.0, 4.0)})

    (result,) = run_tflite(written, {x: given}, graph.outputs)
    (expected,) = run_tflite(moved, {same: given}, straight.outputs)
    np.testing.assert_array_equal(result, expected[:, :, ::-1])
    assert "REVERSE_V2" not in operators_of(written)


def test_joined_rows_are_reversed_by_joining_them_the_other_way_round():
    """A third of the instructions of a matrix that does the same."""
    graph = Graph()
    rows = [ops.tanh(graph, graph.input(f"x{index}", (1, 4)), f"row{index}") for index in range(3)]
    joined = ops.concat(graph, rows, 0, "joined")

    reversed_ = ops.reverse(graph, joined, 0, "reversed")

    assert graph.operators[-1].inputs == tuple(rows[::-1])
    assert graph.operators[-1].outputs == (reversed_,)


@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.INT8, Precision.INT16])
@pytest.mark.parametrize("dilation", [1, 2, 5, 9])
def test_convolutions_over_history_take_no_long_strides(dilation, precision):
    """Ethos-U's are of three at most; what is computed is what a stride over all rows gives."""
    graph = Graph()
    window = graph.input("x", (1, 2 * dilation + 1, 9, 4))
    weight, bias = constant(1, 3, 3, 4), constant(4, seed=1)
    graph.output(ops.depthwise_over_history(graph, window, weight, bias, dilation, "y"))
    given = random_inputs(graph)
    ranges = {"x": (-4.0, 4.0), "y": (-20.0, 20.0)}

    written = write(graph, everywhere(precision), precision, ranges)

    ((_, options),) = options_of(written, "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions")
    assert options.StrideH() <= 3 and options.StrideW() == 1
    encodings = assign_encodings(graph, everywhere(precision), ranges, precision)
    simulation = FakeQuantizer(graph, encodings, everywhere(precision))
    (expected,), _ = run_step(graph, {"x": given[window][None]}, {}, simulation)
    (result,) = run_tflite(written, {window: given[window].numpy()}, graph.outputs)
    np.testing.assert_allclose(
        result, expected[0], atol=1.01 * encodings[graph.outputs[0]].scale + 1e-4
    )


@pytest.mark.parametrize("slope", [0.0005, -0.0005, 0.3])
def test_no_leaky_relu_is_too_flat_to_be_accelerated(slope):
    graph = Graph()
    x = graph.input("x", (6, 8))
    graph.output(ops.leaky_relu(graph, x, torch.tensor(slope), "y"))
    encodings = assign_encodings(
        graph, everywhere(Precision.INT8), {"x": (-6.0, 6.0), "y": (-0.1, 6.0)}, Precision.INT8
    )
    written = write_tflite(graph, encodings, everywhere(Precision.INT8))

    (result,), given = graph.outputs, encodings[x]
    _, subgraph = subgraph_of(written)
    options = schema.LeakyReluOptions()
    table = subgraph.Operators(subgraph.OperatorsLength() - 1).BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    ratio = options.Alpha() * given.scale / encodings[result].scale
    assert abs(ratio) >= 1 / 256 and np.sign(ratio) == np.sign(slope)
    if abs(slope) > 0.01:
        assert options.Alpha() == pytest.approx(slope)
    # The lowest value of all still lands within a step of where it belongs.
    lowest = -128 - given.zero_point
    assert abs(lowest * ratio - lowest * slope * given.scale / encodings[result].scale) < 1
