"""From the graph of one frame to the layers of a generated engine.

Layers are found by how operators are connected, never by name. What only moves elements is
followed by index (`trace`), so slices, shuffles, reversals and interleavings cost nothing here
and, mostly, nothing in C. What feeds the first convolution and what follows the mask's activation
are linear maps over frequency; they are measured by running the graph on unit vectors.
"""

import numpy as np
import torch

from edge_se.errors import UserError
from quant.graph.execute import initial_states, run_step, same_padding
from quant.graph.graph import Graph, Operator, Value
from targets.c.cells import pack_cell
from targets.c.layers import (
    Attention,
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
    Split,
    Sum,
    Temporal,
    View,
    rows_of,
)
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


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tracer = Tracer(graph)
        self._producers = {value: op for op in graph.operators for value in op.outputs}
        self._readers: dict[Value, list[Operator]] = {}
        for operator in graph.operators:
            for value in dict.fromkeys(operator.inputs):
                self._readers.setdefault(value, []).append(operator)
        self._states = {state.input: state for state in graph.states}
        self._layers: list[Layer] = []
        self._done: set[Operator] = set()

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

    # Helpers -------------------------------------------------------------------------------

    def _append(self, layer: Layer, *operators: Operator) -> None:
        self._layers.append(layer)
        self._tracer.compute([layer.result])
        self._done.update(operators)

    def _reader(self, value: Value, kind: str) -> Operator:
        found = [op for op in self._readers.get(value, []) if op.kind == kind]
        if len(found) != 1:
            raise ValueError(f"{value.name} is read by {len(found)} operators {kind}, expected one")
        return found[0]

    def _only_reader(self, value: Value) -> Operator | None:
        readers = self._readers.get(value, [])
        return readers[0] if len(readers) == 1 else None

    def _view(self, value: Value) -> View:
        """A value that holds all rows of some neighbouring channels of another."""
        source, indices = self._tracer.source(value)
        channels, total = value.shape[-1], source.shape[-1]
        first = int(indices.flat[0])
        expected = np.arange(rows_of(source))[:, None] * total + first + np.arange(channels)
        if not np.array_equal(indices.reshape(-1, channels), expected):
            raise ValueError(f"{value.name} is no block of channels of {source.name}")
        return View(source, first, channels)

    def _whole(self, value: Value) -> Value:
        view = self._view(value)
        if view.channels != view.value.shape[-1]:
            raise ValueError(f"{value.name} is not the whole of {view.value.name}")
        return view.value

    def _measure(self, at: Value, replaced: Value, rows: np.ndarray) -> np.ndarray:
        """What `at` is when `replaced` is each of `rows` [n, *shape]: [n, *shape of at]."""
        seen: list[torch.Tensor] = []
        given = torch.from_numpy(rows.astype(np.float32))

        def hook(value: Value, tensor: torch.Tensor) -> torch.Tensor:
            if value is replaced:
                return given
            if value is at:
                seen.append(tensor)
            return tensor

        count = len(rows)
        inputs = {v.name: torch.zeros(count, *v.shape) for v in self._graph.inputs}
        outputs, _ = run_step(self._graph, inputs, initial_states(self._graph, count), hook)
        return (seen[0] if seen else outputs[0]).expand(count, *at.shape).numpy()

    def _activation(self, value: Value) -> tuple[float, bool, list[Operator]]:
        """What follows a convolution: slope, whether tanh, and the operators up to its result."""
        operators: list[Operator] = []
        following = self._only_reader(value)
        while following is not None and following.rule.passes_through:
            operators.append(following)
            following = self._only_reader(following.outputs[0])
        if following is not None and following.kind in ("leaky_relu", "tanh"):
            is_tanh = following.kind == "tanh"
            slope = 1.0 if is_tanh else float(following.attributes["slope"])
            return slope, is_tanh, [*operators, following]
        return 1.0, False, []

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

    # Recurrent layers ----------------------------------------------------------------------

    def _attention(self, operator: Operator) -> str:
        if operator.inputs[0] is not operator.inputs[1]:
            raise ValueError(f"{operator.scope} multiplies two values")
        x = operator.inputs[0]
        mean = self._reader(operator.outputs[0], "mean")
        energy = mean.outputs[0]
        reading = self._readers[energy]
        cell, values, state, members = self._recurrence(reading, energy.shape[-1])
        project = self._reader(values.state, "linear")
        sigmoid = self._reader(project.outputs[0], "sigmoid")
        gated = self._reader(sigmoid.outputs[0], "multiply")
        _, weight, bias = project.inputs
        assert weight.constant is not None and bias.constant is not None
        base = self._whole(x)
        self._tracer.compute([gated.outputs[0]])
        result, passed = self._shuffled(gated.outputs[0])
        layer = Attention(
            base,
            energy,
            cell,
            values,
            state,
            weight.constant.numpy(),
            bias.constant.numpy(),
            project.outputs[0],
            gated.outputs[0],
            passed,
            result,
        )
        self._append(layer, operator, mean, *members, project, sigmoid, gated)
        return ""

    def _shuffled(self, gated: Value) -> tuple[Value, View]:
        """The image that interleaves `gated` with other channels, and those."""
        value = gated
        while (following := self._only_reader(value)) is not None:
            if not following.rule.passes_through:
                break
            value = following.outputs[0]
        found = dict(self._tracer.sources(value))
        rows, channels = rows_of(value), value.shape[-1]
        mine = found.pop(gated).reshape(rows, channels)
        ((other, indices),) = found.items()
        indices = indices.reshape(rows, channels)
        half = channels // 2
        if not np.array_equal(mine[:, ::2].reshape(-1), np.arange(rows * half)):
            raise ValueError(f"{value.name} is no shuffle of {gated.name}")
        total = other.shape[-1]
        first = int(indices[0, 1])
        expected = np.arange(rows)[:, None] * total + first + np.arange(half)
        if not np.array_equal(indices[:, 1::2], expected):
            raise ValueError(f"{value.name} is no shuffle of {other.name}")
        return value, View(other, first, half)

    def _linear(self, operator: Operator) -> str:
        x = operator.inputs[0]
        if x in self._states or self._following_gates(operator):
            self._over_frames(operator)
        elif any(op.kind == "mean" for op in self._readers[operator.outputs[0]]):
            self._normalization(operator)
        else:
            self._scan(operator)
        return ""

    def _following_gates(self, operator: Operator) -> bool:
        """Whether it is the input's projection of a recurrent unit over frames."""
        others = [
            value
            for op in self._readers[operator.outputs[0]]
            if op.kind == "add"
            for value in op.inputs
        ]
        return any(
            producer.kind == "linear" and producer.inputs[0] in self._states
            for value in others
            if (producer := self._producers.get(value)) is not None
        )

    def _recurrence(
        self, reading: list[Operator], inputs: int
    ) -> tuple[Cell, GateValues, str, list[Operator]]:
        """The unit over frames whose input projections are the two linears among `reading`."""
        gates_input = next(op for op in reading if self._is_gates_input(op))
        gates_sum = self._reader(gates_input.outputs[0], "add")
        gates_state = self._producers[
            next(v for v in gates_sum.inputs if v is not gates_input.outputs[0])
        ]
        memory = gates_state.inputs[0]
        state = self._states[memory]
        candidate_state = next(
            op for op in self._readers[memory] if op.kind == "linear" and op is not gates_state
        )
        reset_state = self._reader(candidate_state.outputs[0], "multiply")
        candidate_sum = self._reader(reset_state.outputs[0], "add")
        candidate_input = self._producers[
            next(v for v in candidate_sum.inputs if v is not reset_state.outputs[0])
        ]
        members = self._between([gates_input, candidate_input, gates_state, candidate_state], state)
        cell = pack_cell(
            _joined(gates_input, candidate_input),
            _joined_biases(gates_input, candidate_input),
            _joined(gates_state, candidate_state),
            _constant(candidate_state, 2),
            np.arange(inputs),
            inputs,
        )
        values = GateValues(
            gates_sum.outputs[0],
            candidate_state.outputs[0],
            candidate_sum.outputs[0],
            state.output,
        )
        return cell, values, state.name, members

    def _is_gates_input(self, operator: Operator) -> bool:
        if operator.kind != "linear":
            return False
        (reader,) = self._readers[operator.outputs[0]]
        return reader.kind == "add" and self._reader_kinds(reader) == {"sigmoid"}

    def _reader_kinds(self, operator: Operator) -> set[str]:
        return {reader.kind for reader in self._readers[operator.outputs[0]]}

    def _between(self, first: list[Operator], state: object) -> list[Operator]:
        """The operators from `first` on to the state's successor."""
        (found,) = [s for s in self._graph.states if s is state]
        members, frontier = list(first), [v for op in first for v in op.outputs]
        while frontier:
            value = frontier.pop()
            if value is found.output:
                continue
            for reader in self._readers.get(value, []):
                if reader not in members:
                    members.append(reader)
                    frontier.extend(reader.outputs)
        return members

    def _over_frames(self, operator: Operator) -> None:
        x = next(
            op.inputs[0]
            for op in [operator, *self._graph.operators]
            if op.kind == "linear"
            and op.inputs[0] not in self._states
            and op not in self._done
            and self._is_gates_input(op)
        )
        cell, values, state, members = self._recurrence(
            [op for op in self._readers[x] if op.kind == "linear"], x.shape[-1]
        )
        self._append(Recurrence(self._whole(x), cell, values, state, values.state), *members)

    def _scan(self, operator: Operator) -> None:
        """A unit over rows: found from the concatenation of its states, one a row."""
        joined = next(
            op
            for op in self._graph.operators
            if op.kind == "concat"
            and len(op.inputs) == rows_of(operator.outputs[0])
            and len({value.range_key for value in op.inputs}) == 1
            and not self._tracer.is_source(op.outputs[0])
        )
        states = joined.inputs
        body = states[1].name.rpartition(".")[0]
        step = [op for op in self._graph.operators if op.scope.startswith(f"{body}.")]
        (hidden,) = [op for op in step if op.kind == "linear"]
        (sigmoid,) = [op for op in step if op.kind == "sigmoid"]
        (tanh,) = [op for op in step if op.kind == "tanh"]
        (reset_state,) = [
            op for op in step if op.kind == "multiply" and tanh.inputs[0] in self._sums(op)
        ]
        weight, bias = _constant(operator, 1), _constant(operator, 2)
        source, indices = self._tracer.source(operator.inputs[0])
        rows, channels = rows_of(source), source.shape[-1]
        forward = np.arange(channels)
        given = indices[0] % channels + channels * (indices[0] // channels > 0)
        expected = np.concatenate(
            [
                np.arange(rows)[:, None] * channels + forward,
                np.arange(rows)[::-1, None] * channels + forward,
            ],
            axis=1,
        )
        if not np.array_equal(indices, expected):
            raise ValueError(f"{operator.inputs[0].name} is not {source.name} both ways")
        cell = pack_cell(weight, bias, _constant(hidden, 1), _constant(hidden, 2), given, channels)
        values = GateValues(
            sigmoid.inputs[0],
            next(v for v in reset_state.inputs if v.range_key.endswith("candidate_state")),
            tanh.inputs[0],
            states[1],
        )
        result = joined.outputs[0]
        members = [
            op
            for op in self._graph.operators
            if any(op.scope.startswith(state.name.rpartition(".")[0] + ".") for state in states)
        ]
        self._append(Scan(source, cell, values, result), operator, joined, *members)

    def _sums(self, operator: Operator) -> list[Value]:
        return [op.outputs[0] for op in self._readers[operator.outputs[0]] if op.kind == "add"]

    def _normalization(self, operator: Operator) -> None:
        y = operator.outputs[0]
        mean = self._reader(y, "mean")
        centred = self._reader(y, "subtract")
        squared = next(
            op
            for op in self._readers[centred.outputs[0]]
            if op.inputs == (centred.outputs[0], centred.outputs[0])
        )
        variance = self._reader(squared.outputs[0], "mean")
        floored = self._reader(variance.outputs[0], "add")
        inverse = self._reader(floored.outputs[0], "reciprocal_root")
        normalized = self._reader(inverse.outputs[0], "multiply")
        scaled = self._reader(normalized.outputs[0], "multiply")
        shifted = self._reader(scaled.outputs[0], "add")
        added = self._reader(shifted.outputs[0], "add")
        residual = next(v for v in added.inputs if v is not shifted.outputs[0])
        source, weight = self._aligned(operator)
        layer = Normalization(
            source,
            y,
            self._whole(residual),
            weight,
            _constant(operator, 2),
            np.broadcast_to(_constant(scaled, 1), y.shape),
            np.broadcast_to(_constant(shifted, 1), y.shape),
            float(_constant(floored, 1).item()),
            added.outputs[0],
        )
        done = [mean, centred, squared, variance, floored, inverse, normalized, scaled, shifted]
        self._append(layer, operator, *done, added)

    def _aligned(self, operator: Operator) -> tuple[Value, Floats]:
        """A linear's input, and its weight without the columns that only reverse rows.

        A scan's backward units come in reversed rows; a scan here turns them itself.
        """
        weight = _constant(operator, 1)
        x = operator.inputs[0]
        source, indices = self._tracer.source(x)
        rows, channels = rows_of(source), source.shape[-1]
        scan = next((layer for layer in self._layers if layer.result is source), None)
        units = indices.reshape(rows, -1)[0] % channels
        turned = indices.reshape(rows, -1)[0] // channels > 0
        result = np.zeros((weight.shape[0], channels), np.float32)
        backward = np.zeros(channels, bool)
        if isinstance(scan, Scan):
            backward = np.repeat(scan.cell.backward, channels // len(scan.cell.backward))
        for column, (unit, is_turned) in enumerate(zip(units, turned, strict=True)):
            if is_turned == backward[unit]:
                result[:, unit] += weight[:, column]
            elif weight[:, column].any():
                raise ValueError(f"{operator.scope} reads rows in both orders")
        return source, result

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


def _constant(operator: Operator, position: int) -> Floats:
    """A constant operand; of an addition or multiplication, the one that there is."""
    given = operator.inputs[position]
    if given.constant is None:
        (given,) = [value for value in operator.inputs if value.constant is not None]
    assert given.constant is not None
    return given.constant.numpy()


def _joined(gates: Operator, candidate: Operator) -> Floats:
    return np.concatenate([_constant(gates, 1), _constant(candidate, 1)])


def _joined_biases(gates: Operator, candidate: Operator) -> Floats:
    return np.concatenate([_constant(gates, 2), _constant(candidate, 2)])
