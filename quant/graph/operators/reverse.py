"""A value backwards along an axis."""

from typing import TYPE_CHECKING

import numpy as np

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter


def reverse(graph: Graph, x: Value, axis: int, name: str) -> Value:
    """Reverse the order along `axis`."""
    return graph.append("reverse", [x], [x.shape], name, axis=axis)[0]


def _onnx(writer: "ONNXWriter", operator: Operator) -> None:
    """A slice backwards, from the last index to before the first."""
    axis = operator.attributes["axis"]
    before_first = -operator.inputs[0].shape[axis] - 1
    parameters = (-1, before_first, axis, -1)
    writer.emit("Slice", operator, *(writer.integers(number) for number in parameters))


register(
    Kind(
        "reverse",
        "REVERSE_V2",
        run=lambda operator, inputs: [inputs[0].flip(operator.attributes["axis"] + 1)],
        options="ReverseV2Options",
        parameters=lambda operator: [[operator.attributes["axis"]]],
        onnx=_onnx,
        move=lambda operator, arrays: [np.flip(arrays[0], operator.attributes["axis"])],
        passes_through=True,
    )
)
