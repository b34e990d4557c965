"""The hyperbolic tangent."""

import math

import torch

from quant.graph.graph import UNIT_RANGE, Graph, Value
from quant.graph.kinds import Kind, register


def tanh(graph: Graph, x: Value, name: str) -> Value:
    """Hyperbolic tangent."""
    return graph.append("tanh", [x], [x.shape], name)[0]


register(
    Kind(
        "tanh",
        "TANH",
        run=lambda _, inputs: [torch.tanh(inputs[0])],
        onnx=lambda writer, op: writer.emit("Tanh", op),
        fixed_range=UNIT_RANGE,
        # A quarter of a step from -1 is rounded to it.
        reach=(-math.atanh(1 - 1 / 512), math.atanh(127 / 128)),
    )
)
