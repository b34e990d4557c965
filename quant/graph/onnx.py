"""Writing a float graph as ONNX: plain operators, one per operator of the graph, names kept.

Inputs are the signals and the states under their names, outputs the signals and "<state>.next".
Images are channels-last in the graph and channels-first in ONNX's convolutions, so each of these
has a transposition before and after it; runtimes cancel those that meet.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from quant.graph.graph import Graph, Operator, State, Value

# Understood by every onnxruntime since 1.12; later opsets add nothing that a graph needs.
OPSET = 17
IR_VERSION = 8

_CHANNELS_FIRST = (0, 3, 1, 2)
_CHANNELS_LAST = (0, 2, 3, 1)


def write_onnx(graph: Graph) -> onnx.ModelProto:
    """Write the graph as an ONNX model of float tensors, with the graph's shapes."""
    return ONNXWriter(graph).write()


def next_name(state: State) -> str:
    """Name of the output that holds the state for the next frame."""
    return f"{state.name}.next"


class ONNXWriter:
    """A model in the making; operators are written by what their kinds say, with its help."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._constant_of: dict[tuple, str] = {}
        self._names = {state.output: next_name(state) for state in graph.states}

    def write(self) -> onnx.ModelProto:
        """Write the whole model."""
        for operator in self.graph.operators:
            if operator.rule.onnx is None:
                raise ValueError(
                    f"{operator.scope} is a {operator.kind}, for which there is no ONNX"
                )
            operator.rule.onnx(self, operator)
        states = self.graph.states
        content = helper.make_graph(
            self.nodes,
            "step",
            self._signatures([*self.graph.inputs, *(state.input for state in states)]),
            self._signatures([*self.graph.outputs, *(state.output for state in states)]),
            list(self.constants.values()),
        )
        return helper.make_model(
            content,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="edge-se",
        )

    # Tensors -------------------------------------------------------------------------------

    def _signatures(self, values: Sequence[Value]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(self.name(value), TensorProto.FLOAT, value.shape)
            for value in values
        ]

    def name(self, value: Value) -> str:
        """Name of the tensor that holds the value."""
        if value.constant is not None:
            return self.constant(value.content, value)
        return self._names.get(value, value.name)

    def constant(self, content: np.ndarray, value: Value) -> str:
        """Equal constants are stored once, under the name that repeated steps share."""
        content = np.ascontiguousarray(content, dtype=np.float32)
        key = (content.tobytes(), content.shape)
        if key not in self._constant_of:
            name = value.name if value.range_key in self.constants else value.range_key
            self.constants[name] = numpy_helper.from_array(content, name)
            self._constant_of[key] = name
        return self._constant_of[key]

    def integers(self, *numbers: int) -> str:
        """Name of a constant vector of integers."""
        name = "_".join(map(str, ("integers", *numbers)))
        self.constants[name] = numpy_helper.from_array(np.array(numbers, np.int64), name)
        return name

    # Operators -----------------------------------------------------------------------------

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> None:
        """A node with the names of its tensors and its attributes."""
        self.nodes.append(helper.make_node(kind, inputs, outputs, outputs[0], **more))

    def emit(
        self,
        kind: str,
        operator: Operator,
        *parameters: str,
        inputs: Sequence[Value] | None = None,
        **attributes: Any,
    ) -> None:
        """The operator as one node, rectified by another where it is.

        Args:
            kind: ONNX's name of the operator.
            operator: of the graph.
            parameters: tensors that ONNX takes after the inputs.
            inputs: instead of the operator's own.
            attributes: of the node.
        """
        given = operator.inputs if inputs is None else inputs
        results = [self.name(value) for value in operator.outputs]
        rectified = operator.attributes.get("rectified")
        outputs = [f"{name}.sums" for name in results] if rectified else results
        self.node(kind, [*map(self.name, given), *parameters], outputs, **attributes)
        if rectified:
            for before, after in zip(outputs, results, strict=True):
                self.node("Relu", [before], [after])

    def channels_first(self, operator: Operator) -> str:
        """The operator's first input, an image, with its channels first."""
        name = f"{self.name(operator.outputs[0])}.channels_first"
        self.node("Transpose", [self.name(operator.inputs[0])], [name], perm=_CHANNELS_FIRST)
        return name

    def channels_last(self, name: str, operator: Operator) -> None:
        """Make the operator's output, rectified where it is, of the image with channels first."""
        result = self.name(operator.outputs[0])
        if operator.attributes.get("rectified"):
            self.node("Relu", [name], [f"{result}.rectified"])
            name = f"{result}.rectified"
        self.node("Transpose", [name], [result], perm=_CHANNELS_LAST)
