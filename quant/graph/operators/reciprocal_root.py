"""The reciprocal of the square root."""

from typing import TYPE_CHECKING

import torch

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter


def reciprocal_root(graph: Graph, x: Value, name: str) -> Value:
    """1 / sqrt(x)."""
    return graph.append("reciprocal_root", [x], [x.shape], name)[0]


def _onnx(writer: "ONNXWriter", operator: Operator) -> None:
    x, result = (writer.name(value) for value in (*operator.inputs, *operator.outputs))
    writer.node("Sqrt", [x], [f"{result}.root"])
    writer.node("Reciprocal", [f"{result}.root"], [result])


register(
    Kind("reciprocal_root", "RSQRT", run=lambda _, inputs: [torch.rsqrt(inputs[0])], onnx=_onnx)
)
