"""Ways about the graph of one frame for those who look for its layers."""

import numpy as np
import torch

from quant.graph.execute import initial_states, run_step
from quant.graph.graph import Graph, Operator, Value
from targets.c.layers import Layer, View, rows_of
from targets.c.trace import Tracer


class Walk:
    """What was found of a graph's layers so far, and how to look for more."""

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
