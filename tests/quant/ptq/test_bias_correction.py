"""Corrected biases give back the mean output that rounding weights takes away."""

import pytest
import torch

from quant.graph import operators as ops
from quant.graph.encoding import Precision
from quant.graph.execute import run_step
from quant.graph.graph import Graph
from quant.graph.simulate import round_weight
from quant.ptq.bias_correction import correct_biases, rounding_shifts, take_back_shifts
from tests.helpers.small_graphs import BUILDERS, constant, constant_of


def everything(precision):
    return lambda operator: precision


def test_known_answer():
    graph = Graph()
    x = graph.input("x", (1, 2))
    # In steps of 0.01, 0.004 becomes 0, which takes 10 * 0.004 from the mean output.
    graph.output(ops.linear(graph, x, torch.tensor([[1.27, 0.004]]), torch.tensor([0.5]), "y"))

    correct_biases(graph, everything(Precision.INT8), {x: torch.tensor([3.0, 10.0])})

    bias = graph.operators[0].inputs[2].constant
    torch.testing.assert_close(bias, torch.tensor([0.54]))


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT16, Precision.DYNAMIC])
@pytest.mark.parametrize("kind", ["linear", "pointwise", "convolution", "depthwise"])
def test_rounded_weights_have_the_mean_output_of_the_float_ones(kind, precision):
    graph = Graph()
    graph.output(BUILDERS[kind](graph))
    (x,), (operator,) = graph.inputs, graph.operators
    mean = constant(x.shape[-1], seed=5)
    inputs = {"x": mean.expand(1, *x.shape)}
    (expected,), _ = run_step(graph, inputs, {})

    correct_biases(graph, everything(precision), {x: mean})

    weight = operator.inputs[1]
    weight.constant = round_weight(constant_of(weight), operator)
    (result,), _ = run_step(graph, inputs, {})
    padded = kind in ("convolution", "depthwise")
    inside = (..., slice(2, -2), slice(None)) if padded else ...
    torch.testing.assert_close(result[inside], expected[inside], atol=1e-5, rtol=0)


def test_float_operators_keep_their_biases():
    graph = Graph()
    x = graph.input("x", (1, 12))
    graph.output(ops.linear(graph, x, constant(3, 12), constant(3), "y"))

    correct_biases(graph, everything(Precision.FLOAT), {x: torch.ones(12)})

    assert torch.equal(constant_of(graph.operators[0].inputs[2]), constant(3))


def two_linears() -> Graph:
    graph = Graph()
    x = graph.input("x", (1, 2))
    y = ops.linear(graph, x, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2), "y")
    graph.output(ops.linear(graph, y, torch.tensor([[1.0, 10.0]]), torch.zeros(1), "z"))
    return graph


def to_integers(value, tensor):
    """Rounds what is no constant, and saturates at 100."""
    return tensor if value.constant is not None else tensor.round().clamp(max=100)


def test_shifts_are_medians_of_what_rounding_adds_since_the_last_weighted_operator():
    graph = two_linears()
    y = graph.operators[0].outputs[0]
    # A constant of 3.4, but for one frame of five that saturates; and halfway to the next integer.
    frames = torch.tensor([[3.4, 0.3], [3.4, 0.3], [500.0, 0.3], [3.4, 0.3], [3.4, 0.3]])

    shifts = rounding_shifts(graph, to_integers, [frames[None, :, None]])

    torch.testing.assert_close(shifts[y], torch.tensor([-0.4, -0.3]))
    torch.testing.assert_close(shifts[graph.inputs[0]], torch.tensor([-0.4, -0.3]))


def test_a_shift_is_taken_back_by_the_next_bias():
    graph = two_linears()
    y = graph.operators[0].outputs[0]

    take_back_shifts(graph, everything(Precision.INT8), {y: torch.tensor([-0.4, -0.3])})

    first, second = (operator.inputs[2].constant for operator in graph.operators)
    torch.testing.assert_close(first, torch.zeros(2))
    torch.testing.assert_close(second, torch.tensor([0.4 + 10 * 0.3]), rtol=1e-2, atol=0)


def test_shifts_of_batches_count_by_their_frames():
    graph = two_linears()
    many, one = torch.full((1, 3, 1, 2), 0.4), torch.full((1, 1, 1, 2), 0.8)

    shifts = rounding_shifts(graph, to_integers, [many, one])

    expected = torch.full((2,), (3 * -0.4 + 0.2) / 4)
    torch.testing.assert_close(shifts[graph.inputs[0]], expected)


def test_recurrences_over_time_are_left_aside():
    graph = Graph()
    x = graph.input("x", (1, 2))
    before = graph.recurrent_state("state", (1, 2))
    carried = ops.linear(graph, before, torch.eye(2), torch.zeros(2), "carried")
    after = ops.add(graph, x, carried, "after")
    graph.carry(before, after)
    graph.output(ops.linear(graph, after, torch.eye(2), torch.zeros(2), "y"))

    shifts = rounding_shifts(graph, to_integers, [torch.full((1, 4, 1, 2), 0.4)])

    assert set(shifts) == {after}
