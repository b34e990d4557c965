"""How every value of a graph is stored: which precision, scale and zero point.

A value's precision follows from the operator that produces it. Operators that only move values
(slices, reshapes, concatenations, transposes) share one encoding with their input, and a state's
input shares one with its output, so that raw integers pass from frame to frame.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache

import numpy as np

from quant.graph.graph import Graph, Operator, Range, Value


class Precision(Enum):
    """Arithmetic of an operator: its activations and its weights."""

    FLOAT = "float"  # 32-bit float throughout
    DYNAMIC = "dynamic"  # 8-bit weights, float activations quantized on the fly
    INT8 = "int8"  # 8-bit weights and activations
    INT16 = "int16x8"  # 8-bit weights, 16-bit activations

    @property
    def activations(self) -> "Precision":
        """Precision of the values that such an operator reads and writes."""
        return Precision.FLOAT if self is Precision.DYNAMIC else self


# From the coarsest: values that must share one encoding take the finest of theirs.
_FINENESS = [Precision.INT8, Precision.INT16, Precision.FLOAT]
_LIMITS = {Precision.INT8: (-128, 127), Precision.INT16: (-32768, 32767)}
DTYPES = {Precision.FLOAT: "float32", Precision.INT8: "int8", Precision.INT16: "int16"}
SMALLEST_SCALE = 1e-9
EVERYTHING: Range = (-math.inf, math.inf)
# How many of the next larger floats are tried as a product's scale; about 1 of 128 will do.
LARGER_SCALES = 2**12

# Chooses the precision of an operator.
Chooser = Callable[[Operator], Precision]


@dataclass(frozen=True)
class Encoding:
    """real value = (stored value - zero_point) * scale; scale 0 for floats.

    A float value has the range, if one is known, by which operators of other precisions read it.
    """

    precision: Precision
    scale: float = 0.0
    zero_point: int = 0
    float_range: Range | None = field(default=None, compare=False)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest stored value."""
        return _LIMITS[self.precision]

    @property
    def range(self) -> Range:
        """Smallest and largest real value.

        Raises:
            ValueError: it is a float without a range.
        """
        if self.precision is Precision.FLOAT:
            if self.float_range is None:
                raise ValueError("a float value without a range can't be quantized")
            return self.float_range
        low, high = self.limits
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale


FLOAT = Encoding(Precision.FLOAT)


def encode_range(low: float, high: float, precision: Precision) -> Encoding:
    """The encoding of `precision` that covers [low, high] and holds zero exactly.

    8-bit encodings are asymmetric, 16-bit ones symmetric (TFLite requires it).
    """
    if precision.activations is Precision.FLOAT:
        return FLOAT
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if precision is Precision.INT16:
        # (-1, 1) becomes the 1/32768 that TFLite fixes for sigmoid and tanh.
        unit = max(-low, high) > 0.98 and max(-low, high) <= 1.0
        bound = 32768 / 32767 if unit else max(-low, high)
        scale = (1 / 32768) if unit else max(bound / 32767, SMALLEST_SCALE)
        return Encoding(precision, float(np.float32(scale)))
    scale = float(np.float32(max((high - low) / 255, SMALLEST_SCALE)))
    zero_point = int(np.clip(np.rint(-128 - low / scale), -128, 127))
    return Encoding(precision, scale, zero_point)


class SharedEncodings:
    """Groups of values that must share one encoding."""

    def __init__(self, graph: Graph) -> None:
        self._parent: dict[Value, Value] = {}
        self._graph = graph
        for operator in graph.operators:
            if operator.keeps_encoding:
                moved = [value for value in operator.inputs if value.constant is None]
                for value in [*moved[1:], *operator.outputs]:
                    self._unite(moved[0], value)
        for state in graph.states:
            self._unite(state.input, state.output)
        self.members: dict[Value, list[Value]] = {}
        values = [*graph.inputs, *(state.input for state in graph.states)]
        values += [value for operator in graph.operators for value in operator.outputs]
        for value in values:
            self.members.setdefault(self.root(value), []).append(value)

    def root(self, value: Value) -> Value:
        """The value that stands for the group."""
        while value in self._parent:
            value = self._parent[value]
        return value

    def reaches(self, precisions: Mapping[Value, Precision]) -> dict[Value, Range]:
        """Beyond what range no operator that reads a value can tell, alike for all of a group.

        Args:
            precisions: of all values that are no constants.
        """
        found = {self.root(value): EVERYTHING for value in self._graph.outputs}
        for operator in self._graph.operators:
            if not operator.keeps_encoding:
                in_8_bits = precisions[operator.outputs[0]] is Precision.INT8
                low, high = operator.rule.reach if in_8_bits else EVERYTHING
                for root in map(self.root, operator.inputs):
                    lowest, highest = found.get(root, (low, high))
                    found[root] = min(low, lowest), max(high, highest)
        return {
            value: found.get(root, EVERYTHING)
            for root, members in self.members.items()
            for value in members
        }

    def _unite(self, a: Value, b: Value) -> None:
        a, b = self.root(a), self.root(b)
        if a is not b:
            self._parent[b] = a


def assign_encodings(
    graph: Graph, choose: Chooser, ranges: Mapping[str, Range], signals: Precision
) -> dict[Value, Encoding]:
    """Encode every value that is not a constant.

    What is read in 8 bits only gets no room beyond the reach of all operators that read it.

    Args:
        graph: the frame.
        choose: precision of each operator.
        ranges: calibrated ranges by range key; needed for values below float precision that
            have no fixed range.
        signals: precision of the input signals.

    Raises:
        KeyError: a range is missing.
    """
    shared = SharedEncodings(graph)
    fed = set(graph.fed)
    precisions = {
        value: signals.activations if value in fed else Precision.FLOAT for value in graph.inputs
    }
    for operator in graph.operators:
        if not operator.keeps_encoding:
            chosen = Precision.FLOAT if operator.rule.float_only else choose(operator)
            precision = chosen.activations
            precisions |= dict.fromkeys(operator.outputs, precision)
    reach = shared.reaches(precisions)
    encodings: dict[Value, Encoding] = {}
    for members in shared.members.values():
        computed = [value for value in members if value in precisions]
        precision = max((precisions[value] for value in computed), key=_FINENESS.index)
        if precision is Precision.FLOAT and not all(v.range_key in ranges for v in computed):
            encoding = FLOAT
        else:
            spans = [value.fixed_range or ranges[value.range_key] for value in computed]
            lowest, highest = reach[members[0]]
            low = max(min(low for low, _ in spans), lowest)
            high = min(max(high for _, high in spans), highest)
            if precision is Precision.FLOAT:
                encoding = Encoding(precision, float_range=(low, high))
            else:
                encoding = encode_range(low, high, precision)
        encodings |= dict.fromkeys(members, encoding)
    _settle_products(graph, shared, encodings)
    return encodings


def encoding_at(
    value: Value, encodings: Mapping[Value, Encoding], precision: Precision
) -> Encoding:
    """The value's encoding if it has this precision, else its range at this precision.

    Raises:
        ValueError: it is a float without a range.
    """
    if value.constant is not None:
        content = value.content
        return encode_range(content.min(), content.max(), precision)
    own = encodings[value]
    if own.precision is precision or precision is Precision.FLOAT:
        return own if own.precision is precision else FLOAT
    if own.precision is Precision.FLOAT and own.float_range is None:
        raise ValueError(f"{value.name} is float and has no range to quantize it by")
    return encode_range(*own.range, precision)


def _settle_products(
    graph: Graph, shared: SharedEncodings, encodings: dict[Value, Encoding]
) -> None:
    """Give 8-bit products scales with which all runtimes multiply by the same factor.

    That is scale a scale b / scale of the product. LiteRT computes it in float, TFLite Micro in
    double. Scales only grow, by some of a float's last bits. Products in files that are partly in
    other precisions are left as they are where they read converted values.
    """

    def rescale(value: Value, scale: float) -> None:
        for member in shared.members[shared.root(value)]:
            encodings[member] = replace(encodings[member], scale=scale)

    pending = [
        operator
        for operator in graph.operators
        if operator.kind == "multiply"
        and all(
            encodings[value].precision is Precision.INT8
            for value in (*operator.inputs, *operator.outputs)
            if value.constant is None
        )
    ]
    while pending:
        unsettled = []
        for operator in pending:
            (result,) = operator.outputs
            a, b = (encoding_at(v, encodings, Precision.INT8).scale for v in operator.inputs)
            before = encodings[result].scale
            scale = _settled(a, b, before)
            if scale is None:  # the rounding of a b can't be made up for
                free = next(v for v in operator.inputs if v.constant is None and not v.fixed_range)
                grown = np.nextafter(np.float32(encodings[free].scale), np.float32(np.inf))
                rescale(free, float(grown))
            elif scale != before:
                rescale(result, scale)
            if scale != before:
                unsettled.append(operator)
        pending = pending if unsettled else []


@cache
def _settled(a: float, b: float, scale: float) -> float | None:
    """The least scale from this one on with which the product's factors agree."""
    bits = np.array(scale, np.float32).view(np.int32)
    scales = (bits + np.arange(LARGER_SCALES, dtype=np.int32)).view(np.float32)
    in_float = np.float32(a) * np.float32(b) / scales
    in_double = a * b / scales.astype(np.float64)
    agree = _multipliers(in_float) == _multipliers(in_double)
    return float(scales[agree.argmax()]) if agree.any() else None


def _multipliers(factors: np.ndarray) -> np.ndarray:
    """What TFLite's kernels make of factors: 31 bits, and the exponent as a whole number."""
    fractions, exponents = np.frexp(factors.astype(np.float64))
    return np.floor(np.ldexp(fractions, 31) + 0.5) + np.ldexp(exponents.astype(np.float64), 32)
