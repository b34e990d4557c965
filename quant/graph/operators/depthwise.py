"""A convolution of each channel on its own."""

import torch
from torch import Tensor
from torch.nn import functional as F

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators import convolving, weighted


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


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    x = inputs[0]
    if operator.attributes["stride"][0] == x.shape[2] > 1:
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
        fields=lambda _, op: convolving.tflite_fields(op) | {"depthMultiplier": 1},
        inputs=weighted.tflite_inputs,
        onnx=lambda writer, op: convolving.write_onnx(writer, op, (3, 0, 1, 2)),
        scale=weighted.scale,
        rescale=weighted.rescale,
        weighted=True,
        output_axis=3,
        version=2,  # the first that knows dilation
    )
)
