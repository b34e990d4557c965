"""Values joined along an axis."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.tflite import TFLiteWriter

# XNNPACK leaves concatenations of more alone, and TFLite Micro refuses those of more than ten.
MOST_INPUTS = 5


def concat(
    graph: Graph, values: Sequence[Value], axis: int, name: str, mixed: bool = False
) -> Value:
    """Join along `axis`; `mixed` lets each input keep a range of its own."""
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    return graph.append("concat", values, [shape], name, axis=axis, mixed=mixed)[0]


def _run(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    pairs = list(zip(inputs, operator.inputs, strict=True))
    lead = max((t.shape[0] for t, value in pairs if value.constant is None), default=1)
    whole = [t if value.constant is None else t.expand(lead, *t.shape) for t, value in pairs]
    return [torch.cat(whole, dim=operator.attributes["axis"] + 1)]


def _tflite_inputs(writer: "TFLiteWriter", operator: Operator) -> list[int]:
    """As many tensors at most as any runtime takes: neighbours among more are joined before."""
    axis = operator.attributes["axis"]
    tensors = writer.read_inputs(operator)
    sizes = [value.shape[axis] for value in operator.inputs]
    while len(tensors) > MOST_INPUTS:
        wanted = math.ceil((len(tensors) - MOST_INPUTS) / (MOST_INPUTS - 1))
        groups = min(wanted, len(tensors) // MOST_INPUTS)
        for first in range(groups):  # of the list, as those before are joined
            group = slice(first, first + MOST_INPUTS)
            shape = list(operator.outputs[0].shape)
            shape[axis] = sum(sizes[group])
            joined = writer.prepare(
                *("CONCATENATION", tensors[group], tuple(shape), "ConcatenationOptions"), axis=axis
            )
            tensors[group], sizes[group] = [joined], [shape[axis]]
    return tensors


register(
    Kind(
        "concat",
        "CONCATENATION",
        run=_run,
        options="ConcatenationOptions",
        fields=lambda _, op: {"axis": op.attributes["axis"]},
        inputs=_tflite_inputs,
        onnx=lambda writer, op: writer.emit("Concat", op, axis=op.attributes["axis"]),
        move=lambda op, arrays: [np.concatenate(arrays, op.attributes["axis"])],
        passes_through=True,
    )
)
