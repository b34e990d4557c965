"""Writing a float graph as ONNX: plain operators, one per operator of the graph, names kept.

Inputs are the signals and the states under their names, outputs the signals and "<state>.next".
Images are channels-last in the graph and channels-first in ONNX's convolutions, so each of these
has a transposition before and after it; runtimes cancel those that meet.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from quant.graph.execute import same_padding
from quant.graph.graph import Graph, Operator, State, Value

# Understood by every onnxruntime since 1.12; later opsets add nothing that a graph needs.
OPSET = 17
IR_VERSION = 8

_CHANNELS_FIRST = (0, 3, 1, 2)
_CHANNELS_LAST = (0, 2, 3, 1)

Attributes = dict[str, Any]
# ONNX's operator and its attributes, by kind, where it takes the same inputs as the graph's.
_SAME_INPUTS: dict[str, tuple[str, Callable[[Attributes], Attributes]]] = {
    "add": ("Add", lambda _: {}),
    "subtract": ("Sub", lambda _: {}),
    "multiply": ("Mul", lambda _: {}),
    "sigmoid": ("Sigmoid", lambda _: {}),
    "tanh": ("Tanh", lambda _: {}),
    "leaky_relu": ("LeakyRelu", lambda given: {"alpha": float(given["slope"].detach())}),
    "mean": ("ReduceMean", lambda given: {"axes": given["axes"], "keepdims": 1}),
    "concat": ("Concat", lambda given: {"axis": given["axis"]}),
    "split": ("Split", lambda given: {"axis": given["axis"]}),
    "transpose": ("Transpose", lambda given: {"perm": given["permutation"]}),
}


def write_onnx(graph: Graph) -> onnx.ModelProto:
    """Write the graph as an ONNX model of float tensors, with the graph's shapes."""
    return _Writer(graph).write()


def next_name(state: State) -> str:
    """Name of the output that holds the state for the next frame."""
    return f"{state.name}.next"


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._constant_of: dict[tuple, str] = {}
        self._names = {state.output: next_name(state) for state in graph.states}
        self._special: dict[str, Callable[[Operator], None]] = {
            "linear": self._write_linear,
            "convolution": self._write_convolution,
            "depthwise": self._write_depthwise,
            "reciprocal_root": self._write_reciprocal_root,
            "slice": self._write_slice,
            "reshape": self._write_reshape,
            "reverse": self._write_reverse,
            "pad": self._write_pad,
            "resize": self._write_resize,
            "lstm": self._write_lstm,
        }

    def write(self) -> onnx.ModelProto:
        for operator in self.graph.operators:
            if operator.kind in self._special:
                self._special[operator.kind](operator)
            else:
                kind, attributes = _SAME_INPUTS[operator.kind]
                self._emit(kind, operator, attributes=attributes(operator.attributes))
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
            helper.make_tensor_value_info(self._name(value), TensorProto.FLOAT, value.shape)
            for value in values
        ]

    def _name(self, value: Value) -> str:
        """Name of the tensor that holds the value."""
        if value.constant is not None:
            return self._constant(value.constant.detach().numpy(), value)
        return self._names.get(value, value.name)

    def _constant(self, content: np.ndarray, value: Value) -> str:
        """Equal constants are stored once, under the name that repeated steps share."""
        content = np.ascontiguousarray(content, dtype=np.float32)
        key = (content.tobytes(), content.shape)
        if key not in self._constant_of:
            name = value.name if value.range_key in self.constants else value.range_key
            self.constants[name] = numpy_helper.from_array(content, name)
            self._constant_of[key] = name
        return self._constant_of[key]

    def _integers(self, *numbers: int) -> str:
        name = "_".join(map(str, ("integers", *numbers)))
        self.constants[name] = numpy_helper.from_array(np.array(numbers, np.int64), name)
        return name

    # Operators -----------------------------------------------------------------------------

    def _node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, outputs[0], **more))

    def _emit(
        self,
        kind: str,
        operator: Operator,
        parameters: Sequence[str] = (),
        attributes: Attributes | None = None,
    ) -> None:
        inputs = [*(self._name(value) for value in operator.inputs), *parameters]
        outputs = [self._name(value) for value in operator.outputs]
        self._node(kind, inputs, outputs, **(attributes or {}))

    def _write_linear(self, operator: Operator) -> None:
        x, weight, bias = operator.inputs
        assert bias.constant is not None
        biased = bool(bias.constant.any())
        inputs = [self._name(value) for value in ((x, weight, bias) if biased else (x, weight))]
        result = self._name(operator.outputs[0])
        if operator.attributes["rectified"]:
            self._node("Gemm", inputs, [f"{result}.sums"], transB=1)
            self._node("Relu", [f"{result}.sums"], [result])
        else:
            self._node("Gemm", inputs, [result], transB=1)

    def _write_convolution(self, operator: Operator) -> None:
        """Weight [outputs, height, width, inputs / groups]."""
        x, weight, _ = operator.inputs
        self._convolve(operator, (0, 3, 1, 2), groups=x.shape[3] // weight.shape[3])

    def _write_depthwise(self, operator: Operator) -> None:
        """Weight [1, height, width, channels]."""
        self._convolve(operator, (3, 0, 1, 2), groups=operator.inputs[0].shape[3])

    def _convolve(self, operator: Operator, axes: tuple[int, ...], groups: int) -> None:
        x, weight, bias = operator.inputs
        assert weight.constant is not None
        kernel = weight.constant.detach().permute(axes).numpy()
        stride, dilation = operator.attributes["stride"], operator.attributes["dilation"]
        padding = (
            [(0, 0), (0, 0)]
            if operator.attributes.get("padded")
            else [
                same_padding(
                    x.shape[1 + axis], kernel.shape[2 + axis], stride[axis], dilation[axis]
                )
                for axis in (0, 1)
            ]
        )
        result = self._name(operator.outputs[0])
        before, after = f"{result}.channels_first", f"{result}.convolved"
        self._node("Transpose", [self._name(x)], [before], perm=_CHANNELS_FIRST)
        self._node(
            "Conv",
            [before, self._constant(kernel, weight), self._name(bias)],
            [after],
            kernel_shape=kernel.shape[2:],
            strides=stride,
            dilations=dilation,
            group=groups,
            pads=[pads[side] for side in (0, 1) for pads in padding],
        )
        if operator.attributes.get("rectified", False):
            rectified = f"{result}.rectified"
            self._node("Relu", [after], [rectified])
            after = rectified
        self._node("Transpose", [after], [result], perm=_CHANNELS_LAST)

    def _write_reciprocal_root(self, operator: Operator) -> None:
        result = self._name(operator.outputs[0])
        root = f"{result}.root"
        self._node("Sqrt", [self._name(operator.inputs[0])], [root])
        self._node("Reciprocal", [root], [result])

    def _write_slice(self, operator: Operator) -> None:
        begin, size = operator.attributes["begin"], operator.attributes["size"]
        axes = [axis for axis, whole in enumerate(operator.inputs[0].shape) if size[axis] < whole]
        ends = [begin[axis] + size[axis] for axis in axes]
        parameters = ([begin[axis] for axis in axes], ends, axes)
        self._emit("Slice", operator, [self._integers(*numbers) for numbers in parameters])

    def _write_reshape(self, operator: Operator) -> None:
        self._emit("Reshape", operator, [self._integers(*operator.outputs[0].shape)])

    def _write_reverse(self, operator: Operator) -> None:
        """A slice backwards, from the last index to before the first."""
        axis = operator.attributes["axis"]
        before_first = -operator.inputs[0].shape[axis] - 1
        parameters = (-1, before_first, axis, -1)
        self._emit("Slice", operator, [self._integers(number) for number in parameters])

    def _write_pad(self, operator: Operator) -> None:
        amounts = operator.attributes["amounts"]
        pads = [pair[side] for side in (0, 1) for pair in amounts]
        self._emit("Pad", operator, [self._integers(*pads)])

    def _write_resize(self, operator: Operator) -> None:
        result = self._name(operator.outputs[0])
        before, after = f"{result}.channels_first", f"{result}.resized"
        _, height, width, channels = operator.outputs[0].shape
        self._node("Transpose", [self._name(operator.inputs[0])], [before], perm=_CHANNELS_FIRST)
        self._node(
            "Resize",
            [before, "", "", self._integers(1, channels, height, width)],
            [after],
            mode="linear",
            coordinate_transformation_mode="align_corners",
        )
        self._node("Transpose", [after], [result], perm=_CHANNELS_LAST)

    def _write_lstm(self, operator: Operator) -> None:
        """ONNX keeps directions in an axis, and gates in the order input, output, forget, cell."""
        x, *weights = operator.inputs
        parts = []
        for position in range(3):
            ways = [_array(weights[position + 3 * way]) for way in (0, 1)]
            gates = [np.split(way, 4) for way in ways]
            stacked = np.stack([np.concatenate([g[0], g[3], g[1], g[2]]) for g in gates])
            parts.append(stacked)
        parts[2] = np.concatenate([parts[2], np.zeros_like(parts[2])], axis=1)  # the states' biases
        names = [self._constant(part, weights[index]) for index, part in enumerate(parts)]
        result = self._name(operator.outputs[0])
        hidden = operator.outputs[0].shape[2] // 2
        self._node(
            "LSTM",
            [self._name(x), *names],
            [f"{result}.ways"],
            hidden_size=hidden,
            direction="bidirectional",
        )
        # [time, direction, clip, hidden] to [time, clip, both directions].
        self._node("Transpose", [f"{result}.ways"], [f"{result}.joined"], perm=(0, 2, 1, 3))
        shape = self._integers(*operator.outputs[0].shape)
        self._node("Reshape", [f"{result}.joined", shape], [result])


def _array(value: Value) -> np.ndarray:
    assert value.constant is not None
    return value.constant.detach().numpy()
