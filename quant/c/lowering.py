"""From the graph of one frame to the layers of a generated engine.

The description marked its layers (`quant.graph.graph.Region`); each kind of region is one function
here. Constants are read from the operators, so that equalized weights and corrected biases count.
Slices and reshapes between layers cost nothing: a layer reads its channels where they lie.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from edge_se.errors import UserError
from quant.c.cells import pack_cell
from quant.c.layers import (
    AffineRectifier,
    Attention,
    AttentionBothWays,
    BandConvolution,
    Cell,
    Convolution,
    Floats,
    GateValues,
    Layer,
    Merge,
    Normalization,
    Recurrence,
    Scan,
    Sigmoid,
    Split,
    Spread,
    Sum,
    Temporal,
    View,
    rows_of,
)
from quant.graph.execute import run_region
from quant.graph.graph import Graph, Operator, Region, Value
from quant.graph.operators.convolving import same_padding

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
            f"no C engine can be generated for this network ({error}); those of GTCRN and UL-UNAS "
            "can"
        ) from error


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._producers = {value: op for op in graph.operators for value in op.outputs}
        self._states = {state.input: state for state in graph.states}
        self._layers: list[Layer] = []
        self._computed: set[Value] = set(graph.inputs)
        # Regions that are part of the layer which reads their results.
        self._waiting: dict[Value, Region] = {}

    def run(self) -> list[Layer]:
        layers: dict[str, Callable[[Region], Layer]] = {
            "merge_bands": self._merge,
            "convolution": self._convolution,
            # Each position gives two rows.
            "transposed_convolution": partial(self._plain_convolution, phases=2),
            "temporal_convolution": self._temporal,
            "shuffle": self._attention,
            "attention_both_ways": self._attention_both_ways,
            "scan_both_ways": self._scan,
            "recurrence": self._recurrence,
            "layer_norm": self._normalization,
            "split_bands": self._split,
        }
        first = {region.operators[0]: region for region in self._graph.regions}
        inside = {op for region in self._graph.regions for op in region.operators}
        for operator in self._graph.operators:
            region = first.get(operator)
            if region is None:
                if operator not in inside:
                    self._alone(operator)
            elif region.kind in ("neighbours", "attention", "linear", "linear_both_ways"):
                self._waiting[region.values["result"]] = region
            elif region.kind == "spread":
                self._spread(region)
            elif region.kind in layers:
                self._append(layers[region.kind](region))
            else:
                raise ValueError(f"{operator.scope} begins a {region.kind}")
        if self._waiting:
            raise ValueError(f"no layer reads {next(iter(self._waiting)).name}")
        return self._layers

    def _append(self, layer: Layer) -> None:
        self._layers.append(layer)
        self._computed.add(layer.result)

    def _alone(self, operator: Operator) -> None:
        """An operator outside of regions: a sum, a sigmoid, or one that only moves elements."""
        if operator.kind == "add" and not operator.attributes.get("rectified"):
            a, b = (self._whole(value) for value in operator.inputs)
            self._append(Sum(a, b, operator.outputs[0]))
        elif operator.kind == "sigmoid":
            self._append(Sigmoid(self._whole(operator.inputs[0]), operator.outputs[0]))
        elif operator.kind not in ("reshape", "slice"):
            raise ValueError(f"{operator.scope} is a {operator.kind} of its own")

    # What layers read ----------------------------------------------------------------------

    def _view(self, value: Value) -> View:
        """A value that holds all rows of some neighbouring channels of a layer's result."""
        first, channels = 0, value.shape[-1]
        source = value
        while source not in self._computed:
            operator = self._producers.get(source)
            if operator is None or operator.kind not in ("reshape", "slice"):
                raise ValueError(f"no layer computes {value.name}")
            (given,) = operator.inputs
            if operator.kind == "reshape" and _is_line(given) and _is_line(source):
                source, channels = given, given.shape[-1]
                continue
            if rows_of(given) != rows_of(source):
                raise ValueError(f"{value.name} does not hold the rows of {given.name}")
            if operator.kind == "slice":
                first += operator.attributes["begin"][-1]
            elif given.shape[-1] != source.shape[-1]:
                raise ValueError(f"{value.name} does not hold the channels of {given.name}")
            source = given
        return View(source, first, channels)

    def _whole(self, value: Value) -> Value:
        view = self._view(value)
        if view.channels != view.value.shape[-1]:
            raise ValueError(f"{value.name} is not the whole of {view.value.name}")
        return view.value

    # Bands and convolutions ----------------------------------------------------------------

    def _merge(self, region: Region) -> Layer:
        features, bands = region.values["x"], region.values["result"]
        padding, matrix = region.attributes["padding"], _matrix(region)
        # Zeros lie at both ends of the bands.
        matrix = matrix[padding : len(matrix) - padding]
        return Merge(features, matrix, region.attributes["alike"], bands)

    def _split(self, region: Region) -> Layer:
        bands, mask = self._whole(region.values["x"]), region.values["result"]
        if self._producers[bands].kind not in ("tanh", "sigmoid"):
            raise ValueError(f"{bands.name} is not bounded")
        return Split(bands, _matrix(region), region.attributes["alike"], mask)

    def _convolution(self, region: Region) -> Layer:
        x = region.values["x"]
        if x not in self._waiting:
            return self._plain_convolution(region)
        padded = self._whole(self._waiting.pop(x).values["x"])
        operator = region.producer("convolution")
        weight, bias, stride, before = _weights(operator)
        result, positions = region.values["result"], rows_of(operator.outputs[0])
        slope, _ = _activation(region)
        summed, edge = _over_bands(weight[0, 0], rows_of(x), positions, stride, before)
        if slope is None:
            raise ValueError(f"no leaky ReLU follows {operator.scope}")
        return BandConvolution(
            padded, summed, edge, bias[0, 0], stride, before + 1, slope, result, positions
        )

    def _plain_convolution(self, region: Region, phases: int = 1) -> Layer:
        operator = region.producer("convolution")
        weight, bias, stride, before = _weights(operator, phases)
        slope, bounded = _activation(region)
        return Convolution(
            self._view(region.values["x"]),
            weight,
            bias,
            stride,
            before,
            slope,
            bounded,
            region.values["result"],
            rows_of(operator.outputs[0]),
        )

    def _temporal(self, region: Region) -> Layer:
        operator = region.producer("convolution")
        past, newest = region.producer("window").inputs
        _, weight, bias = operator.inputs
        slope, _ = _activation(region)
        dilation, frames = operator.attributes["dilation"][0], past.shape[1]
        if frames != 2 * dilation or weight.shape[1:3] != (3, 3) or slope is None:
            raise ValueError(f"{operator.scope} is no 3 x 3 convolution with a leaky ReLU")
        return Temporal(
            self._whole(newest),
            self._states[past].name,
            frames,
            weight.content[0],
            bias.content,
            slope,
            region.values["result"],
        )

    def _spread(self, region: Region) -> None:
        """A convolution over frames and bands, or of each row, and the rectifier after it."""
        operator, result = region.producer("convolution"), region.values["result"]
        convolved = operator.outputs[0] if "shifted" in region.values else result
        if "window" in region.values:
            self._append(self._over_frames(region, operator, convolved))
        else:
            weight, bias, stride, before = _weights(operator)
            self._append(
                Convolution(
                    *(self._view(region.values["x"]), weight, bias, stride, before),
                    *(None, False, convolved, rows_of(convolved)),
                )
            )
        if convolved is not result:
            rows, channels = result.shape[-2:]
            (negative, _) = region.producer("below").inputs
            ratio = _sizes(self._producers[negative]) / _sizes(operator)
            above, below, shift = (
                part.reshape(-1, channels)[:rows]
                for part in (
                    region.constant("above", 0),
                    region.constant("below", 0) * ratio,
                    region.constant("shifted", 0),
                )
            )
            ratio = ratio.reshape(-1, channels)
            self._append(AffineRectifier(convolved, negative, ratio, above, below, shift, result))

    def _over_frames(self, region: Region, operator: Operator, result: Value) -> Layer:
        x, window = region.values["x"], region.values["window"]
        past = None if window is x else region.producer("window").inputs[0]
        weight, bias = (value.content for value in operator.inputs[1:])
        phases = 2 if region.attributes.get("doubled") else 1
        if operator.kind == "depthwise":
            weight = weight.swapaxes(0, 3)
        # [phases, outputs, frames, taps, inputs]
        weight = weight.reshape(phases, -1, *weight.shape[1:])
        depthwise = bool(region.attributes.get("depthwise"))
        if depthwise and weight.shape[-1] > 1:
            weight = np.stack([weight[:, o, :, :, o] for o in range(weight.shape[1])], 1)[..., None]
        stride = operator.attributes["stride"][1]
        before, _ = same_padding(rows_of(x), weight.shape[3], stride, 1)
        return Spread(
            self._whole(x),
            None if past is None else self._states[past].name,
            depthwise,
            np.ascontiguousarray(weight.transpose(0, 2, 3, 4, 1)),
            bias.reshape(phases, -1),
            stride,
            before,
            rows_of(operator.outputs[0]),
            result,
        )

    # Recurrent layers, and what follows them -----------------------------------------------

    def _recurrence(self, region: Region) -> Layer:
        cell, values, state = self._unit(region)
        return Recurrence(self._whole(region.values["x"]), cell, values, state, values.state)

    def _unit(self, region: Region) -> tuple[Cell, GateValues, str]:
        """The recurrent unit of a "recurrence"; its gates and its candidate are projected apart."""

        def joined(gates: str, candidate: str, position: int) -> Floats:
            return np.concatenate([region.constant(name, position) for name in (gates, candidate)])

        cell = pack_cell(
            joined("gates_input", "candidate_input", 0),
            joined("gates_input", "candidate_input", 1),
            joined("gates_state", "candidate_state", 0),
            region.constant("candidate_state", 1),
            region.attributes["parts"],
            region.values["x"].shape[-1],
        )
        return cell, _gate_values(region), self._states[region.values["memory"]].name

    def _scan(self, region: Region) -> Layer:
        (scan,) = region.parts
        x = self._whole(region.values["x"])
        return Scan(x, _scan_cell(scan, x), _gate_values(scan), scan.values["result"])

    def _attention(self, region: Region) -> Layer:
        """Attention, and the shuffle of what it gives with channels passed along."""
        attention = self._waiting.pop(region.values["first"])
        (recurrence,) = attention.parts
        return Attention(
            self._whole(attention.values["x"]),
            attention.values["energy"],
            *self._unit(recurrence),
            attention.constant("gate_input", 0),
            attention.constant("gate_input", 1),
            attention.values["gate_input"],
            attention.values["result"],
            self._view(region.values["second"]),
            region.values["result"],
        )

    def _attention_both_ways(self, region: Region) -> Layer:
        recurrence, both_ways, linear = region.parts
        (scan,) = both_ways.parts
        cell, _, state = self._unit(recurrence)
        return AttentionBothWays(
            self._whole(region.values["x"]),
            region.values["energy"],
            region.values["band_energy"],
            cell,
            state,
            region.constant("gate_input", 0),
            region.constant("gate_input", 1),
            _scan_cell(scan, both_ways.values["x"]),
            _of_both_ways(linear.constant("result", 0)),
            linear.constant("result", 1),
            region.values["result"],
        )

    def _normalization(self, region: Region) -> Layer:
        linear = self._waiting.pop(region.values["x"])
        y = linear.values["result"]
        weight = linear.constant("result", 0)
        if linear.kind == "linear_both_ways":
            weight = _of_both_ways(weight)
        return Normalization(
            self._whole(linear.values["x"]),
            y,
            self._whole(region.values["residual"]),
            weight,
            linear.constant("result", 1),
            np.broadcast_to(region.constant("scaled", 0), y.shape)[0, 0],
            np.broadcast_to(region.constant("shifted", 0), y.shape)[0, 0],
            float(region.constant("floored", 0).item()),
            region.values["result"],
        )


def _is_line(value: Value) -> bool:
    """Whether it has one row, or one channel."""
    return 1 in value.shape[-2:]


def _scan_cell(scan: Region, x: Value) -> Cell:
    return pack_cell(
        scan.constant("projected", 0),
        scan.constant("projected", 1),
        scan.constant("hidden", 0),
        scan.constant("hidden", 1),
        scan.attributes["parts"],
        x.shape[-1],
    )


def _of_both_ways(weight: Floats) -> Floats:
    """The weight of forward and backward units, [outputs, 2 units].

    The description has rows in order and again reversed: forward units are read there, backward
    ones here.
    """
    forward, _, _, backward = np.split(weight, 4, axis=1)
    return np.concatenate([forward, backward], axis=1)


def _matrix(region: Region) -> Floats:
    """What a region makes of each unit vector in the first row of its input: [results, inputs]."""
    x = region.values["x"]
    rows, count = x.shape[-2:]
    units = torch.zeros(count, rows, count)
    units[:, 0] = torch.eye(count)
    found = run_region(region, units.view(count, *x.shape)).reshape(count, rows, -1)
    return np.ascontiguousarray(found[:, 0].T.numpy())


def _weights(operator: Operator, phases: int = 1) -> tuple[Floats, Floats, int, int]:
    """Weight [phases, groups, outputs, taps, inputs], bias of its first axes, stride, padding.

    Channels lie as [groups, phases, outputs].
    """
    x, weight, bias = operator.inputs
    _, height, taps, inputs = weight.shape
    groups = x.shape[-1] // inputs
    if height != 1 or operator.attributes["dilation"] != (1, 1):
        raise ValueError(f"{operator.scope} reaches over time")
    stride = operator.attributes["stride"][1]
    before, _ = same_padding(rows_of(x), taps, stride, 1)
    w = weight.content.reshape(groups, phases, -1, taps, inputs).swapaxes(0, 1)
    b = bias.content.reshape(groups, phases, -1).swapaxes(0, 1)
    return np.ascontiguousarray(w), np.ascontiguousarray(b), stride, before


def _sizes(operator: Operator) -> Floats:
    """Largest weight of each output channel of a convolution, 1 where there are none."""
    weight = np.abs(operator.inputs[1].content)
    if operator.kind == "depthwise":
        weight = weight.swapaxes(0, 3)
    largest = weight.reshape(len(weight), -1).max(axis=1)
    return np.where(largest > 0, largest, 1).astype(np.float32)


def _activation(region: Region) -> tuple[float | None, bool]:
    """Slope of the leaky ReLU after a convolution, None without one; whether tanh follows it."""
    operator = region.producer("result")
    slope = float(operator.attributes["slope"]) if operator.kind == "leaky_relu" else None
    return slope, operator.kind == "tanh"


def _over_bands(
    weight: Floats, rows: int, positions: int, stride: int, before: int
) -> tuple[Floats, Floats]:
    """The weight over bands of one over bands with their neighbours, and `BandConvolution.edge`."""
    outputs, taps, _ = weight.shape
    parts = weight.reshape(outputs, taps, NEIGHBOURS, FEATURES)
    summed = np.zeros((outputs, taps + NEIGHBOURS - 1, FEATURES), np.float32)
    for neighbour in range(NEIGHBOURS):
        summed[:, neighbour : neighbour + taps] += parts[:, :, neighbour]
    # The tap on position -1 has band 0 as its upper neighbour, though all of it is padding; so has
    # the tap past the end the last band as its lower one.
    last = rows - ((positions - 1) * stride - before)
    none = np.zeros((outputs, FEATURES), np.float32)
    edge = [
        parts[:, before - 1, 2] if before > 0 else none,
        parts[:, last, 0] if last < taps else none,
    ]
    return summed, np.stack(edge)


def _gate_values(region: Region) -> GateValues:
    names = ("gates_sum", "candidate_state", "candidate_sum", "state")
    return GateValues(*(region.values[name] for name in names))
