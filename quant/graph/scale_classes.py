"""Which elements of a graph's values must be scaled alike, if the graph is to compute the same.

Every element of every value belongs to a class of elements that must be scaled alike. Weighted
operators and constants absorb any scale; (leaky) ReLUs, sums, skips, shuffles and histories carry
it on; products add exponents; sigmoids, tanhs and roots pin it to one. Each kind of operator says
what it does to scales (`quant.graph.kinds.Kind.scale`); `quant.ptq.equalization` chooses them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from quant.graph.graph import Graph, Operator, Value

PINNED = 0  # the class whose scale is one


@dataclass(frozen=True)
class Scaling:
    """Class and exponent of every element of a value: it is scaled by scale[class] ** exponent."""

    classes: np.ndarray
    exponents: np.ndarray

    def broadcast(self, shape: tuple[int, ...]) -> "Scaling":
        """That of the value, broadcast to a shape."""
        return Scaling(np.broadcast_to(self.classes, shape), np.broadcast_to(self.exponents, shape))

    def squared(self) -> "Scaling":
        """That of the value's square."""
        return Scaling(self.classes, 2 * self.exponents)


class ScaleClasses:
    """The classes of elements of a graph that must be scaled alike."""

    def __init__(self, graph: Graph) -> None:
        self._parent = [PINNED]
        self._scalings: dict[Value, Scaling] = {}
        self._histories = {
            state.input: state.source
            for state in graph.states
            if state.source is not None and state.source.constant is None
        }
        for value in graph.inputs:
            self._scalings[value] = self._pinned(value.shape)
        for state in graph.states:
            if state.input not in self._histories:
                self._scalings[state.input] = self._pinned(state.input.shape)
        for operator in graph.operators:
            self._follow(operator)
        for value in graph.outputs:
            self.pin(self._scalings[value])
        self._roots = np.array([self._root(member) for member in range(len(self._parent))])

    def of(self, value: Value) -> Scaling:
        """Scaling of a value that is not a constant."""
        scaling = self._scalings[value]
        return Scaling(self._roots[scaling.classes], scaling.exponents)

    def free(self) -> set[int]:
        """Classes whose scale may be chosen."""
        return {int(root) for root in np.unique(self._roots)} - {PINNED}

    # Union-find ----------------------------------------------------------------------------

    def _root(self, member: int) -> int:
        while self._parent[member] != member:
            self._parent[member] = self._parent[self._parent[member]]
            member = self._parent[member]
        return member

    def unite(self, a: Scaling, b: Scaling) -> None:
        """Let elements at the same place be scaled alike."""
        pairs = np.stack([x.ravel() for x in (a.classes, a.exponents, b.classes, b.exponents)])
        for class_a, exponent_a, class_b, exponent_b in np.unique(pairs, axis=1).T:
            root_a, root_b = self._root(class_a), self._root(class_b)
            if exponent_a != exponent_b:
                self._parent[root_a] = self._parent[root_b] = PINNED
            else:
                self._parent[max(root_a, root_b)] = min(root_a, root_b)

    def pin(self, scaling: Scaling) -> None:
        """Leave all elements as they are."""
        for member in np.unique(scaling.classes):
            self._parent[self._root(member)] = PINNED

    def is_pinned(self, scaling: Scaling) -> bool:
        """Whether all elements, as far as is known yet, are left as they are."""
        return all(self._root(member) == PINNED for member in np.unique(scaling.classes))

    @staticmethod
    def _pinned(shape: tuple[int, ...]) -> Scaling:
        return Scaling(np.zeros(shape, np.int64), np.ones(shape, np.int64))

    def fresh(self, shape: tuple[int, ...], along: tuple[int, ...]) -> Scaling:
        """New classes, one per index along the axes `along`."""
        sizes = tuple(size if axis in along else 1 for axis, size in enumerate(shape))
        first = len(self._parent)
        count = int(np.prod(sizes))
        self._parent.extend(range(first, first + count))
        classes = np.broadcast_to(np.arange(first, first + count).reshape(sizes), shape)
        return Scaling(classes, np.ones(shape, np.int64))

    def level(self, scaling: Scaling, axes: Iterable[int]) -> Scaling:
        """Unite along `axes`; returns the first index of each, kept with size 1."""
        index = tuple(
            slice(0, 1) if axis in set(axes) else slice(None)
            for axis in range(scaling.classes.ndim)
        )
        first = Scaling(scaling.classes[index], scaling.exponents[index])
        self.unite(first.broadcast(scaling.classes.shape), scaling)
        return first

    # Operators -----------------------------------------------------------------------------

    def _scaling(self, value: Value) -> Scaling:
        source = self._histories.get(value)
        if value not in self._scalings and source is not None:
            self._scalings[value] = self._scalings[source].broadcast(value.shape)
        return self._scalings[value]

    def _follow(self, operator: Operator) -> None:
        rule = operator.rule
        given = [
            self._pinned(value.shape) if value.constant is not None else self._scaling(value)
            for value in operator.inputs
        ]
        if rule.scale is not None:
            results = rule.scale(self, operator, given)
        elif rule.move is not None:
            moved = (
                rule.move(operator, [getattr(scaling, part) for scaling in given])
                for part in ("classes", "exponents")
            )
            results = [Scaling(c, e) for c, e in zip(*moved, strict=True)]
        else:
            for scaling in given:
                self.pin(scaling)
            results = [self._pinned(value.shape) for value in operator.outputs]
        for value, scaling in zip(operator.outputs, results, strict=True):
            self._scalings[value] = scaling
            if value.fixed_range is not None:
                self.pin(scaling)
