"""What operators with a weight and a bias share."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from quant.graph.encoding import Precision
from quant.graph.graph import Graph, Operator, Value

if TYPE_CHECKING:
    from quant.graph.scale_classes import ScaleClasses, Scaling
    from quant.graph.tflite import TFLiteWriter

WEIGHT_LIMIT = 127  # symmetric 8-bit weights
_BIAS_LIMIT = 2**30
_SMALLEST_WEIGHT_SCALE = 1e-12


def append_weighted(
    graph: Graph,
    kind: str,
    x: Value,
    weight: Tensor,
    bias: Tensor,
    shape: Sequence[int],
    name: str,
    **attributes: Any,
) -> Value:
    """Append an operator with a weight and a bias; gives its output."""
    constants = graph.constant(weight, f"{name}.weight"), graph.constant(bias, f"{name}.bias")
    return graph.append(kind, [x, *constants], [shape], name, **attributes)[0]


def weight_scales(weight: np.ndarray, axis: int) -> np.ndarray:
    """Scales of symmetric 8-bit weights, one per output channel along `axis`, as float32."""
    per_channel = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    largest = np.abs(per_channel).max(axis=1) / WEIGHT_LIMIT
    return np.maximum(largest, _SMALLEST_WEIGHT_SCALE).astype(np.float32)


def tflite_inputs(writer: "TFLiteWriter", operator: Operator, between: int = 0) -> list[int]:
    """Input, weight and bias; the latter two as integers where the operator is quantized.

    The weight gets so many axes of one `between` its first one and the others.
    """
    source, weight, bias = operator.inputs
    precision = writer.encodings[operator.outputs[0]].precision
    encoding = writer.encoding_at(source, precision)
    x = writer.read(source, encoding)
    kernel, offsets = weight.content, bias.content
    kernel = kernel.reshape(kernel.shape[:1] + (1,) * between + kernel.shape[1:])
    if precision is Precision.FLOAT and writer.choose(operator) is not Precision.DYNAMIC:
        return [x, writer.constant(kernel), writer.constant(offsets)]
    axis = operator.rule.output_axis
    scales = weight_scales(kernel, axis)
    if precision is not Precision.FLOAT:
        # A channel of tiny weights still needs its bias to fit 32 bits.
        scales = np.maximum(
            scales, (np.abs(offsets) / (encoding.scale * _BIAS_LIMIT)).astype(np.float32)
        )
    broadcast = scales.reshape([-1 if d == axis else 1 for d in range(kernel.ndim)])
    stored = np.clip(np.rint(kernel / broadcast), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    kernel_index = writer.constant(stored.astype(np.int8), scales, 0, axis)
    if precision is Precision.FLOAT:
        return [x, kernel_index, writer.constant(offsets)]
    bias_scales = (scales * np.float32(encoding.scale)).astype(np.float32)
    bias_type = np.int64 if precision is Precision.INT16 else np.int32
    stored_bias = np.rint(offsets / bias_scales.astype(np.float64)).astype(bias_type)
    return [x, kernel_index, writer.constant(stored_bias, bias_scales, 0, 0)]


def scale(classes: "ScaleClasses", operator: Operator, given: "list[Scaling]") -> "list[Scaling]":
    """Weights absorb any scale of a channel: each output channel has one of its own."""
    last = len(operator.inputs[0].shape) - 1
    classes.level(given[0], range(last))
    return [classes.fresh(operator.outputs[0].shape, (last,))]


def rescale(operator: Operator, scale_of: Callable[[Value], np.ndarray]) -> None:
    """Undo the scales of input channels in the weight, and apply those of output channels."""
    x, weight, bias = operator.inputs
    assert weight.constant is not None and bias.constant is not None
    channels_in, channels_out = (
        torch.from_numpy(scales.reshape(-1, scales.shape[-1])[0].astype(np.float32))
        for scales in (scale_of(x), scale_of(operator.outputs[0]))
    )
    if operator.rule.output_axis == 0:
        per_output = weight.constant.shape[-1]
        outputs = len(channels_out)
        groups = len(channels_in) // per_output
        inputs = channels_in.view(groups, per_output).repeat_interleave(outputs // groups, dim=0)
        middle = [1] * (weight.constant.dim() - 2)
        gain = (inputs / channels_out[:, None]).view(outputs, *middle, per_output)
    else:
        gain = channels_in / channels_out
    weight.constant = weight.constant * gain
    bias.constant = bias.constant / channels_out
