"""A value with its axes in another order."""

from collections.abc import Sequence

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register


def transpose(graph: Graph, x: Value, permutation: Sequence[int], name: str) -> Value:
    """Reorder the axes."""
    shape = [x.shape[axis] for axis in permutation]
    return graph.append("transpose", [x], [shape], name, permutation=tuple(permutation))[0]


register(
    Kind(
        "transpose",
        "TRANSPOSE",
        run=lambda op, inputs: [
            inputs[0].permute(0, *(axis + 1 for axis in op.attributes["permutation"]))
        ],
        options="TransposeOptions",
        parameters=lambda op: [op.attributes["permutation"]],
        onnx=lambda writer, op: writer.emit("Transpose", op, perm=op.attributes["permutation"]),
        move=lambda op, arrays: [arrays[0].transpose(op.attributes["permutation"])],
        passes_through=True,
    )
)
