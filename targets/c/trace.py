"""Where the elements of a graph's values come from, through operators that only move them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from quant.graph.graph import Graph, Value

Indices = NDArray[np.int64]
# An element's code is its source's number times this, plus its index in the source.
_SPAN = 1 << 24
NOTHING = -1  # code of a constant's element


class Tracer:
    """Follows elements back to the values that layers have computed so far."""

    def __init__(self, graph: Graph) -> None:
        self._producers = {value: op for op in graph.operators for value in op.outputs}
        self._numbers: dict[Value, int] = {}
        self._values: list[Value] = []

    def compute(self, values: Iterable[Value]) -> None:
        """Let these values be sources: they are not followed any further back."""
        for value in values:
            self._numbers[value] = len(self._values)
            self._values.append(value)

    def is_source(self, value: Value) -> bool:
        """Whether a layer has computed it."""
        return value in self._numbers

    def sources(self, value: Value) -> list[tuple[Value, Indices]]:
        """The values that `value` consists of.

        Returns:
            For each source, an array of `value`'s shape: the flat index in that source, or NOTHING.

        Raises:
            ValueError: It depends on something that no layer has computed.
        """
        codes = self._codes(value)
        found = np.unique(codes[codes != NOTHING] // _SPAN)
        return [
            (self._values[number], np.where(codes // _SPAN == number, codes % _SPAN, NOTHING))
            for number in found
        ]

    def source(self, value: Value) -> tuple[Value, Indices]:
        """The only source of a value; raises ValueError if there are several."""
        found = self.sources(value)
        if len(found) != 1:
            raise ValueError(f"{value.name} consists of {len(found)} values, expected one")
        return found[0]

    def _codes(self, value: Value) -> Indices:
        if value in self._numbers:
            size = int(np.prod(value.shape))
            return (self._numbers[value] * _SPAN + np.arange(size)).reshape(value.shape)
        if value.constant is not None:
            return np.full(value.shape, NOTHING)
        operator = self._producers.get(value)
        if operator is None or operator.rule.move is None:
            raise ValueError(f"no layer computes {value.name}")
        moved = operator.rule.move(operator, [self._codes(given) for given in operator.inputs])
        return moved[operator.outputs.index(value)]
