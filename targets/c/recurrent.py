"""Recurrent layers in the graph of one frame: over frames, over rows, and what follows them."""

import numpy as np

from quant.graph.graph import Operator, Value
from targets.c.cells import pack_cell
from targets.c.layers import (
    Attention,
    Cell,
    Floats,
    GateValues,
    Normalization,
    Recurrence,
    Scan,
    View,
    rows_of,
)
from targets.c.walk import Walk


class RecurrentLayers(Walk):
    """Finds attention, recurrent units and normalizations by how operators are connected."""

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
