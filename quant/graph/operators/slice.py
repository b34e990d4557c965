"""A block of a value."""

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter


def slice(graph: Graph, x: Value, begin: Sequence[int], size: Sequence[int], name: str) -> Value:
    """The block of `size` that starts at `begin`."""
    return graph.append("slice", [x], [size], name, begin=tuple(begin), size=tuple(size))[0]


def _block(operator: Operator) -> tuple[Any, ...]:
    """Its index into an array or a tensor, whatever axes are before those of the value."""
    begin_and_size = zip(operator.attributes["begin"], operator.attributes["size"], strict=True)
    return (..., *(builtins.slice(begin, begin + size) for begin, size in begin_and_size))


def _onnx(writer: "ONNXWriter", operator: Operator) -> None:
    begin, size = operator.attributes["begin"], operator.attributes["size"]
    axes = [axis for axis, whole in enumerate(operator.inputs[0].shape) if size[axis] < whole]
    ends = [begin[axis] + size[axis] for axis in axes]
    parameters = ([begin[axis] for axis in axes], ends, axes)
    writer.emit("Slice", operator, *(writer.integers(*numbers) for numbers in parameters))


register(
    Kind(
        "slice",
        "SLICE",
        run=lambda operator, inputs: [inputs[0][_block(operator)]],
        options="SliceOptions",
        parameters=lambda operator: [operator.attributes["begin"], operator.attributes["size"]],
        onnx=_onnx,
        move=lambda operator, arrays: [arrays[0][_block(operator)]],
        passes_through=True,
    )
)
