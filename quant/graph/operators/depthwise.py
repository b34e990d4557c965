"""A convolution of each channel on its own."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators import convolving, weighted

if TYPE_CHECKING:
    from quant.graph.tflite import TFLiteWriter

# Ethos-U takes no longer ones.
LONGEST_STRIDE = 3


def image_depthwise(
    graph: Graph, x: Value, weight: Tensor, dilation: tuple[int, int], name: str
) -> Value:
    """[1, H, W, C] with weight [1, taps, taps, C], zero-padded: the same shape."""
    bias = torch.zeros(x.shape[3])
    attributes = {"stride": (1, 1), "dilation": dilation}
    return weighted.append_weighted(
        graph, "depthwise", x, weight, bias, x.shape, name, **attributes
    )


def depthwise_over_history(
    graph: Graph,
    window: Value,
    weight: Tensor,
    bias: Tensor,
    dilation: int,
    name: str,
    stride: int = 1,
    rectified: bool = False,
) -> Value:
    """[1, H, W, C] with weight [1, frames, taps, C]: [1, 1, W / stride, C].

    H is dilation * (frames - 1) + 1: striding over all of it gives one output row without padding
    in time. What is below zero becomes zero if `rectified`.
    """
    _, height, width, channels = window.shape
    return weighted.append_weighted(
        *(graph, "depthwise", window, weight, bias, (1, 1, -(-width // stride), channels), name),
        stride=(height, stride),
        dilation=(dilation, 1),
        rectified=rectified,
    )


def _is_over_history(operator: Operator) -> bool:
    """Whether it has one output row of all rows."""
    return bool(operator.attributes["stride"][0] == operator.inputs[0].shape[1] > 1)


def _strides_too_far(operator: Operator) -> bool:
    return _is_over_history(operator) and operator.attributes["stride"][0] > LONGEST_STRIDE


def _tflite_inputs(writer: "TFLiteWriter", operator: Operator) -> list[int]:
    """Padded before, where a shorter stride would give more than one row of a padded height."""
    x, *constants = weighted.tflite_inputs(writer, operator)
    if _strides_too_far(operator):
        shape, taps = list(operator.inputs[0].shape), operator.inputs[1].shape[2]
        sides = convolving.same_padding(shape[2], taps, *_along_width(operator))
        amounts = writer.constant(np.array([(0, 0), (0, 0), sides, (0, 0)], np.int32))
        shape[2] += sum(sides)
        x = writer.prepare("PAD", [x, amounts], tuple(shape), "PadOptions")
    return [x, *constants]


def _along_width(operator: Operator) -> tuple[int, int]:
    return operator.attributes["stride"][1], operator.attributes["dilation"][1]


def _tflite_fields(_: "TFLiteWriter", operator: Operator) -> dict[str, Any]:
    fields = convolving.tflite_fields(operator) | {"depthMultiplier": 1}
    if _strides_too_far(operator):
        fields |= {"padding": convolving.VALID_PADDING, "strideH": 1}
    return fields


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    x = inputs[0]
    if _is_over_history(operator):
        return [_run_over_history(x, inputs[1][0], inputs[2], operator)]
    return [convolving.convolve(operator, inputs, inputs[1].permute(3, 0, 1, 2))]


def _run_over_history(x: Tensor, weight: Tensor, bias: Tensor, operator: Operator) -> Tensor:
    """Tap by tap: torch's gradient of a dilated depthwise convolution takes many times as long."""
    (dilation, _), (_, stride) = operator.attributes["dilation"], operator.attributes["stride"]
    width, taps = x.shape[3], weight.shape[1]
    padding = convolving.same_padding(width, taps, stride, 1)
    padded = F.pad(x[:, :, ::dilation], (0, 0, *padding))
    result = bias
    for frame in range(weight.shape[0]):
        for tap in range(taps):
            rows = padded[:, :, frame : frame + 1, tap : tap + width : stride]
            result = torch.addcmul(result, rows, weight[frame, tap])
    return result


register(
    Kind(
        "depthwise",
        "DEPTHWISE_CONV_2D",
        run=_run,
        options="DepthwiseConv2DOptions",
        fields=_tflite_fields,
        inputs=_tflite_inputs,
        onnx=lambda writer, op: convolving.write_onnx(writer, op, (3, 0, 1, 2)),
        scale=weighted.scale,
        rescale=weighted.rescale,
        weighted=True,
        output_axis=3,
        version=2,  # the first that knows dilation
    )
)
