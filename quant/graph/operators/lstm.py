"""A bidirectional LSTM."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from quant.graph.encoding import FLOAT
from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register

if TYPE_CHECKING:
    from quant.graph.onnx import ONNXWriter
    from quant.graph.tflite import TFLiteWriter

_ABSENT = -1  # an optional input of TFLite's that is not given
_TANH = 4  # TFLite's number of this activation


def bidirectional_lstm(graph: Graph, x: Value, weights: Sequence[Tensor], name: str) -> Value:
    """A bidirectional LSTM over time, from zero states: [T, 1, I] to [T, 1, 2 H].

    Args:
        graph: the frame.
        x: the sequence.
        weights: forward, then backward: input weight [4 H, I], state weight [4 H, H] and bias
            [4 H]; gates in the order input, forget, cell, output, as torch has them.
        name: of the result.
    """
    parts = ("input_weight", "state_weight", "bias")
    names = [f"{name}.{way}.{part}" for way in ("forward", "backward") for part in parts]
    constants = [graph.constant(w, n) for w, n in zip(weights, names, strict=True)]
    shape = (x.shape[0], 1, 2 * weights[1].shape[1])
    return graph.append("lstm", [x, *constants], [shape], name)[0]


def _run(_: Operator, inputs: list[Tensor]) -> list[Tensor]:
    x, *given = inputs
    weights = []
    for input_weight, state_weight, bias in (given[:3], given[3:]):
        weights += [input_weight, state_weight, bias, torch.zeros_like(bias)]
    zeros = x.new_zeros(2, x.shape[0], weights[1].shape[1])
    rows = x[:, :, 0]  # [clips, time, 1, inputs]
    y = torch.lstm(rows, (zeros, zeros), weights, True, 1, 0.0, False, True, True)[0]
    return [y[:, :, None]]


def _tflite_inputs(writer: "TFLiteWriter", operator: Operator) -> list[int]:
    """The 48 inputs of a bidirectional LSTM; peepholes, projections and a second input are not.

    Its states are variables: whoever invokes the file for another sequence resets them.
    """
    x, *weights = operator.inputs
    inputs, states = [writer.read(x, FLOAT)], []
    for direction in (weights[:3], weights[3:]):
        input_weights, state_weights, biases = (
            [writer.constant(gate) for gate in np.split(part.content, 4)] for part in direction
        )
        inputs += [*input_weights, *state_weights, *[_ABSENT] * 3, *biases, *[_ABSENT] * 2]
        hidden = direction[1].shape[1]
        states += [writer.variable((1, hidden)), writer.variable((1, hidden))]
    return [*inputs, *states, *[_ABSENT] * 9]


def _onnx(writer: "ONNXWriter", operator: Operator) -> None:
    """ONNX keeps directions in an axis, and gates in the order input, output, forget, cell."""
    x, *weights = operator.inputs
    parts = []
    for position in range(3):
        gates = [np.split(weights[position + 3 * way].content, 4) for way in (0, 1)]
        parts.append(np.stack([np.concatenate([g[0], g[3], g[1], g[2]]) for g in gates]))
    parts[2] = np.concatenate([parts[2], np.zeros_like(parts[2])], axis=1)  # the states' biases
    names = [writer.constant(part, weights[index]) for index, part in enumerate(parts)]
    result = writer.name(operator.outputs[0])
    ways, joined = f"{result}.ways", f"{result}.joined"
    hidden = operator.outputs[0].shape[2] // 2
    inputs = [writer.name(x), *names]
    writer.node("LSTM", inputs, [ways], hidden_size=hidden, direction="bidirectional")
    # [time, direction, clip, hidden] to [time, clip, both directions].
    writer.node("Transpose", [ways], [joined], perm=(0, 2, 1, 3))
    writer.node("Reshape", [joined, writer.integers(*operator.outputs[0].shape)], [result])


register(
    Kind(
        "lstm",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        run=_run,
        options="BidirectionalSequenceLSTMOptions",
        fields=lambda *_: {
            "fusedActivationFunction": _TANH,
            "mergeOutputs": True,
            "timeMajor": True,
        },
        inputs=_tflite_inputs,
        onnx=_onnx,
        # Its integer kernel knows one direction, 16-bit cells and five inner scales per gate; every
        # error of a state is carried on to the end of the sequence.
        float_only=True,
    )
)
