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
        run=lambda operator, inputs: [inputs[0].reshape(-1, *operator.outputs[0].shape)],
        options="ReshapeOptions",
        fields=lambda _, operator: {"newShape": np.array(operator.outputs[0].shape, np.int32)},
        parameters=lambda operator: [operator.outputs[0].shape],
        onnx=lambda writer, operator: writer.emit(
            "Reshape", operator, writer.integers(*operator.outputs[0].shape)
        ),
        move=lambda operator, arrays: [arrays[0].reshape(operator.outputs[0].shape)],
        passes_through=True,
    )
)
