"""A value between zeros."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter


def pad(graph: Graph, x: Value, amounts: Sequence[tuple[int, int]], name: str) -> Value:
    """Zeros before and after each axis."""
    shape = [size + before + after for size, (before, after) in zip(x.shape, amounts, strict=True)]
    return graph.append("pad", [x], [shape], name, amounts=tuple(amounts))[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    amounts = [amount for pair in reversed(operator.attributes["amounts"]) for amount in pair]
    return [F.pad(inputs[0], amounts)]


def _onnx(writer: "ONNXWriter", operator: Operator) -> None:
    amounts = operator.attributes["amounts"]
    pads = [pair[side] for side in (0, 1) for pair in amounts]
    writer.emit("Pad", operator, writer.integers(*pads))


register(
    Kind(
        "pad",
        "PAD",
        run=_run,
        options="PadOptions",
        parameters=lambda operator: [operator.attributes["amounts"]],
        onnx=_onnx,
        # Zeros stay zeros whatever their scale.
        move=lambda operator, arrays: [
            np.pad(arrays[0], operator.attributes["amounts"], mode="edge")
        ],
        passes_through=True,
    )
)
