"""What both convolutions share: the zeros around their images, and ONNX's order of the axes."""

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import functional as F

from quant.graph.graph import Operator

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter

# TFLite's numbers of them.
_SAME_PADDING, VALID_PADDING = 0, 1
# Options of a convolution of one tap.
POINTWISE = {
    "padding": VALID_PADDING,
    **dict.fromkeys(("strideH", "strideW", "dilationHFactor", "dilationWFactor"), 1),
}


def same_padding(size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """TFLite's SAME padding: the smaller half goes before."""
    needed = (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size
    before = max(needed, 0) // 2
    return before, max(needed, 0) - before


def _padding(operator: Operator) -> list[tuple[int, int]]:
    """Zeros above and below the image, and left and right of it."""
    attributes, (x, weight, _) = operator.attributes, operator.inputs
    if attributes.get("padded"):
        return [(0, 0), (0, 0)]
    sizes = (x.shape[1:3], weight.shape[1:3], attributes["stride"], attributes["dilation"])
    return [same_padding(*along_axis) for along_axis in zip(*sizes, strict=True)]


def convolve(operator: Operator, inputs: list[Tensor], weight: Tensor) -> Tensor:
    """Run in torch, by a weight [outputs, inputs / groups, height, width]."""
    height, width = _padding(operator)
    x = F.pad(inputs[0].flatten(0, 1).permute(0, 3, 1, 2), (*width, *height))
    stride, dilation = operator.attributes["stride"], operator.attributes["dilation"]
    groups = x.shape[1] // weight.shape[1]
    y = F.conv2d(x, weight, inputs[2], stride, 0, dilation, groups)
    return y.permute(0, 2, 3, 1).unflatten(0, inputs[0].shape[:2])


def tflite_fields(operator: Operator) -> dict[str, Any]:
    """What both kinds say in TFLite's options."""
    attributes = operator.attributes
    return {
        "padding": VALID_PADDING if attributes.get("padded") else _SAME_PADDING,
        **dict(zip(("strideH", "strideW"), attributes["stride"], strict=True)),
        **dict(zip(("dilationHFactor", "dilationWFactor"), attributes["dilation"], strict=True)),
    }


def write_onnx(writer: "ONNXWriter", operator: Operator, axes: tuple[int, ...]) -> None:
    """Write as ONNX; `axes` of the weight are [outputs, inputs / groups, height, width]."""
    x, weight, bias = operator.inputs
    kernel = weight.content.transpose(axes)
    convolved = f"{writer.name(operator.outputs[0])}.convolved"
    writer.node(
        "Conv",
        [writer.channels_first(operator), writer.constant(kernel, weight), writer.name(bias)],
        [convolved],
        kernel_shape=kernel.shape[2:],
        strides=operator.attributes["stride"],
        dilations=operator.attributes["dilation"],
        group=x.shape[3] // kernel.shape[1],
        pads=[pads[side] for side in (0, 1) for pads in _padding(operator)],
    )
    writer.channels_last(convolved, operator)
