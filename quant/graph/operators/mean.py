"""The mean over axes."""

from collections.abc import Sequence

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register


def mean(graph: Graph, x: Value, axes: Sequence[int], name: str) -> Value:
    """Mean over `axes`, which are kept with size 1."""
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    return graph.append("mean", [x], [shape], name, axes=tuple(axes))[0]


register(
    Kind(
        "mean",
        "MEAN",
        run=lambda op, inputs: [
            inputs[0].mean([axis + 1 for axis in op.attributes["axes"]], keepdim=True)
        ],
        options="ReducerOptions",
        fields=lambda *_: {"keepDims": True},
        parameters=lambda op: [op.attributes["axes"]],
        onnx=lambda writer, op: writer.emit(
            "ReduceMean", op, axes=op.attributes["axes"], keepdims=1
        ),
        scale=lambda classes, op, given: [classes.level(given[0], op.attributes["axes"])],
    )
)
