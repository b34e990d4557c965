"""Scopes cover a graph, and are patterns that a recipe can hold."""

import pytest

from quant.graph import operators as ops
from quant.graph.graph import Graph
from quant.graph.scopes import STATES, find_scopes
from quant.networks.gtcrn import SCOPES
from quant.networks.registry import find_network


@pytest.fixture
def small() -> Graph:
    """Two blocks, one with attention, and a carried state."""
    graph = Graph()
    x = graph.input("features", (1, 4))
    with graph.scope("encoder.0"):
        x = ops.tanh(graph, x, "activation")
        with graph.scope("attention"):
            x = ops.sigmoid(graph, x, "gate")
    with graph.scope("path"):
        before = graph.recurrent_state("inter_state", (1, 4))
        state = ops.tanh(graph, ops.add(graph, x, before, "inter.sum"), "inter.state")
        graph.carry(before, ops.reshape(graph, state, (1, 4), "moved"))
    graph.output(state)
    return graph


def names(graph: Graph, pattern) -> list[str]:
    return [op.scope for op in graph.operators if pattern.holds(op) and not op.keeps_encoding]


def test_scopes_are_the_parts_that_compute(small):
    scopes = {scope.name: scope for scope in find_scopes(small, SCOPES)}

    assert list(scopes) == ["features", "encoder.0", "attention", "path.inter", STATES]
    assert names(small, scopes["encoder.0"]) == ["encoder.0.activation"]
    assert names(small, scopes["attention"]) == ["encoder.0.attention.gate"]
    assert names(small, scopes["path.inter"]) == ["path.inter.sum", "path.inter.state"]


def test_states_are_what_computes_them(small):
    states = find_scopes(small, SCOPES)[-1]

    assert names(small, states) == ["path.inter.state"]


def test_every_operator_of_the_network_has_one_scope(default_checkpoint):
    graph = find_network("gtcrn").step(default_checkpoint.model, True)
    *scopes, _ = find_scopes(graph, SCOPES)

    computing = [op for op in graph.operators if not op.keeps_encoding]
    counts = [sum(scope.holds(op) for scope in scopes) for op in computing]

    assert set(counts) == {1}
