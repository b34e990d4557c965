"""A value in another shape."""

from collections.abc import Sequence

import numpy as np

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register


def reshape(graph: Graph, x: Value, shape: Sequence[int], name: str) -> Value:
    """The same elements in another shape."""
    return graph.append("reshape", [x], [shape], name)[0]


register(
    Kind(
        "reshape",
        "RESHAPE",
        run=lambda op, inputs: [inputs[0].reshape(-1, *op.outputs[0].shape)],
        options="ReshapeOptions",
        fields=lambda _, op: {"newShape": np.array(op.outputs[0].shape, np.int32)},
        parameters=lambda op: [op.outputs[0].shape],
        onnx=lambda writer, op: writer.emit("Reshape", op, writer.integers(*op.outputs[0].shape)),
        move=lambda op, arrays: [arrays[0].reshape(op.outputs[0].shape)],
        passes_through=True,
    )
)
