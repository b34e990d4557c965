"""An image backwards along an axis."""

from typing import TYPE_CHECKING

import numpy as np

from quant.graph.encoding import Precision
from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators.concat import concat
from quant.graph.operators.convolving import POINTWISE

if TYPE_CHECKING:
    from quant.graph.tflite import TFLiteWriter

# As weights of 8 bits, a power of two, so that multiplying by it and its scale is exact.
_ONE = 64


def reverse(graph: Graph, x: Value, axis: int, name: str) -> Value:
    """Reverse an image along `axis`; rows that were joined are joined the other way round."""
    joined = next((op for op in graph.operators if x in op.outputs), None)
    if joined is not None and _joins_rows(joined, axis):
        return concat(graph, joined.inputs[::-1], axis, name)
    return graph.append("reverse", [x], [x.shape], name, axis=axis)[0]


def _joins_rows(operator: Operator, axis: int) -> bool:
    return (
        operator.kind == "concat"
        and operator.keeps_encoding
        and operator.attributes["axis"] == axis
        and all(value.shape[axis] == 1 for value in operator.inputs)
    )


def _to_last(operator: Operator) -> tuple[int, ...]:
    """The permutation that swaps the axis with the last one; it undoes itself, too."""
    axes = list(range(len(operator.inputs[0].shape)))
    axis = operator.attributes["axis"]
    axes[axis], axes[-1] = axes[-1], axes[axis]
    return tuple(axes)


def _tflite_inputs(writer: "TFLiteWriter", operator: Operator) -> list[int]:
    """The axis brought last and reversed; the operator itself brings it back.

    Not every runtime has REVERSE_V2, and all have convolutions: zeros and ones of a weight move
    values as they are, in every precision.
    """
    (x,) = writer.read_inputs(operator)
    permutation = _to_last(operator)
    shape = tuple(operator.inputs[0].shape[axis] for axis in permutation)
    turned = writer.constant(np.array(permutation, np.int32))
    x = writer.prepare("TRANSPOSE", [x, turned], shape, "TransposeOptions")
    ones, zeros = np.eye(shape[-1])[::-1, None, None], np.zeros(shape[-1])
    encoding = writer.encodings[operator.outputs[0]]
    if encoding.precision is Precision.FLOAT:
        tensors = [writer.constant(constant.astype(np.float32)) for constant in (ones, zeros)]
    else:
        scales = np.array([1 / _ONE], np.float32), np.array([encoding.scale / _ONE], np.float32)
        sums = np.int64 if encoding.precision is Precision.INT16 else np.int32
        tensors = [
            writer.constant((_ONE * ones).astype(np.int8), scales[0]),
            writer.constant(zeros.astype(sums), scales[1]),
        ]
    return [writer.prepare("CONV_2D", [x, *tensors], shape, "Conv2DOptions", **POINTWISE)]


def _onnx_block(operator: Operator) -> tuple[int, ...]:
    """A slice backwards, from the last index to before the first."""
    axis = operator.attributes["axis"]
    return -1, -operator.inputs[0].shape[axis] - 1, axis, -1


register(
    Kind(
        "reverse",
        "TRANSPOSE",
        run=lambda op, inputs: [inputs[0].flip(op.attributes["axis"] + 1)],
        options="TransposeOptions",
        inputs=_tflite_inputs,
        parameters=lambda op: [_to_last(op)],
        onnx=lambda writer, op: writer.emit("Slice", op, *map(writer.integers, _onnx_block(op))),
        move=lambda op, arrays: [np.flip(arrays[0], op.attributes["axis"])],
        passes_through=True,
    )
)
