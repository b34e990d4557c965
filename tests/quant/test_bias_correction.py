"""Corrected biases give back the mean output that rounding weights takes away."""

import pytest
import torch
from small_graphs import BUILDERS, constant

from quant.bias_correction import correct_biases
from quant.graph.encoding import Precision
from quant.graph.execute import run_step
from quant.graph.graph import Graph
from quant.graph.simulate import round_weight


def everything(precision):
    return lambda operator: precision


def test_known_answer():
    graph = Graph()
    x = graph.input("x", (1, 2))
    # In steps of 0.01, 0.004 becomes 0, which takes 10 * 0.004 from the mean output.
    graph.output(graph.linear(x, torch.tensor([[1.27, 0.004]]), torch.tensor([0.5]), "y"))

    correct_biases(graph, everything(Precision.INT8), {x: torch.tensor([3.0, 10.0])})

    bias = graph.operators[0].inputs[2].constant
    torch.testing.assert_close(bias, torch.tensor([0.54]))


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT16, Precision.DYNAMIC])
@pytest.mark.parametrize("kind", ["linear", "convolution", "depthwise"])
def test_rounded_weights_have_the_mean_output_of_the_float_ones(kind, precision):
    graph = Graph()
    graph.output(BUILDERS[kind](graph))
    (x,), (operator,) = graph.inputs, graph.operators
    mean = constant(x.shape[-1], seed=5)
    inputs = {"x": mean.expand(1, *x.shape)}
    (expected,), _ = run_step(graph, inputs, {})

    correct_biases(graph, everything(precision), {x: mean})

    weight = operator.inputs[1]
    weight.constant = round_weight(weight.constant, operator)
    (result,), _ = run_step(graph, inputs, {})
    inside = (..., slice(2, -2), slice(None)) if kind != "linear" else ...  # padding left aside
    torch.testing.assert_close(result[inside], expected[inside], atol=1e-5, rtol=0)


def test_float_operators_keep_their_biases():
    graph = Graph()
    x = graph.input("x", (1, 12))
    graph.output(graph.linear(x, constant(3, 12), constant(3), "y"))

    correct_biases(graph, everything(Precision.FLOAT), {x: torch.ones(12)})

    assert torch.equal(graph.operators[0].inputs[2].constant, constant(3))
