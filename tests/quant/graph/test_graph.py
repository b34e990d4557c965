"""Building a graph: names, scopes, shapes, states."""

import pytest
import torch

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.graph import UNIT_RANGE, Graph


def test_names_are_dotted_by_scope():
    graph = Graph()

    with graph.scope("encoder"), graph.scope("2"):
        x = graph.input("x", (1, 4))

    assert (x.name, x.range_key) == ("encoder.2.x", "encoder.2.x")


def test_repeated_steps_have_names_of_their_own_and_share_a_range():
    graph = Graph()

    with graph.scope("scan", repeated=7):
        x = graph.input("x", (1, 4))

    assert (x.name, x.range_key) == ("scan07.x", "scan.x")


def test_a_name_is_used_once():
    graph = Graph()
    graph.input("x", (1, 4))

    with pytest.raises(ValueError, match="two values are called x"):
        graph.input("x", (1, 4))


def test_elementwise_results_are_broadcast():
    graph = Graph()
    x, row = graph.input("x", (5, 4)), graph.input("row", (1, 4))

    assert ops.add(graph, row, x, "sum").shape == (5, 4)


def test_a_stride_rounds_the_width_up():
    graph = Graph()
    x = graph.input("x", (1, 1, 33, 2))

    y = ops.convolution(graph, x, torch.zeros(3, 1, 5, 2), torch.zeros(3), "y", stride=2)

    assert y.shape == (1, 1, 17, 3)


def test_a_history_is_a_state_of_past_frames():
    graph = Graph()
    newest = graph.input("x", (1, 1, 9, 4))

    window = histories.history(graph, newest, 4, "cache")

    (state,) = graph.states
    assert window.shape == (1, 5, 9, 4)
    assert (state.name, state.input.shape, state.output.shape) == (
        "cache",
        (1, 4, 9, 4),
        (1, 4, 9, 4),
    )
    assert state.source is newest


def test_a_recurrent_state_lies_between_minus_one_and_one():
    graph = Graph()
    before = graph.recurrent_state("memory", (1, 4))
    after = ops.add(graph, before, graph.input("x", (1, 4)), "sum")

    graph.carry(before, after)

    (state,) = graph.states
    assert (state.input, state.output, state.source) == (before, after, None)
    assert before.fixed_range == after.fixed_range == UNIT_RANGE
