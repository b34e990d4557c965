"""A matrix, or every position of an image, times a constant matrix."""

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, zeros
from torch.nn import functional as F

from quant.graph.encoding import Precision
from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators import weighted
from quant.graph.operators.convolving import POINTWISE

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter


def linear(
    graph: Graph,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    name: str,
    rectified: bool = False,
) -> Value:
    """[..., inputs] times weight [outputs, inputs] plus bias: [..., outputs].

    Of a matrix it becomes a fully connected layer of TFLite. Of an image it becomes a convolution,
    of which all integer runtimes round alike. What is below zero becomes zero if `rectified`.
    """
    outputs = weight.shape[0]
    bias = zeros(outputs) if bias is None else bias
    kind = "linear" if len(x.shape) == 2 else "pointwise"
    return weighted.append_weighted(
        graph, kind, x, weight, bias, (*x.shape[:-1], outputs), name, rectified=rectified
    )


def _has_bias(operator: Operator) -> bool:
    return bool(operator.inputs[2].content.any())


def _onnx_product(writer: "ONNXWriter", operator: Operator) -> None:
    """A product of matrices and a sum: ONNX's convolutions have their channels elsewhere."""
    x, weight, bias = operator.inputs
    matrix = writer.constant(weight.content.T, weight)
    if not _has_bias(operator):
        writer.emit("MatMul", operator, matrix, inputs=[x])
        return
    product = f"{writer.name(operator.outputs[0])}.product"
    writer.node("MatMul", [writer.name(x), matrix], [product])
    writer.emit("Add", operator, product, inputs=[bias])


LINEAR = Kind(
    "linear",
    "FULLY_CONNECTED",
    run=lambda _, inputs: [F.linear(*inputs)],
    options="FullyConnectedOptions",
    fields=lambda writer, op: {"asymmetricQuantizeInputs": writer.choose(op) is Precision.DYNAMIC},
    inputs=weighted.tflite_inputs,
    onnx=lambda writer, op: writer.emit(
        "Gemm", op, inputs=op.inputs if _has_bias(op) else op.inputs[:2], transB=1
    ),
    scale=weighted.scale,
    rescale=weighted.rescale,
    weighted=True,
    # Older kernels accept such weights and silently use one scale for all channels.
    dynamic=12,
)

register(LINEAR)
register(
    replace(
        LINEAR,
        name="pointwise",
        builtin="CONV_2D",
        options="Conv2DOptions",
        fields=lambda writer, op: POINTWISE,
        inputs=lambda writer, op: weighted.tflite_inputs(writer, op, between=2),
        onnx=_onnx_product,
        dynamic=1,
    )
)
