"""The mean over axes."""

from collections.abc import Sequence

from torch import Tensor

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register


def mean(graph: Graph, x: Value, axes: Sequence[int], name: str) -> Value:
    """Mean over `axes`, which are kept with size 1."""
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    return graph.append("mean", [x], [shape], name, axes=tuple(axes))[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    axes = [axis + 1 for axis in operator.attributes["axes"]]
    return [inputs[0].mean(dim=axes, keepdim=True)]


register(
    Kind(
        "mean",
        "MEAN",
        run=_run,
        options="ReducerOptions",
        fields=lambda *_: {"keepDims": True},
        parameters=lambda operator: [operator.attributes["axes"]],
        onnx=lambda writer, operator: writer.emit(
            "ReduceMean", operator, axes=operator.attributes["axes"], keepdims=1
        ),
        scale=lambda classes, operator, given: [
            classes.level(given[0], operator.attributes["axes"])
        ],
    )
)
