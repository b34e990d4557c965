"""A block of a value."""

import builtins
from collections.abc import Sequence
from typing import Any

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register


def slice(graph: Graph, x: Value, begin: Sequence[int], size: Sequence[int], name: str) -> Value:
    """The block of `size` that starts at `begin`."""
    return graph.append("slice", [x], [size], name, begin=tuple(begin), size=tuple(size))[0]


def _block(operator: Operator) -> tuple[Any, ...]:
    """Its index into an array or a tensor, whatever axes are before those of the value."""
    begin_and_size = zip(operator.attributes["begin"], operator.attributes["size"], strict=True)
    return (..., *(builtins.slice(begin, begin + size) for begin, size in begin_and_size))


def _onnx_block(operator: Operator) -> tuple[list[int], ...]:
    """Begins and ends along the axes that are cut, and these axes."""
    begin, size = operator.attributes["begin"], operator.attributes["size"]
    axes = [axis for axis, whole in enumerate(operator.inputs[0].shape) if size[axis] < whole]
    ends = [begin[axis] + size[axis] for axis in axes]
    return [begin[axis] for axis in axes], ends, axes


register(
    Kind(
        "slice",
        "SLICE",
        run=lambda op, inputs: [inputs[0][_block(op)]],
        options="SliceOptions",
        parameters=lambda op: [op.attributes["begin"], op.attributes["size"]],
        onnx=lambda writer, op: writer.emit(
            "Slice", op, *(writer.integers(*numbers) for numbers in _onnx_block(op))
        ),
        move=lambda op, arrays: [arrays[0][_block(op)]],
        passes_through=True,
    )
)
