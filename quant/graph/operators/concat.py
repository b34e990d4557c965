"""Values joined along an axis."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register


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


register(
    Kind(
        "concat",
        "CONCATENATION",
        run=_run,
        options="ConcatenationOptions",
        fields=lambda _, op: {"axis": op.attributes["axis"]},
        onnx=lambda writer, op: writer.emit("Concat", op, axis=op.attributes["axis"]),
        move=lambda op, arrays: [np.concatenate(arrays, op.attributes["axis"])],
        passes_through=True,
    )
)
