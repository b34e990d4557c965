"""A value backwards along an axis."""

import numpy as np

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register


def reverse(graph: Graph, x: Value, axis: int, name: str) -> Value:
    """Reverse the order along `axis`."""
    return graph.append("reverse", [x], [x.shape], name, axis=axis)[0]


def _onnx_block(operator: Operator) -> tuple[int, ...]:
    """A slice backwards, from the last index to before the first."""
    axis = operator.attributes["axis"]
    return -1, -operator.inputs[0].shape[axis] - 1, axis, -1


register(
    Kind(
        "reverse",
        "REVERSE_V2",
        run=lambda op, inputs: [inputs[0].flip(op.attributes["axis"] + 1)],
        options="ReverseV2Options",
        parameters=lambda op: [[op.attributes["axis"]]],
        onnx=lambda writer, op: writer.emit("Slice", op, *map(writer.integers, _onnx_block(op))),
        move=lambda op, arrays: [np.flip(arrays[0], op.attributes["axis"])],
        passes_through=True,
    )
)
