"""The graph of one frame: values, operators and states.

A network's streaming step is described once (see `quant.networks.registry`), by one function of
`quant.graph.operators` per operator. The description is then run in torch (`quant.graph.execute`:
calibration, training, ONNX export) and written as TFLite (`quant.graph.tflite`), so every tensor of
the file has the name, the shape and the meaning of a value here. Layouts are TFLite's: images are
[1, height, width, channels] with time as height and frequency as width; matrices are
[rows, features].
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from edge_se.manifest import BandMerging
from quant.graph.kinds import KINDS, Kind

Range = tuple[float, float]
# What an 8-bit GRU state or a tanh can hold: 256 steps of 1/128.
UNIT_RANGE: Range = (-1.0, 127 / 128)


@dataclass(eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        name: unique, dotted by scope, e.g. "encoder.2.point1".
        shape: its shape for one frame.
        constant: its content, when it is a weight or another constant.
        range_key: name under which its range is calibrated; the repeated steps of a recurrence
            over frequency share one.
        fixed_range: its range, when it is known beforehand.
    """

    name: str
    shape: tuple[int, ...]
    constant: Tensor | None = None
    range_key: str = ""
    fixed_range: Range | None = None

    def __post_init__(self) -> None:
        self.range_key = self.range_key or self.name

    @property
    def content(self) -> np.ndarray:
        """What a constant holds, as float32."""
        assert self.constant is not None
        return np.ascontiguousarray(self.constant.detach().numpy(), np.float32)


@dataclass(eq=False)
class Operator:
    """One operator of the graph; `kind` names an entry of `quant.graph.kinds.KINDS`."""

    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> Kind:
        """What holds for all operators of this kind."""
        return KINDS[self.kind]

    @property
    def keeps_encoding(self) -> bool:
        """It only moves values, all of which have one encoding."""
        return self.rule.passes_through and not self.attributes.get("mixed", False)

    @property
    def scope(self) -> str:
        """Name of its first output; recipes choose precision by it."""
        return self.outputs[0].name


@dataclass(eq=False)
class State:
    """A tensor carried from frame to frame.

    Attributes:
        source: for a history of past frames, the value of which it keeps the last ones;
            None for a recurrent state, which depends on itself.
    """

    name: str
    input: Value
    output: Value
    source: Value | None = None


@dataclass(eq=False)
class Region:
    """Operators that make up one layer, for those who compute it as a whole.

    A file holds the operators; a generated engine has a loop for the layer, and reads from here
    what the description knew when it wrote them.

    Attributes:
        kind: what the layer is, e.g. "recurrence".
        operators: what it is written as, in order.
        attributes: what else is known of it, by name.
        values: those of its values that mean something, by name.
        parts: regions within it.
    """

    kind: str
    operators: tuple[Operator, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    parts: list["Region"] = field(default_factory=list)

    def producer(self, name: str) -> Operator:
        """The operator that computes the value called `name` here."""
        value = self.values[name]
        (found,) = (op for op in self.operators if value in op.outputs)
        return found

    def constant(self, name: str, position: int) -> np.ndarray:
        """A constant that the producer of `name` reads, float32: its `position`-th one."""
        constants = [v for v in self.producer(name).inputs if v.constant is not None]
        return constants[position].content


class Graph:
    """A graph under construction, and its result.

    Attributes:
        lookahead: frames by which the outputs lag the inputs.
        regions: layers that the description marked, in order.
    """

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.states: list[State] = []
        self.operators: list[Operator] = []
        self.regions: list[Region] = []
        self.lookahead = 0
        self._names: set[str] = set()
        self._scopes: list[tuple[str, str]] = []
        self._open: list[Region] = []

    # Names ---------------------------------------------------------------------------------

    @contextmanager
    def scope(self, name: str, repeated: int | None = None) -> Iterator[None]:
        """Prefix names with `name`; steps numbered by `repeated` share their ranges."""
        numbered = name if repeated is None else f"{name}{repeated:02d}"
        self._scopes.append((numbered, name))
        try:
            yield
        finally:
            self._scopes.pop()

    def value(self, name: str, shape: Sequence[int], constant: Tensor | None = None) -> Value:
        """A new value, or constant, of the current scope."""
        full = ".".join([*(numbered for numbered, _ in self._scopes), name])
        key = ".".join([*(shared for _, shared in self._scopes), name])
        if full in self._names:
            raise ValueError(f"two values are called {full}")
        self._names.add(full)
        return Value(full, tuple(int(size) for size in shape), constant, key)

    def detach(self) -> None:
        """Make constants that depend on a network's parameters tensors of their own.

        They go on to require gradients: that tells what is trained from what is structure.
        """
        own: dict[int, Tensor] = {}

        def detached(tensor: Tensor) -> Tensor:
            return own.setdefault(id(tensor), tensor.detach().requires_grad_(tensor.requires_grad))

        for value in {value for operator in self.operators for value in operator.inputs}:
            if value.constant is not None:
                value.constant = detached(value.constant)
        for operator in self.operators:
            for name, attribute in operator.attributes.items():
                if isinstance(attribute, Tensor):
                    operator.attributes[name] = detached(attribute)

    @property
    def multiplications(self) -> int:
        """Multiply-accumulates of the weighted operators of a frame."""
        count = 0
        for operator in self.operators:
            if operator.rule.weighted:
                weight = operator.inputs[1].shape
                per_result = math.prod(weight) // weight[operator.rule.output_axis]
                count += math.prod(operator.outputs[0].shape) * per_result
        return count

    # Signals and states --------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int]) -> Value:
        """A new input signal of the frame."""
        value = self.value(name, shape)
        self.inputs.append(value)
        return value

    def output(self, value: Value) -> None:
        """Make `value` an output signal of the frame."""
        self.outputs.append(value)

    def recurrent_state(self, name: str, shape: Sequence[int]) -> Value:
        """The state's value after the previous frame; hand the new one to `carry`.

        The state of a gated recurrent unit lies between -1 and 1.
        """
        value = self.value(name, shape)
        value.fixed_range = UNIT_RANGE
        return value

    def carry(self, before: Value, after: Value) -> None:
        """Make `after` the next frame's `before`."""
        after.fixed_range = UNIT_RANGE
        self.states.append(State(before.name, before, after))

    @property
    def fed(self) -> list[Value]:
        """What the file takes in for the input signals: themselves, or their bands."""
        outside = {op.inputs[0]: op.outputs[0] for op in self.operators if op.rule.outside}
        return [outside.get(value, value) for value in self.inputs]

    @property
    def bands(self) -> BandMerging | None:
        """How the file's user merges the input signal to bands, where the file begins with them."""
        found = (op.attributes["bands"] for op in self.operators if op.kind == "bands_in_parts")
        return next(found, None)

    # Operators -----------------------------------------------------------------------------

    @contextmanager
    def region(
        self, kind: str, attributes: Mapping[str, Any] | None = None, **values: Value
    ) -> Iterator[None]:
        """Make a region of the operators that are appended meanwhile; see `mark`."""
        region = Region(kind, attributes=dict(attributes or {}), values=dict(values))
        first = len(self.operators)
        (self._open[-1].parts if self._open else self.regions).append(region)
        self._open.append(region)
        try:
            yield
        finally:
            self._open.pop()
            region.operators = tuple(self.operators[first:])

    def mark(self, **values: Value) -> None:
        """Say what values mean in the region that is open; of repeated steps, the first ones."""
        self._open[-1].values = values | self._open[-1].values

    def append(
        self,
        kind: str,
        inputs: Sequence[Value],
        shapes: Sequence[Sequence[int]],
        name: str,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """A new operator; gives its outputs, which have these shapes."""
        suffixes = [""] if len(shapes) == 1 else [f".{index}" for index in range(len(shapes))]
        outputs = tuple(
            self.value(name + suffix, shape) for suffix, shape in zip(suffixes, shapes, strict=True)
        )
        for value in outputs:
            value.fixed_range = KINDS[kind].fixed_range
        self.operators.append(Operator(kind, tuple(inputs), outputs, attributes))
        return outputs

    def constant(self, content: Tensor, name: str) -> Value:
        """A constant of the graph."""
        return self.value(name, content.shape, content)
