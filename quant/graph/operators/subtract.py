"""The difference of two values."""

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators.elementwise import append_elementwise, rescale_terms, scale_terms


def subtract(graph: Graph, a: Value, b: Value, name: str) -> Value:
    """Difference, with broadcasting."""
    return append_elementwise(graph, "subtract", (a, b), name)


register(
    Kind(
        "subtract",
        "SUB",
        run=lambda _, inputs: [inputs[0] - inputs[1]],
        options="SubOptions",
        # 16-bit differences: arbitrary scales instead of powers of two.
        fields=lambda *_: {"potScaleInt16": False},
        onnx=lambda writer, op: writer.emit("Sub", op),
        scale=scale_terms,
        rescale=rescale_terms,
    )
)
