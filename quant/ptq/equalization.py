"""Cross-layer equalization: rescale channels so that all of a tensor's channels use its range.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight
equalization and bias correction", ICCV 2019. There, pairs of convolutions are rescaled; here the
rule is generalised to a whole graph. Every element of every value belongs to a class of elements
that must be scaled alike. Weighted operators and constants absorb any scale; (leaky) ReLUs, sums,
skips, shuffles and histories carry it on; products add exponents; sigmoids, tanhs and roots pin
it to one. The float graph computes the same as before.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from quant.graph.graph import Graph, Operator, Value
from quant.graph.moving import move_array

PINNED = 0  # the class whose scale is one
# A channel is amplified by at most this factor: its rare values must keep their place.
LARGEST_AMPLIFICATION = 8.0


@dataclass(frozen=True)
class Scaling:
    """Class and exponent of every element of a value: it is scaled by scale[class] ** exponent."""

    classes: np.ndarray
    exponents: np.ndarray


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
            self._pin(self._scalings[value].classes)
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

    def _unite(self, a: Scaling, b: Scaling) -> None:
        pairs = np.stack([x.ravel() for x in (a.classes, a.exponents, b.classes, b.exponents)])
        for class_a, exponent_a, class_b, exponent_b in np.unique(pairs, axis=1).T:
            root_a, root_b = self._root(class_a), self._root(class_b)
            if exponent_a != exponent_b:
                self._parent[root_a] = self._parent[root_b] = PINNED
            else:
                self._parent[max(root_a, root_b)] = min(root_a, root_b)

    def _pin(self, classes: np.ndarray) -> None:
        for member in np.unique(classes):
            self._parent[self._root(member)] = PINNED

    @staticmethod
    def _pinned(shape: tuple[int, ...]) -> Scaling:
        return Scaling(np.zeros(shape, np.int64), np.ones(shape, np.int64))

    def _fresh(self, shape: tuple[int, ...], along: tuple[int, ...]) -> Scaling:
        """New classes, one per index along the axes `along`."""
        sizes = tuple(size if axis in along else 1 for axis, size in enumerate(shape))
        first = len(self._parent)
        count = int(np.prod(sizes))
        self._parent.extend(range(first, first + count))
        classes = np.broadcast_to(np.arange(first, first + count).reshape(sizes), shape)
        return Scaling(classes, np.ones(shape, np.int64))

    def _level(self, scaling: Scaling, axes: Iterable[int]) -> Scaling:
        """Unite along `axes`; returns the first index of each, kept with size 1."""
        index = tuple(
            slice(0, 1) if axis in set(axes) else slice(None)
            for axis in range(scaling.classes.ndim)
        )
        first = Scaling(scaling.classes[index], scaling.exponents[index])
        self._unite(_broadcast(first, scaling.classes.shape), scaling)
        return first

    # Operators -----------------------------------------------------------------------------

    def _scaling(self, value: Value) -> Scaling:
        source = self._histories.get(value)
        if value not in self._scalings and source is not None:
            self._scalings[value] = _broadcast(self._scalings[source], value.shape)
        return self._scalings[value]

    def _follow(self, operator: Operator) -> None:
        rule, output = operator.rule, operator.outputs[0]
        given = [
            self._pinned(value.shape) if value.constant is not None else self._scaling(value)
            for value in operator.inputs
        ]
        if rule.weighted:
            last = len(operator.inputs[0].shape) - 1
            self._level(given[0], range(last))
            results = [self._fresh(output.shape, (last,))]
        elif operator.kind == "resize":
            level = self._level(given[0], (1, 2))
            results = [_broadcast(level, output.shape)]
        elif rule.passes_through:
            results = _move(operator, given)
        elif operator.kind == "leaky_relu":
            results = [given[0]]
        elif operator.kind == "mean":
            results = [self._level(given[0], operator.attributes["axes"])]
        elif operator.kind in ("add", "subtract"):
            results = [self._sum(operator, given)]
        elif operator.kind == "multiply":
            results = [self._product(operator, given)]
        else:
            for scaling in given:
                self._pin(scaling.classes)
            results = [self._pinned(output.shape)]
        for value, scaling in zip(operator.outputs, results, strict=True):
            self._scalings[value] = scaling
            if value.fixed_range is not None:
                self._pin(scaling.classes)

    def _sum(self, operator: Operator, given: list[Scaling]) -> Scaling:
        shape = operator.outputs[0].shape
        terms = []
        for value, scaling in zip(operator.inputs, given, strict=True):
            if value.constant is None:
                terms.append(_broadcast(scaling, shape))
        result = terms[0]
        for term in terms[1:]:
            self._unite(result, term)
        for value in operator.inputs:
            if value.constant is not None:
                self._level(result, _broadcast_axes(value.shape, shape))
        return result

    def _product(self, operator: Operator, given: list[Scaling]) -> Scaling:
        a, b = operator.inputs
        shape = operator.outputs[0].shape
        if a is b:
            return Scaling(given[0].classes, 2 * given[0].exponents)
        for position, value in enumerate(operator.inputs):
            if value.constant is not None:
                spread = _broadcast_axes(value.shape, shape)
                self._level(_broadcast(given[1 - position], shape), spread)
                along = tuple(axis for axis in range(len(shape)) if axis not in spread)
                return self._fresh(shape, along)
        roots = [{self._root(c) for c in np.unique(scaling.classes)} for scaling in given]
        if roots[1] != {PINNED}:
            if roots[0] != {PINNED}:
                self._pin(given[0].classes)
            return _broadcast(given[1], shape)
        return _broadcast(given[0], shape)


def _broadcast(scaling: Scaling, shape: tuple[int, ...]) -> Scaling:
    return Scaling(
        np.broadcast_to(scaling.classes, shape), np.broadcast_to(scaling.exponents, shape)
    )


def _broadcast_axes(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of `target` along which a tensor of `shape` is repeated."""
    missing = len(target) - len(shape)
    return tuple(
        axis
        for axis, size in enumerate(target)
        if axis < missing or (shape[axis - missing] == 1 and size > 1)
    )


def _move(operator: Operator, given: list[Scaling]) -> list[Scaling]:
    """What an operator that only moves elements does, done to their classes."""
    moved = [
        move_array(operator, [getattr(scaling, part) for scaling in given])
        for part in ("classes", "exponents")
    ]
    return [Scaling(c, e) for c, e in zip(*moved, strict=True)]


def choose_scales(
    classes: ScaleClasses,
    magnitudes: Mapping[Value, np.ndarray],
    largest_amplification: float = LARGEST_AMPLIFICATION,
) -> dict[int, float]:
    """Scale of each class: how large its elements are beside the largest of their tensors.

    Args:
        classes: of the graph.
        magnitudes: for values worth equalizing, a high percentile of the absolute value of each
            channel (last axis), from calibration.
        largest_amplification: no channel is amplified by more.
    """
    scales: dict[int, float] = {}
    for value, channels in magnitudes.items():
        scaling = classes.of(value)
        relative = channels / max(float(channels.max()), 1e-12)
        by_channel = scaling.classes.reshape(-1, len(channels))
        for members, exponents in zip(
            by_channel, scaling.exponents.reshape(by_channel.shape), strict=True
        ):
            for member, exponent, size in zip(members, exponents, relative, strict=True):
                if member != PINNED and exponent == 1:
                    scales[int(member)] = max(scales.get(int(member), 0.0), float(size))
    return {c: max(scale, 1 / largest_amplification) for c, scale in scales.items()}


def equalize(graph: Graph, classes: ScaleClasses, scales: Mapping[int, float]) -> None:
    """Rescale the graph's constants in place, so that values of a class shrink by its scale.

    Args:
        graph: the frame.
        classes: of this graph.
        scales: scale of each class; those not named keep theirs.
    """
    table = np.ones(max([PINNED, *classes.free()]) + 1)
    for member, scale in scales.items():
        table[member] = scale
    table[PINNED] = 1.0

    def scale_of(value: Value) -> np.ndarray:
        scaling = classes.of(value)
        return table[scaling.classes] ** scaling.exponents

    for operator in graph.operators:
        if operator.rule.weighted:
            _rescale_weights(operator, scale_of(operator.inputs[0]), scale_of(operator.outputs[0]))
        elif operator.kind in ("add", "subtract", "multiply"):
            _rescale_operand(operator, scale_of)


def _rescale_weights(operator: Operator, before: np.ndarray, after: np.ndarray) -> None:
    _, weight, bias = operator.inputs
    assert weight.constant is not None and bias.constant is not None
    channels_in = _as_tensor(before.reshape(-1, before.shape[-1])[0])
    channels_out = _as_tensor(after.reshape(-1, after.shape[-1])[0])
    if operator.rule.output_axis == 0:
        per_output = weight.constant.shape[-1]
        outputs = len(channels_out)
        groups = len(channels_in) // per_output
        inputs = channels_in.view(groups, per_output).repeat_interleave(outputs // groups, dim=0)
        middle = [1] * (weight.constant.dim() - 2)
        gain = (inputs / channels_out[:, None]).view(outputs, *middle, per_output)
    else:
        gain = channels_in / channels_out
    weight.constant = weight.constant * gain
    bias.constant = bias.constant / channels_out


def _rescale_operand(operator: Operator, scale_of: Callable[[Value], np.ndarray]) -> None:
    shape = operator.outputs[0].shape
    for position, value in enumerate(operator.inputs):
        if value.constant is None:
            continue
        after = np.broadcast_to(scale_of(operator.outputs[0]), shape)
        factor = 1 / after
        if operator.kind == "multiply":
            other = operator.inputs[1 - position]
            factor = factor * np.broadcast_to(scale_of(other), shape)
        for axis in _broadcast_axes(value.shape, shape):
            factor = np.take(factor, [0], axis=axis)
        value.constant = value.constant * _as_tensor(factor.reshape(value.shape))


def _as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
