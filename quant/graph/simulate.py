"""Fake quantization: a graph run in torch with the rounding of its quantized TFLite file.

Rounds weights and activations where the file does, with straight-through gradients (Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference",
CVPR 2018), so that quality can be predicted, and trained, without writing a file.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from quant.graph.encoding import FLOAT, Chooser, Encoding, Precision, encode_range
from quant.graph.graph import Graph, Operator, Value
from quant.graph.operators.weighted import WEIGHT_LIMIT, weight_scales


class FakeQuantizer:
    """A hook for `quant.graph.execute` that rounds every tensor as the file stores it.

    It rounds constants once: while they are trained, every forward pass wants another.
    """

    def __init__(self, graph: Graph, encodings: Mapping[Value, Encoding], choose: Chooser) -> None:
        self._encodings = dict(encodings) | _entries(graph, encodings)
        # Bands are made of exact values, and then rounded.
        self._encodings |= {v: FLOAT for v in graph.inputs if v not in set(graph.fed)}
        self._constants: dict[Value, tuple[Operator, int]] = {}
        for operator in graph.operators:
            for position, value in enumerate(operator.inputs):
                if value.constant is not None:
                    self._constants[value] = (operator, position)
        self._choose = choose
        self._rounded: dict[Value, Tensor] = {}
        # Moving rounded values rounds nothing.
        self._moved = {state.input for state in graph.states}
        for operator in graph.operators:
            if operator.keeps_encoding:
                self._moved.update(operator.outputs)

    def __call__(self, value: Value, tensor: Tensor) -> Tensor:
        """The tensor as it is after being stored."""
        if value.constant is None:
            return tensor if value in self._moved else _round(tensor, self._encodings[value])
        operator, position = self._constants[value]
        if value not in self._rounded:  # a recurrence reads its constants in every frame
            self._rounded[value] = self._constant(operator, position, tensor)
        return self._rounded[value]

    def _constant(self, operator: Operator, position: int, tensor: Tensor) -> Tensor:
        result = self._encodings[operator.outputs[0]]
        if operator.rule.weighted:
            quantized = (
                result.precision is not Precision.FLOAT
                or self._choose(operator) is Precision.DYNAMIC
            )
            is_weight = position == 1
            return round_weight(tensor, operator) if quantized and is_weight else tensor
        if result.precision is Precision.FLOAT:
            return tensor
        if operator.rule.passes_through:
            return _round(tensor, result)
        low, high = torch.aminmax(tensor.detach())
        own = encode_range(float(low), float(high), result.precision)
        return _round(tensor, own)


def _entries(graph: Graph, encodings: Mapping[Value, Encoding]) -> dict[Value, Encoding]:
    """Encodings in which float values enter quantized operators, where all their readers are."""
    readers: dict[Value, set[Precision]] = {}
    for operator in graph.operators:
        for value in operator.inputs:
            precision = encodings[operator.outputs[0]].precision
            readers.setdefault(value, set()).add(precision)
    return {
        value: encode_range(*encoding.range, *readers[value])
        for value, encoding in encodings.items()
        if encoding.float_range is not None and len(readers.get(value, ())) == 1
    }


def _round(tensor: Tensor, encoding: Encoding) -> Tensor:
    if encoding.precision is Precision.FLOAT:
        return tensor
    low, high = (limit - encoding.zero_point for limit in encoding.limits)
    rounded: Tensor = _Rounding.apply(tensor, encoding.scale, low, high)
    return rounded


class _Rounding(torch.autograd.Function):
    """`torch.fake_quantize_per_tensor_affine` in vectorised operations: several times faster."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.range = low * scale, high * scale
        return x.mul(1 / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        # Straight through, and nothing where the value saturates.
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.range), None, None, None


def round_weight(weight: Tensor, operator: Operator) -> Tensor:
    """The weight as its operator stores it in 8 bits, one scale per output channel."""
    axis = operator.rule.output_axis
    scales = torch.from_numpy(weight_scales(weight.detach().numpy(), axis))
    zero_points = torch.zeros(len(scales), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(
        weight, scales, zero_points, axis, -WEIGHT_LIMIT, WEIGHT_LIMIT
    )
