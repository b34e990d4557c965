"""One small graph per kind of operator, with random constants."""

from collections.abc import Callable

import torch
from torch import Tensor

from quant.graph import operators as ops
from quant.graph.graph import Graph, Value


def constant(*shape: int, seed: int = 0) -> Tensor:
    """Random content of a weight or another constant."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def constant_of(value: Value) -> Tensor:
    """The content of a value that is known to be a constant."""
    assert value.constant is not None, value.name
    return value.constant


def _linear(graph: Graph) -> Value:
    x = graph.input("x", (5, 12))
    return ops.linear(graph, x, constant(7, 12), constant(7, seed=1), "result")


def _pointwise(graph: Graph) -> Value:
    x = graph.input("x", (1, 1, 5, 12))
    return ops.linear(graph, x, constant(7, 12), constant(7, seed=1), "result")


def _convolution(graph: Graph) -> Value:
    """Grouped, five taps, stride 2: padded alike on both sides."""
    x = graph.input("x", (1, 1, 33, 8))
    weight, bias = constant(6, 1, 5, 4), constant(6, seed=1)
    return ops.convolution(graph, x, weight, bias, "result", stride=2)


def _depthwise(graph: Graph) -> Value:
    x = graph.input("x", (1, 5, 9, 4))
    weight, bias = constant(1, 3, 3, 4), constant(4, seed=1)
    return ops.depthwise_over_history(graph, x, weight, bias, 2, "result")


def _lstm(graph: Graph) -> Value:
    shapes = ((16, 6), (16, 4), (16,)) * 2
    weights = [0.5 * constant(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    return ops.bidirectional_lstm(graph, graph.input("x", (9, 1, 6)), weights, "result")


def _binary(kind: str) -> Callable[[Graph], Value]:
    def build(graph: Graph) -> Value:
        x, y = graph.input("x", (6, 8)), graph.input("y", (1, 8))
        return getattr(ops, kind)(graph, x, y, "result")

    return build


def _unary(kind: str) -> Callable[[Graph], Value]:
    return lambda graph: getattr(ops, kind)(graph, graph.input("x", (6, 8)), "result")


def _split(graph: Graph) -> Value:
    """The second half; the first must come out too."""
    first, second = ops.split(graph, graph.input("x", (3, 8)), 1, 2, "result")
    graph.output(first)
    return second


# By kind: builds the operator on inputs of the graph and gives its result.
BUILDERS: dict[str, Callable[[Graph], Value]] = {
    "linear": _linear,
    "pointwise": _pointwise,
    "convolution": _convolution,
    "depthwise": _depthwise,
    "add": _binary("add"),
    "subtract": _binary("subtract"),
    "multiply": _binary("multiply"),
    "sigmoid": _unary("sigmoid"),
    "tanh": _unary("tanh"),
    "leaky_relu": lambda graph: ops.leaky_relu(
        graph, graph.input("x", (6, 8)), torch.tensor(0.3), "result"
    ),
    "reciprocal_root": _unary("reciprocal_root"),
    "mean": lambda graph: ops.mean(graph, graph.input("x", (6, 8)), (0,), "result"),
    "concat": lambda graph: ops.concat(
        graph,
        [graph.input("x", (2, 8)), graph.constant(0.1 * constant(3, 8), "given")],
        0,
        "result",
    ),
    "slice": lambda graph: ops.slice(graph, graph.input("x", (6, 8)), (2, 1), (3, 7), "result"),
    "split": _split,
    "reshape": lambda graph: ops.reshape(graph, graph.input("x", (6, 8)), (4, 12), "result"),
    "transpose": lambda graph: ops.transpose(
        graph, graph.input("x", (2, 3, 4)), (2, 0, 1), "result"
    ),
    "pad": lambda graph: ops.pad(
        graph, graph.input("x", (1, 4, 3, 2)), ((0, 0), (1, 2), (1, 0), (0, 0)), "result"
    ),
    "resize": lambda graph: ops.resize(graph, graph.input("x", (1, 4, 3, 8)), (8, 6), "result"),
    "lstm": _lstm,
    "reverse": lambda graph: ops.reverse(graph, graph.input("x", (1, 1, 6, 8)), 2, "result"),
}


def one_operator(kind: str) -> Graph:
    """A graph with one operator of this kind."""
    graph = Graph()
    graph.output(BUILDERS[kind](graph))
    return graph


def random_inputs(graph: Graph, kind: str = "", seed: int = 0) -> dict[Value, Tensor]:
    """Standard normal inputs; those of a reciprocal root between 0.5 and 2."""
    random = torch.Generator().manual_seed(seed)
    if kind == "reciprocal_root":
        return {v: 0.5 + 1.5 * torch.rand(v.shape, generator=random) for v in graph.inputs}
    return {value: torch.randn(value.shape, generator=random) for value in graph.inputs}
