"""A matrix times a constant one."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from quant.graph.encoding import Precision
from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators import weighted


def linear(
    graph: Graph,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    name: str,
    rectified: bool = False,
) -> Value:
    """[rows, inputs] times weight [outputs, inputs] plus bias: [rows, outputs].

    What is below zero becomes zero if `rectified`.
    """
    outputs = weight.shape[0]
    bias = torch.zeros(outputs) if bias is None else bias
    shape = (x.shape[0], outputs)
    return weighted.append_weighted(
        graph, "linear", x, weight, bias, shape, name, rectified=rectified
    )


def _onnx_inputs(operator: Operator) -> Sequence[Value]:
    """Without a bias that is zero."""
    return operator.inputs if operator.inputs[2].content.any() else operator.inputs[:2]


register(
    Kind(
        "linear",
        "FULLY_CONNECTED",
        run=lambda _, inputs: [F.linear(*inputs)],
        options="FullyConnectedOptions",
        fields=lambda writer, op: {
            "asymmetricQuantizeInputs": writer.choose(op) is Precision.DYNAMIC
        },
        inputs=weighted.tflite_inputs,
        onnx=lambda writer, op: writer.emit("Gemm", op, inputs=_onnx_inputs(op), transB=1),
        scale=weighted.scale,
        rescale=weighted.rescale,
        weighted=True,
        # Older kernels accept such weights and silently use one scale for all channels.
        dynamic=12,
    )
)
