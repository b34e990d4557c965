"""Fake quantization rounds what the file stores, and lets gradients through."""

import numpy as np
import pytest
import torch

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.execute import run_sequence, run_step
from quant.graph.graph import UNIT_RANGE, Graph
from quant.graph.kinds import KINDS
from quant.graph.simulate import FakeQuantizer, round_weight
from tests.helpers.running import run_frames
from tests.helpers.small_graphs import constant

RANGES = {"x": (-2.0, 2.0), "y": (-4.0, 4.0)}


def linear_graph(weight, bias=None):
    graph = Graph()
    x = graph.input("x", (1, weight.shape[1]))
    graph.output(ops.linear(graph, x, weight, bias, "y"))
    return graph


def simulate(graph, precision, inputs):
    encodings = assign_encodings(graph, lambda _: precision, RANGES, precision)
    hook = FakeQuantizer(graph, encodings, lambda _: precision)
    return run_step(graph, {"x": inputs}, {}, hook)[0][0]


@pytest.mark.parametrize(
    ("precision", "step"), [(Precision.INT8, 8 / 255), (Precision.INT16, 4 / 32767)]
)
def test_activations_lie_on_the_grid_of_their_encoding(precision, step):
    graph = linear_graph(constant(3, 4))

    result = simulate(graph, precision, torch.randn(50, 1, 4))

    steps = result.numpy() / step
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)


def test_a_tanh_s_input_has_fine_steps_however_far_it_reaches():
    graph = Graph()
    y = ops.linear(graph, graph.input("x", (1, 1)), torch.ones(1, 1), None, "y")
    graph.output(ops.tanh(graph, y, "squashed"))
    inputs = torch.linspace(-40, 40, 20001)[:, None, None]
    ranges = {"x": (-40.0, 40.0), "y": (-40.0, 40.0)}
    encodings = assign_encodings(graph, lambda _: Precision.INT8, ranges, Precision.INT8)
    quantizer = FakeQuantizer(graph, encodings, lambda _: Precision.INT8)

    def hook(value, tensor):  # what comes in is exact
        return quantizer(value, tensor) if value in (y, *graph.outputs) else tensor

    result = run_step(graph, {"x": inputs}, {}, hook)[0][0]

    low, high = KINDS["tanh"].reach
    half_steps = (high - low) / 255 / 2 + 1 / 128 / 2
    assert (result - torch.tanh(inputs)).abs().max() <= half_steps
    assert (result.min(), result.max()) == UNIT_RANGE


def test_float_rounds_nothing():
    graph = linear_graph(constant(3, 4), constant(3))
    inputs = torch.randn(5, 1, 4)

    assert torch.equal(
        simulate(graph, Precision.FLOAT, inputs), run_step(graph, {"x": inputs}, {})[0][0]
    )


def test_dynamic_rounds_weights_only():
    weight = torch.tensor([[1.27, 0.004, 0.006], [12.7, 0.04, 0.06]])
    graph = linear_graph(weight)

    result = simulate(graph, Precision.DYNAMIC, torch.eye(3)[:, None])

    torch.testing.assert_close(result[:, 0].T, torch.tensor([[1.27, 0.0, 0.01], [12.7, 0, 0.1]]))


def test_weights_have_a_scale_per_output_channel():
    graph = Graph()
    window = graph.input("x", (1, 3, 9, 2))
    weight = constant(1, 3, 3, 2) * torch.tensor([1.0, 100.0])
    ops.depthwise_over_history(graph, window, weight, torch.zeros(2), 1, "y")

    rounded = round_weight(weight, graph.operators[0])

    largest = weight.abs().amax(dim=(0, 1, 2))
    assert ((rounded - weight).abs().amax(dim=(0, 1, 2)) <= 0.51 * largest / 127).all()


def test_gradients_pass_through_and_stop_where_values_saturate():
    weight = torch.tensor([[1.0, 0.5]], requires_grad=True)
    inputs = torch.tensor([[1.0, 100.0]], requires_grad=True)

    simulate(linear_graph(weight), Precision.INT8, inputs[None]).sum().backward()

    assert weight.grad is not None and inputs.grad is not None
    torch.testing.assert_close(weight.grad, torch.tensor([[1.0, 2.0]]), atol=0.02, rtol=0)
    torch.testing.assert_close(inputs.grad, torch.tensor([[1.0, 0.0]]))


def test_whole_clips_equal_frame_by_frame_in_integers_too():
    graph = Graph()
    x = graph.input("x", (4, 8))
    memory = graph.recurrent_state("memory", (4, 8))
    mixed = ops.linear(graph, x, constant(8, 8), constant(8), "y")
    after = ops.tanh(graph, ops.add(graph, mixed, memory, "sum"), "after")
    graph.carry(memory, after)
    window = histories.history(graph, ops.reshape(graph, after, (1, 1, 4, 8), "image"), 2, "cache")
    graph.output(ops.slice(graph, window, (0, 0, 0, 0), (1, 1, 4, 8), "oldest"))
    ranges = RANGES | {"sum": (-5.0, 5.0)}
    encodings = assign_encodings(graph, lambda _: Precision.INT8, ranges, Precision.INT8)
    hook = FakeQuantizer(graph, encodings, lambda _: Precision.INT8)
    inputs = torch.randn(2, 15, 4, 8)

    (sequence,) = run_sequence(graph, {"x": inputs}, hook)

    assert torch.equal(sequence, run_frames(graph, inputs, hook))
