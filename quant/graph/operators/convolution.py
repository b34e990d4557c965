"""A convolution of images, of all channels or of groups of them."""

from torch import Tensor

from quant.graph.graph import Graph, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators import convolving, weighted
from quant.graph.operators.pad import pad


def convolution(
    graph: Graph,
    x: Value,
    weight: Tensor,
    bias: Tensor,
    name: str,
    stride: int = 1,
    rectified: bool = False,
) -> Value:
    """[1, H, W, C] with weight [outputs, H, taps, C / groups]: [1, 1, W / stride, outputs].

    Zero-padded along the width alone. What is below zero becomes zero if `rectified`.
    """
    shape = (1, 1, -(-x.shape[2] // stride), weight.shape[0])
    # Striding over the whole height gives one output row without padding.
    attributes = {"stride": (x.shape[1], stride), "dilation": (1, 1), "rectified": rectified}
    return weighted.append_weighted(
        graph, "convolution", x, weight, bias, shape, name, **attributes
    )


def image_convolution(
    graph: Graph,
    x: Value,
    weight: Tensor,
    bias: Tensor,
    name: str,
    stride: int = 1,
    dilation: tuple[int, int] = (1, 1),
    rectified: bool = False,
) -> Value:
    """[1, H, W, C] with weight [outputs, taps, taps, C]: [1, H / stride, W / stride, outputs].

    Half of the (odd) taps see zeros beyond each border, whatever the stride; H and W are
    multiples of it. What is below zero becomes zero if `rectified`.
    """
    taps, height, width = weight.shape[1], x.shape[1], x.shape[2]
    padded = stride > 1 and taps > 1
    if padded:
        # TFLite's own padding would put its zeros after the last row and column only.
        before = taps // 2
        x = pad(graph, x, ((0, 0), (before, 0), (before, 0), (0, 0)), f"{name}.padded")
    return weighted.append_weighted(
        graph,
        "convolution",
        x,
        weight,
        bias,
        (1, height // stride, width // stride, weight.shape[0]),
        name,
        stride=(stride, stride),
        dilation=dilation,
        rectified=rectified,
        padded=padded,
    )


register(
    Kind(
        "convolution",
        "CONV_2D",
        run=lambda op, inputs: [convolving.convolve(op, inputs, inputs[1].permute(0, 3, 1, 2))],
        options="Conv2DOptions",
        fields=lambda _, op: convolving.tflite_fields(op),
        inputs=weighted.tflite_inputs,
        onnx=lambda writer, op: convolving.write_onnx(writer, op, (0, 3, 1, 2)),
        scale=weighted.scale,
        rescale=weighted.rescale,
        weighted=True,
        dynamic=1,
    )
)
