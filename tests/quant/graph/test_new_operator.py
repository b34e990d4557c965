"""A new operator is described in one place, and then works everywhere."""

import numpy as np
import onnxruntime
import pytest
import torch

from quant.graph import operators as ops
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.execute import run_step
from quant.graph.graph import Graph, Value
from quant.graph.kinds import KINDS, Kind, register
from quant.graph.onnx import write_onnx
from quant.graph.scale_classes import ScaleClasses
from quant.graph.simulate import FakeQuantizer
from quant.graph.tflite import write_tflite
from quant.ptq.equalization import equalize
from tests.helpers.running import run_tflite
from tests.helpers.small_graphs import constant, random_inputs

ABSOLUTE = Kind(
    "absolute",
    "ABS",
    run=lambda _, inputs: [inputs[0].abs()],
    options="AbsOptions",
    onnx=lambda writer, operator: writer.emit("Abs", operator),
    scale=lambda classes, operator, given: given,  # scales are positive
)


def absolute(graph: Graph, x: Value, name: str) -> Value:
    return graph.append("absolute", [x], [x.shape], name)[0]


@pytest.fixture
def graph():
    register(ABSOLUTE)
    graph = Graph()
    hidden = ops.linear(graph, graph.input("x", (3, 8)), constant(6, 8), constant(6), "hidden")
    size = absolute(graph, hidden, "size")
    graph.output(ops.linear(graph, size, constant(4, 6, seed=1), None, "result"))
    yield graph
    del KINDS["absolute"]


def run_torch(graph: Graph, inputs, hook=lambda value, tensor: tensor) -> np.ndarray:
    with torch.no_grad():
        (output,), _ = run_step(graph, {"x": inputs[graph.inputs[0]][None]}, {}, hook)
    return output[0].numpy()


def test_it_runs_in_torch(graph):
    inputs = random_inputs(graph)
    (x,) = inputs.values()

    expected = (x @ constant(6, 8).T + constant(6)).abs() @ constant(4, 6, seed=1).T

    np.testing.assert_allclose(run_torch(graph, inputs), expected, atol=1e-5)


@pytest.mark.parametrize("precision", [Precision.FLOAT, Precision.INT8])
def test_it_runs_in_tflite(graph, precision):
    inputs = random_inputs(graph)
    ranges = {}

    def observe(value, tensor):
        ranges[value.range_key] = (float(tensor.min()), float(tensor.max()))
        return tensor

    run_torch(graph, inputs, observe)
    encodings = assign_encodings(graph, lambda _: precision, ranges, precision)
    simulation = FakeQuantizer(graph, encodings, lambda _: precision)

    written = write_tflite(graph, encodings, lambda _: precision)

    given = {value: tensor.numpy() for value, tensor in inputs.items()}
    (result,) = run_tflite(written, given, graph.outputs)
    # A step of the size that is rounded the other way is a part of one of the result.
    step = 2.01 * encodings[graph.outputs[0]].scale
    np.testing.assert_allclose(result, run_torch(graph, inputs, simulation), atol=step + 1e-5)


def test_it_runs_in_onnx(graph):
    inputs = random_inputs(graph)
    session = onnxruntime.InferenceSession(
        write_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    (result,) = session.run(None, {"x": inputs[graph.inputs[0]].numpy()})

    np.testing.assert_allclose(result, run_torch(graph, inputs), atol=1e-5)


def test_equalization_carries_scales_through_it(graph):
    inputs = random_inputs(graph)
    before = run_torch(graph, inputs)
    hidden, size, _ = (operator.outputs[0] for operator in graph.operators)
    classes = ScaleClasses(graph)
    weight = graph.operators[2].inputs[1]
    unscaled = weight.constant

    equalize(graph, classes, dict.fromkeys(classes.free(), 0.5))

    np.testing.assert_array_equal(classes.of(size).classes, classes.of(hidden).classes)
    assert len(classes.free()) == 6
    torch.testing.assert_close(weight.constant, unscaled / 2)
    np.testing.assert_allclose(run_torch(graph, inputs), before, atol=1e-5)


def test_a_kind_is_registered_once(graph):
    with pytest.raises(ValueError, match="absolute"):
        register(ABSOLUTE)
