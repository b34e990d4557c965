"""A value in equal parts."""

from typing import TYPE_CHECKING

import numpy as np

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.tflite import TFLiteWriter


def split(graph: Graph, x: Value, axis: int, parts: int, name: str) -> tuple[Value, ...]:
    """Equal parts along `axis`."""
    shape = list(x.shape)
    shape[axis] //= parts
    return graph.append("split", [x], [shape] * parts, name, axis=axis)


def _tflite_inputs(writer: "TFLiteWriter", operator: Operator) -> list[int]:
    """The axis comes first."""
    given = writer.read_inputs(operator)
    return [writer.constant(np.array(operator.attributes["axis"], np.int32)), *given]


register(
    Kind(
        "split",
        "SPLIT",
        run=lambda operator, inputs: list(
            inputs[0].chunk(len(operator.outputs), dim=operator.attributes["axis"] + 1)
        ),
        options="SplitOptions",
        fields=lambda _, operator: {"numSplits": len(operator.outputs)},
        inputs=_tflite_inputs,
        onnx=lambda writer, operator: writer.emit(
            "Split", operator, axis=operator.attributes["axis"]
        ),
        move=lambda operator, arrays: np.split(
            arrays[0], len(operator.outputs), operator.attributes["axis"]
        ),
        passes_through=True,
    )
)
