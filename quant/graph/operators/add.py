"""The sum of two values."""

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators.elementwise import append_elementwise, rescale_terms, scale_terms


def add(graph: Graph, a: Value, b: Value, name: str, rectified: bool = False) -> Value:
    """Sum, with broadcasting; what is below zero becomes zero if `rectified`."""
    return append_elementwise(graph, "add", (a, b), name, rectified=rectified)


register(
    Kind(
        "add",
        "ADD",
        run=lambda _, inputs: [inputs[0] + inputs[1]],
        options="AddOptions",
        # 16-bit sums: arbitrary scales instead of powers of two.
        fields=lambda *_: {"potScaleInt16": False},
        onnx=lambda writer, op: writer.emit("Add", op),
        scale=scale_terms,
        rescale=rescale_terms,
    )
)
