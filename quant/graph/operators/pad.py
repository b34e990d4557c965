"""A value between zeros."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register


def pad(graph: Graph, x: Value, amounts: Sequence[tuple[int, int]], name: str) -> Value:
    """Zeros before and after each axis."""
    shape = [size + before + after for size, (before, after) in zip(x.shape, amounts, strict=True)]
    return graph.append("pad", [x], [shape], name, amounts=tuple(amounts))[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    amounts = [amount for pair in reversed(operator.attributes["amounts"]) for amount in pair]
    return [F.pad(inputs[0], amounts)]


def _onnx_amounts(operator: Operator) -> list[int]:
    """Those before all axes, then those after them."""
    return [pair[side] for side in (0, 1) for pair in operator.attributes["amounts"]]


register(
    Kind(
        "pad",
        "PAD",
        run=_run,
        options="PadOptions",
        parameters=lambda op: [op.attributes["amounts"]],
        onnx=lambda writer, op: writer.emit("Pad", op, writer.integers(*_onnx_amounts(op))),
        # Zeros stay zeros whatever their scale.
        move=lambda op, arrays: [np.pad(arrays[0], op.attributes["amounts"], mode="edge")],
        passes_through=True,
    )
)
