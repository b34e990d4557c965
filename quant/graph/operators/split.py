"""A value in equal parts."""

import numpy as np

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register


def split(graph: Graph, x: Value, axis: int, parts: int, name: str) -> tuple[Value, ...]:
    """Equal parts along `axis`."""
    shape = list(x.shape)
    shape[axis] //= parts
    return graph.append("split", [x], [shape] * parts, name, axis=axis)


register(
    Kind(
        "split",
        "SPLIT",
        run=lambda op, inputs: list(inputs[0].chunk(len(op.outputs), op.attributes["axis"] + 1)),
        options="SplitOptions",
        fields=lambda _, op: {"numSplits": len(op.outputs)},
        inputs=lambda writer, op: [
            writer.constant(np.array(op.attributes["axis"], np.int32)),
            *writer.read_inputs(op),
        ],
        onnx=lambda writer, op: writer.emit("Split", op, axis=op.attributes["axis"]),
        move=lambda op, arrays: np.split(arrays[0], len(op.outputs), op.attributes["axis"]),
        passes_through=True,
    )
)
