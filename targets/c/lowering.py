"""From the graph of one frame to the layers of a generated engine.

Layers are found by how operators are connected, never by name. What only moves elements is
followed by index (`trace`), so slices, shuffles, reversals and interleavings cost nothing here
and, mostly, nothing in C. What feeds the first convolution and what follows the mask's activation
are linear maps over frequency; they are measured by running the graph on unit vectors.
"""

import numpy as np
import torch

from edge_se.errors import UserError
from quant.graph.graph import Graph, Operator, Value
from quant.graph.operators.convolving import same_padding
from targets.c.layers import (
    BandConvolution,
    Convolution,
    Floats,
    Layer,
    Merge,
    Split,
    Sum,
    Temporal,
    rows_of,
)
from targets.c.recurrent import RecurrentLayers
from targets.c.trace import NOTHING, Tracer

FEATURES = 3  # magnitude, real and imaginary part
NEIGHBOURS = 3


def lower(graph: Graph) -> list[Layer]:
    """The layers of a frame, in the order in which they are computed.

    Raises:
        UserError: The graph holds something that no layer does.
    """
    try:
        with torch.no_grad():
            return _Lowering(graph).run()
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"no C engine can be generated for this network ({error}); GTCRN's can"
        ) from error


class _Lowering(RecurrentLayers):
    def run(self) -> list[Layer]:
        self._front()
        for operator in self._graph.operators:
            if operator in self._done or operator.rule.passes_through:
                continue
            if self._tracer.is_source(operator.outputs[0]):
                continue
            find = {
                "convolution": self._convolution,
                "depthwise": self._temporal,
                "multiply": self._attention,
                "linear": self._linear,
                "add": self._sum,
            }.get(operator.kind)
            if find is None:
                raise ValueError(f"{operator.scope} is a {operator.kind} of its own")
            if find(operator) == "end":
                break
        return self._layers

    # Front and convolutions ----------------------------------------------------------------

    def _front(self) -> None:
        """Bands, and the first convolution over each band's neighbours."""
        (features,) = self._graph.inputs
        convolution = next(op for op in self._graph.operators if op.kind == "convolution")
        image = convolution.inputs[0]
        bins, bands = features.shape[1], rows_of(image)
        matrix = np.zeros((bands, bins), np.float32)
        for row in range(FEATURES):
            units = np.zeros((bins + 1, *features.shape), np.float32)
            units[np.arange(bins), row, np.arange(bins)] = 1
            seen = self._measure(image, features, units)[:, 0, 0]
            seen = seen.reshape(bins + 1, bands, NEIGHBOURS, FEATURES)
            if row == 0:
                matrix[...] = seen[:bins, :, 1, row].T
            expected = np.zeros_like(seen)
            expected[:bins, 1:, 0, row] = matrix.T[:, :-1]
            expected[:bins, :, 1, row] = matrix.T
            expected[:bins, :-1, 2, row] = matrix.T[:, 1:]
            if not np.array_equal(seen, expected):
                raise ValueError(f"{image.name} does not hold bands with their neighbours")
        merged = next(
            v for op in self._graph.operators for v in op.outputs if v.shape == (3, bands + 2)
        )
        self._append(Merge(features, matrix, merged))
        self._band_convolution(convolution, merged)
        # What lies between is done.
        before = self._graph.operators[: self._graph.operators.index(convolution)]
        self._done.update(before)

    def _band_convolution(self, operator: Operator, bands: Value) -> None:
        _, weight, bias, stride, before = self._weights(operator)
        weight = weight[0, 0]
        outputs, taps, _ = weight.shape
        parts = weight.reshape(outputs, taps, NEIGHBOURS, FEATURES)
        summed = np.zeros((outputs, taps + NEIGHBOURS - 1, FEATURES), np.float32)
        for neighbour in range(NEIGHBOURS):
            summed[:, neighbour : neighbour + taps] += parts[:, :, neighbour]
        positions = rows_of(operator.outputs[0])
        # The tap on position -1 has band 0 as its upper neighbour, though all of it is padding;
        # so has the tap past the end the last band as its lower one.
        last = (rows_of(operator.inputs[0])) - ((positions - 1) * stride - before)
        none = np.zeros((outputs, FEATURES), np.float32)
        edge = np.stack(
            [
                parts[:, before - 1, 2] if before > 0 else none,
                parts[:, last, 0] if last < taps else none,
            ]
        )
        slope, bounded, operators = self._activation(operator.outputs[0])
        if bounded or operator.attributes["rectified"] or len(operators) != 1:
            raise ValueError(f"no leaky ReLU follows {operator.scope}")
        layer = BandConvolution(
            bands,
            summed,
            edge,
            bias[0, 0],
            stride,
            before + 1,
            slope,
            operators[-1].outputs[0],
            positions,
        )
        self._append(layer, operator, *operators)

    def _weights(self, operator: Operator) -> tuple[Value, Floats, Floats, int, int]:
        """Input, weight [1, groups, outputs, taps, inputs], bias, stride, padding before."""
        x, weight, bias = operator.inputs
        assert weight.constant is not None and bias.constant is not None
        outputs, height, taps, inputs = weight.shape
        groups = x.shape[-1] // inputs
        if height != 1 or operator.attributes["dilation"] != (1, 1):
            raise ValueError(f"{operator.scope} reaches over time")
        stride = operator.attributes["stride"][1]
        before, _ = same_padding(rows_of(x), taps, stride, 1)
        w = weight.constant.numpy().reshape(1, groups, outputs // groups, taps, inputs)
        return x, w, bias.constant.numpy().reshape(1, groups, -1), stride, before

    def _convolution(self, operator: Operator) -> str:
        x, weight, bias, stride, before = self._weights(operator)
        slope, bounded, operators = self._activation(operator.outputs[0])
        if operator.attributes["rectified"]:
            raise ValueError(f"{operator.scope} is rectified")
        computed = operator.outputs[0]
        positions, channels = rows_of(computed), computed.shape[-1]
        result = computed
        if operators:
            result = operators[-1].outputs[0]
            weight, bias = self._phases(computed, operators, weight, bias)
        layer = Convolution(
            self._view(x), weight, bias, stride, before, slope, bounded, result, positions
        )
        assert weight.shape[0] * weight.shape[1] * weight.shape[2] == channels
        self._append(layer, operator, *operators)
        if bounded:
            self._split(result)
            return "end"
        return ""

    def _phases(
        self, computed: Value, operators: list[Operator], weight: Floats, bias: Floats
    ) -> tuple[Floats, Floats]:
        """Weights sorted by the row that each output channel goes to, of those at a position."""
        aside = Tracer(self._graph)
        aside.compute([computed])
        moved = operators[-1].inputs[0]
        _, indices = aside.source(moved)
        if indices.ndim == 2 and operators[-1].kind == "tanh":
            indices = indices.T  # the mask's parts are rows
        positions, channels = rows_of(computed), computed.shape[-1]
        outputs = indices.shape[-1]
        phases = channels // outputs
        order = np.full(channels, NOTHING)
        flat = indices.reshape(-1, outputs)
        order[:] = flat[:phases].reshape(-1)
        expected = np.arange(positions)[:, None] * channels + order
        if not np.array_equal(flat, expected.reshape(-1, outputs)[: len(flat)]):
            raise ValueError(
                f"{moved.name} holds the rows of {computed.name} in no order of phases"
            )
        groups = weight.shape[1]
        taps, inputs = weight.shape[3:]
        sorted_weight = weight.reshape(channels, taps, inputs)[order]
        group = (order // (channels // groups)).reshape(phases, groups, -1)
        if not (group == np.arange(groups)[None, :, None]).all():
            raise ValueError(f"{moved.name} mixes groups of channels")
        return (
            sorted_weight.reshape(phases, groups, -1, taps, inputs),
            bias.reshape(channels)[order].reshape(phases, groups, -1),
        )

    def _temporal(self, operator: Operator) -> str:
        window, weight, bias = operator.inputs
        assert weight.constant is not None and bias.constant is not None
        past, newest = self._producers[window].inputs
        state = self._states[past]
        slope, bounded, operators = self._activation(operator.outputs[0])
        dilation, frames = operator.attributes["dilation"][0], past.shape[1]
        if frames != 2 * dilation or weight.shape[1:3] != (3, 3) or bounded or not operators:
            raise ValueError(f"{operator.scope} is no 3 x 3 convolution with a leaky ReLU")
        layer = Temporal(
            self._whole(newest),
            state.name,
            frames,
            weight.constant.numpy()[0],
            bias.constant.numpy(),
            slope,
            operators[-1].outputs[0],
        )
        self._append(layer, operator, *operators)
        return ""

    # The rest ------------------------------------------------------------------------------

    def _sum(self, operator: Operator) -> str:
        if operator.attributes.get("rectified"):
            raise ValueError(f"{operator.scope} is rectified")
        a, b = (self._whole(value) for value in operator.inputs)
        self._append(Sum(a, b, operator.outputs[0]), operator)
        return ""

    def _split(self, bands: Value) -> None:
        (mask,) = self._graph.outputs
        parts, count = bands.shape
        bins = mask.shape[1]
        matrix = np.zeros((bins, count), np.float32)
        for part in range(parts):
            units = np.zeros((count, *bands.shape), np.float32)
            units[np.arange(count), part, np.arange(count)] = 1
            seen = self._measure(mask, bands, units)
            if part == 0:
                matrix[...] = seen[:, part].T
            expected = np.zeros_like(seen)
            expected[:, part] = matrix.T
            if not np.array_equal(seen, expected):
                raise ValueError("the parts of the mask are not split alike")
        self._append(Split(bands, matrix, mask))
