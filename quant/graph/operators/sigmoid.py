"""The logistic function."""

import torch

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register


def sigmoid(graph: Graph, x: Value, name: str) -> Value:
    """Logistic function."""
    return graph.append("sigmoid", [x], [x.shape], name)[0]


register(
    Kind(
        "sigmoid",
        "LOGISTIC",
        run=lambda _, inputs: [torch.sigmoid(inputs[0])],
        onnx=lambda writer, op: writer.emit("Sigmoid", op),
        fixed_range=(0.0, 255 / 256),
    )
)
