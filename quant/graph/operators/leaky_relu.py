"""The leaky ReLU."""

import math

import torch
from torch import Tensor

from quant.graph.encoding import Encoding, Precision
from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

# XNNPACK leaves a leaky ReLU alone that multiplies steps below zero by less than 1/256.
_FLATTEST_RATIO = 1.001 / 256


def leaky_relu(graph: Graph, x: Value, slope: Tensor, name: str) -> Value:
    """X where positive, slope (a scalar) times x elsewhere: a PReLU with one shared slope."""
    return graph.append("leaky_relu", [x], [x.shape], name, slope=slope)[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    (x,) = inputs
    return [torch.where(x > 0, x, x * operator.attributes["slope"])]


def _slope(operator: Operator) -> float:
    return float(operator.attributes["slope"].detach())


def _accelerated(slope: float, given: Encoding, result: Encoding) -> float:
    """The slope below zero; in 8 bits none so flat that the operator is not accelerated."""
    if result.precision is not Precision.INT8 or given.precision is not Precision.INT8:
        return slope
    # Of 128 steps below zero this makes half a step.
    flattest = _FLATTEST_RATIO * result.scale / given.scale
    return slope if abs(slope) >= flattest else math.copysign(flattest, slope)


register(
    Kind(
        "leaky_relu",
        "LEAKY_RELU",
        run=_run,
        options="LeakyReluOptions",
        fields=lambda writer, op: {
            "alpha": _accelerated(
                _slope(op), writer.encodings[op.inputs[0]], writer.encodings[op.outputs[0]]
            )
        },
        onnx=lambda writer, op: writer.emit("LeakyRelu", op, alpha=_slope(op)),
        scale=lambda classes, op, given: given,
    )
)
