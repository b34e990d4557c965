"""A value with its axes in another order."""

from collections.abc import Sequence

from torch import Tensor

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register


def transpose(graph: Graph, x: Value, permutation: Sequence[int], name: str) -> Value:
    """Reorder the axes."""
    shape = [x.shape[axis] for axis in permutation]
    return graph.append("transpose", [x], [shape], name, permutation=tuple(permutation))[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    return [inputs[0].permute(0, *(axis + 1 for axis in operator.attributes["permutation"]))]


register(
    Kind(
        "transpose",
        "TRANSPOSE",
        run=_run,
        options="TransposeOptions",
        parameters=lambda operator: [operator.attributes["permutation"]],
        onnx=lambda writer, operator: writer.emit(
            "Transpose", operator, perm=operator.attributes["permutation"]
        ),
        move=lambda operator, arrays: [arrays[0].transpose(operator.attributes["permutation"])],
        passes_through=True,
    )
)
