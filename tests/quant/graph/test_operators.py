"""Every kind of operator computes the same in torch, TFLite and ONNX."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edge_se.manifest import BandMerging
from quant.graph import operators as ops
from quant.graph.encoding import FLOAT, Precision, assign_encodings
from quant.graph.execute import run_step
from quant.graph.graph import Graph
from quant.graph.kinds import KINDS
from quant.graph.onnx import write_onnx
from quant.graph.simulate import FakeQuantizer
from quant.graph.tflite import write_tflite
from tests.helpers.running import run_tflite
from tests.helpers.small_graphs import BUILDERS, constant, one_operator, random_inputs

# TFLite's 16-bit tanh and reciprocal root interpolate in tables; whatever else computes is off by
# one step at most.
STEPS_OFF = {
    ("tanh", Precision.INT16): 2,
    ("reciprocal_root", Precision.INT16): 80,
    # Interpolated values are rounded, which the simulation leaves out; those of 16 bits at
    # positions in 10-bit fixed point.
    ("resize", Precision.INT8): 1,
    ("resize", Precision.INT16): 64,
}
DYNAMIC_KINDS = [name for name, kind in KINDS.items() if kind.dynamic]
INTEGER_KINDS = [n for n, kind in KINDS.items() if not (kind.float_only or kind.outside)]


def run_torch(graph, inputs, hook=lambda value, tensor: tensor):
    named = {value.name: tensor[None] for value, tensor in inputs.items()}
    with torch.no_grad():
        outputs, _ = run_step(graph, named, {}, hook)
    return [output[0].numpy() for output in outputs]


def run_written(graph, inputs, encodings, precision):
    written = write_tflite(graph, encodings, lambda operator: precision)
    given = {value: tensor.numpy() for value, tensor in inputs.items()}
    return run_tflite(written, given, graph.outputs)


def observed_ranges(graph: Graph, inputs) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of every tensor for these inputs."""
    ranges = {}

    def observe(value, tensor):
        ranges[value.range_key] = (float(tensor.min()), float(tensor.max()))
        return tensor

    run_torch(graph, inputs, observe)
    return ranges


def test_every_kind_is_tested():
    assert set(BUILDERS) == {name for name, kind in KINDS.items() if not kind.outside}


def test_a_file_of_bands_is_fed_both_their_parts():
    bands = BandMerging(2.0, 4, 2, (2, 3), ((32768, 16384), (16384, 32768, 65536)))
    graph = Graph()
    x = graph.input("x", (2, 6))
    parts = ops.bands_in_parts(graph, x, bands, "parts")
    graph.output(ops.leaky_relu(graph, parts, torch.tensor(0.5), "y"))
    values = torch.tensor([[0.3, -9.0, 2.2, 0.5, 6.0, 1.0], [0.1, 0.2, 0.3, 0.4, 0.5, -0.6]])
    encodings = assign_encodings(
        graph,
        lambda _: Precision.INT8,
        {"x": (-9, 9), "parts": (-2, 5), "y": (-1, 5)},
        Precision.INT8,
    )

    written = write_tflite(graph, encodings, lambda _: Precision.INT8)
    simulated = run_torch(
        graph, {x: values}, FakeQuantizer(graph, encodings, lambda _: Precision.INT8)
    )

    fed = np.array(
        [
            [0.3, -2.0, 2.0 + 0.25, 0.25 + 2.0 + 2.0],
            [0.1, 0.2, 0.3 + 0.2, 0.2 + 0.5 - 1.2],
            [0.0, -7 / 4, 0.2 / 4, 4 / 4],
            [0.0, 0.0, 0.0, 0.0],
        ],
        np.float32,
    )
    (result,) = run_tflite(written, {parts: fed}, graph.outputs)
    scale = encodings[graph.outputs[0]].scale
    assert (graph.fed, graph.bands) == ([parts], bands)
    assert np.abs(result - simulated[0]).max() <= 1.01 * scale
    assert np.abs(result - np.where(fed > 0, fed, fed / 2)).max() <= 2 * scale


@pytest.mark.parametrize("kind", BUILDERS)
def test_float_tflite_equals_torch(kind):
    graph = one_operator(kind)
    inputs = random_inputs(graph, kind)
    encodings = assign_encodings(graph, lambda _: Precision.FLOAT, {}, Precision.FLOAT)

    results = run_written(graph, inputs, encodings, Precision.FLOAT)

    for result, expected in zip(results, run_torch(graph, inputs), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("kind", BUILDERS)
def test_onnx_equals_torch(kind):
    graph = one_operator(kind)
    inputs = random_inputs(graph, kind)
    model = write_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    results = session.run(None, {value.name: t.numpy() for value, t in inputs.items()})

    for result, expected in zip(results, run_torch(graph, inputs), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT16])
@pytest.mark.parametrize("kind", INTEGER_KINDS)
def test_integer_tflite_equals_its_simulation(kind, precision):
    graph = one_operator(kind)
    inputs = random_inputs(graph, kind)
    ranges = observed_ranges(graph, inputs)
    encodings = assign_encodings(graph, lambda _: precision, ranges, precision)
    simulation = FakeQuantizer(graph, encodings, lambda _: precision)

    results = run_written(graph, inputs, encodings, precision)

    expected = run_torch(graph, inputs, simulation)
    most = STEPS_OFF.get((kind, precision), 0 if KINDS[kind].passes_through else 1)
    for value, result, simulated in zip(graph.outputs, results, expected, strict=True):
        steps = np.abs(result - simulated) / encodings[value].scale
        assert steps.max() <= most + 0.01
        assert steps.mean() <= most / 2 + 0.01


@pytest.mark.parametrize("kind", BUILDERS)
def test_simulation_is_close_to_float(kind):
    graph = one_operator(kind)
    inputs = random_inputs(graph, kind)
    ranges = observed_ranges(graph, inputs)
    encodings = assign_encodings(graph, lambda _: Precision.INT8, ranges, Precision.INT8)

    simulated = run_torch(graph, inputs, FakeQuantizer(graph, encodings, lambda _: Precision.INT8))

    for value, result in zip(run_torch(graph, inputs), simulated, strict=True):
        assert np.abs(value - result).max() < 0.05 * np.abs(value).max()


@pytest.mark.parametrize("kind", DYNAMIC_KINDS)
def test_dynamic_tflite_equals_rounded_weights(kind):
    graph = one_operator(kind)
    inputs = random_inputs(graph)
    encodings = dict.fromkeys([*graph.inputs, *graph.outputs], FLOAT)
    simulation = FakeQuantizer(graph, encodings, lambda _: Precision.DYNAMIC)

    (result,) = run_written(graph, inputs, encodings, Precision.DYNAMIC)

    (expected,) = run_torch(graph, inputs, simulation)
    # The activations, too, are rounded to 8 bits on the fly.
    assert np.abs(result - expected).max() < 0.02 * np.abs(expected).max()
    (exact,) = run_torch(graph, inputs)
    assert np.abs(result - exact).max() > 1e-4


def test_float_only_kinds_stay_float_in_an_integer_graph():
    graph = one_operator("lstm")
    encodings = assign_encodings(graph, lambda _: Precision.INT8, {"x": (-4, 4)}, Precision.INT8)
    assert encodings[graph.outputs[0]].precision is Precision.FLOAT


@pytest.mark.parametrize(("taps", "stride", "dilation"), [(3, 2, (1, 1)), (3, 1, (4, 2))])
def test_image_convolution_pads_as_torch_does(taps, stride, dilation):
    graph = Graph()
    x = graph.input("x", (1, 12, 16, 3))
    weight, bias = constant(5, taps, taps, 3), constant(5, seed=1)
    graph.output(
        ops.image_convolution(graph, x, weight, bias, "result", stride, dilation, rectified=True)
    )
    inputs = random_inputs(graph)
    encodings = assign_encodings(graph, lambda _: Precision.FLOAT, {}, Precision.FLOAT)

    (result,) = run_written(graph, inputs, encodings, Precision.FLOAT)

    given = inputs[x].permute(0, 3, 1, 2)
    kernel = weight.permute(0, 3, 1, 2)
    expected = torch.relu(torch.conv2d(given, kernel, bias, stride, dilation, dilation))
    np.testing.assert_allclose(result, expected.permute(0, 2, 3, 1), atol=1e-5)
