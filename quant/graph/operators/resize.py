"""An image in another size."""

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter


def resize(graph: Graph, x: Value, size: tuple[int, int], name: str) -> Value:
    """[1, h, w, C] interpolated bilinearly to [1, *size, C], corners aligned."""
    return graph.append("resize", [x], [(1, *size, x.shape[3])], name, size=size)[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    x = inputs[0].flatten(0, 1).permute(0, 3, 1, 2)
    y = F.interpolate(x, operator.attributes["size"], mode="bilinear", align_corners=True)
    return [y.permute(0, 2, 3, 1).unflatten(0, inputs[0].shape[:2])]


def _onnx(writer: "ONNXWriter", operator: Operator) -> None:
    (result,) = operator.outputs
    _, height, width, channels = result.shape
    resized = f"{writer.name(result)}.resized"
    writer.node(
        "Resize",
        [writer.channels_first(operator), "", "", writer.integers(1, channels, height, width)],
        [resized],
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )
    writer.channels_last(resized, operator)


register(
    Kind(
        "resize",
        "RESIZE_BILINEAR",
        run=_run,
        options="ResizeBilinearOptions",
        fields=lambda *_: {"alignCorners": True},
        parameters=lambda op: [op.attributes["size"]],
        onnx=_onnx,
        scale=lambda classes, op, given: [
            classes.level(given[0], (1, 2)).broadcast(op.outputs[0].shape)
        ],
        passes_through=True,
        version=3,
    )
)
