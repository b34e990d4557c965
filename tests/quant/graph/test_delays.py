"""Values of earlier frames, and which frames there were; what a frame multiplies."""

import pytest
import torch

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.execute import run_sequence
from quant.graph.graph import Graph
from tests.helpers.running import run_frames


def ramp(frames):
    """Frame t holds t + 1: [1, frames, 1, 1, 2, 3]."""
    return torch.arange(1.0, frames + 1).view(1, frames, 1, 1, 1, 1).expand(-1, -1, 1, 1, 2, 3)


@pytest.mark.parametrize("run", [run_frames, lambda g, x: run_sequence(g, {"x": x})[0]])
def test_a_delayed_value_is_zero_and_then_that_of_an_earlier_frame(run):
    graph = Graph()
    x = graph.input("x", (1, 1, 2, 3))
    graph.output(histories.delayed(graph, x, 3, "cache"))

    result = run(graph, ramp(8))

    assert result[0, :, 0, 0, 1, 2].tolist() == [0, 0, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("run", [run_frames, lambda g, x: run_sequence(g, {"x": x})[0]])
def test_presence_tells_which_frames_there_were(run):
    graph = Graph()
    x = graph.input("x", (1, 1, 2, 3))
    flags = histories.presence(graph, 2, "presence")
    oldest = ops.slice(graph, flags, (0, 0, 0, 0), (1, 1, 1, 1), "oldest")
    graph.output(ops.multiply(graph, x, oldest, "present"))

    result = run(graph, ramp(5))

    assert result[0, :, 0, 0, 1, 2].tolist() == [0, 0, 3, 4, 5]


def test_multiplications_of_weighted_operators_are_counted():
    graph = Graph()
    x = graph.input("x", (1, 1, 10, 4))
    image = ops.convolution(
        graph, x, torch.ones(6, 1, 3, 4), torch.zeros(6), "convolution", stride=2
    )
    window = histories.history(graph, image, 2, "cache")
    image = ops.depthwise_over_history(
        graph, window, torch.ones(1, 3, 3, 6), torch.zeros(6), 1, "depthwise"
    )
    ops.linear(graph, ops.reshape(graph, image, (5, 6), "rows"), torch.ones(7, 6), None, "linear")

    assert graph.multiplications == 5 * 6 * 3 * 4 + 5 * 6 * 9 + 5 * 7 * 6
