"""The graph of one frame: values, operators and states, built by one method per operator.

A network's streaming step is described once with these methods (see `quant.networks.registry`). The
description is then run in torch (`quant.graph.execute`: calibration, training, ONNX export) and
written as TFLite (`quant.graph.tflite`), so every tensor of the file has the name, the shape and
the meaning of a value here. Layouts are TFLite's: images are [1, height, width, channels] with
time as height and frequency as width; matrices are [rows, features].
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
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


class Graph:
    """A graph under construction, and its result.

    Attributes:
        lookahead: frames by which the outputs lag the inputs.
    """

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.states: list[State] = []
        self.operators: list[Operator] = []
        self.lookahead = 0
        self._names: set[str] = set()
        self._scopes: list[tuple[str, str]] = []

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

    def _value(self, name: str, shape: Sequence[int], constant: Tensor | None = None) -> Value:
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
        value = self._value(name, shape)
        self.inputs.append(value)
        return value

    def output(self, value: Value) -> None:
        """Make `value` an output signal of the frame."""
        self.outputs.append(value)

    def recurrent_state(self, name: str, shape: Sequence[int]) -> Value:
        """The state's value after the previous frame; hand the new one to `carry`.

        The state of a gated recurrent unit lies between -1 and 1.
        """
        value = self._value(name, shape)
        value.fixed_range = UNIT_RANGE
        return value

    def carry(self, before: Value, after: Value) -> None:
        """Make `after` the next frame's `before`."""
        after.fixed_range = UNIT_RANGE
        self.states.append(State(before.name, before, after))

    def history(self, newest: Value, frames: int, name: str) -> Value:
        """Past frames of `newest` and itself: [1, 1, W, C] to [1, frames + 1, W, C].

        Keeps the last `frames` frames as a state.
        """
        _, _, width, channels = newest.shape
        past = self._value(name, (1, frames, width, channels))
        window = self.concat([past, newest], axis=1, name=f"{name}.window")
        after = self.slice(window, (0, 1, 0, 0), past.shape, name=f"{name}.next")
        self.states.append(State(past.name, past, after, newest))
        return window

    def delayed(self, newest: Value, frames: int, name: str) -> Value:
        """`newest` [1, 1, W, C] as it was `frames` frames ago; zeros before the start."""
        window = self.history(newest, frames, name)
        return self.slice(window, (0, 0, 0, 0), newest.shape, f"{name}.oldest")

    def presence(self, frames: int, name: str) -> Value:
        """Whether there was a frame 0 to `frames` frames ago: [1, frames + 1, 1, 1], oldest first.

        1 for frames since the start, 0 for those before it. What a network computes with a delay
        from zeros before the start is not zero; multiplied by this it is.
        """
        past = self._value(name, (1, frames, 1, 1))
        one = self.constant(torch.ones(1, 1, 1, 1), f"{name}.now")
        window = self.concat([past, one], axis=1, name=f"{name}.window", mixed=True)
        past.fixed_range = window.fixed_range = (0.0, 1.0)
        after = self.slice(window, (0, 1, 0, 0), past.shape, name=f"{name}.next")
        self.states.append(State(past.name, past, after, one))
        return window

    # Operators -----------------------------------------------------------------------------

    def _add(
        self,
        kind: str,
        inputs: Sequence[Value],
        shapes: Sequence[Sequence[int]],
        name: str,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        suffixes = [""] if len(shapes) == 1 else [f".{index}" for index in range(len(shapes))]
        outputs = tuple(
            self._value(name + suffix, shape)
            for suffix, shape in zip(suffixes, shapes, strict=True)
        )
        for value in outputs:
            value.fixed_range = KINDS[kind].fixed_range
        self.operators.append(Operator(kind, tuple(inputs), outputs, attributes))
        return outputs

    def constant(self, content: Tensor, name: str) -> Value:
        """A constant of the graph."""
        return self._value(name, content.shape, content)

    def linear(
        self, x: Value, weight: Tensor, bias: Tensor | None, name: str, rectified: bool = False
    ) -> Value:
        """[rows, inputs] times weight [outputs, inputs] plus bias: [rows, outputs].

        What is below zero becomes zero if `rectified`.
        """
        bias = torch.zeros(weight.shape[0]) if bias is None else bias
        inputs = [x, self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        shape = (x.shape[0], weight.shape[0])
        return self._add("linear", inputs, [shape], name, rectified=rectified)[0]

    def convolution(
        self,
        x: Value,
        weight: Tensor,
        bias: Tensor,
        name: str,
        stride: int = 1,
        rectified: bool = False,
    ) -> Value:
        """[1, 1, W, C] with weight [outputs, 1, taps, C / groups], zero-padded: W / stride.

        What is below zero becomes zero if `rectified`.
        """
        inputs = [x, self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        shape = (1, 1, -(-x.shape[2] // stride), weight.shape[0])
        attributes = {"stride": (1, stride), "dilation": (1, 1), "rectified": rectified}
        return self._add("convolution", inputs, [shape], name, **attributes)[0]

    def image_convolution(
        self,
        x: Value,
        weight: Tensor,
        bias: Tensor,
        name: str,
        stride: int = 1,
        dilation: tuple[int, int] = (1, 1),
        rectified: bool = False,
    ) -> Value:
        """[1, H, W, C] with weight [outputs, taps, taps, C]: [1, H / stride, W / stride, outputs].

        Half of the (odd) taps see zeros beyond each border, whatever the stride; H and W are
        multiples of it. What is below zero becomes zero if `rectified`.
        """
        taps, height, width = weight.shape[1], x.shape[1], x.shape[2]
        if stride > 1 and taps > 1:
            # TFLite's own padding would put its zeros after the last row and column only.
            before = taps // 2
            x = self.pad(x, ((0, 0), (before, 0), (before, 0), (0, 0)), f"{name}.padded")
        inputs = [x, self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        return self._add(
            "convolution",
            inputs,
            [(1, height // stride, width // stride, weight.shape[0])],
            name,
            stride=(stride, stride),
            dilation=dilation,
            rectified=rectified,
            padded=stride > 1 and taps > 1,
        )[0]

    def image_depthwise(
        self, x: Value, weight: Tensor, dilation: tuple[int, int], name: str
    ) -> Value:
        """[1, H, W, C] with weight [1, taps, taps, C], zero-padded: the same shape."""
        bias = torch.zeros(x.shape[3])
        inputs = [x, self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        return self._add("depthwise", inputs, [x.shape], name, stride=(1, 1), dilation=dilation)[0]

    def depthwise_over_history(
        self, window: Value, weight: Tensor, bias: Tensor, dilation: int, name: str
    ) -> Value:
        """[1, 2 * dilation + 1, W, C] with weight [1, 3, 3, C]: [1, 1, W, C].

        Striding over the whole height gives one output row without padding in time.
        """
        inputs = [
            window,
            self.constant(weight, f"{name}.weight"),
            self.constant(bias, f"{name}.bias"),
        ]
        _, height, width, channels = window.shape
        return self._add(
            "depthwise",
            inputs,
            [(1, 1, width, channels)],
            name,
            stride=(height, 1),
            dilation=(dilation, 1),
        )[0]

    def _elementwise(
        self, kind: str, inputs: Sequence[Value], name: str, **attributes: Any
    ) -> Value:
        shape = torch.broadcast_shapes(*(value.shape for value in inputs))
        return self._add(kind, inputs, [shape], name, **attributes)[0]

    def bands_in_parts(self, x: Value, bands: BandMerging, name: str) -> Value:
        """An input signal [R, bins] as both parts of its bands [2 R, bands], outside of the file.

        See `edge_se.manifest.BandMerging`.
        """
        shape = (2 * x.shape[0], bands.count)
        return self._add("bands_in_parts", [x], [shape], name, bands=bands)[0]

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

    def add(self, a: Value, b: Value, name: str, rectified: bool = False) -> Value:
        """Sum, with broadcasting; what is below zero becomes zero if `rectified`."""
        return self._elementwise("add", (a, b), name, rectified=rectified)

    def subtract(self, a: Value, b: Value, name: str) -> Value:
        """Difference, with broadcasting."""
        return self._elementwise("subtract", (a, b), name)

    def multiply(self, a: Value, b: Value, name: str) -> Value:
        """Product, with broadcasting."""
        return self._elementwise("multiply", (a, b), name)

    def sigmoid(self, x: Value, name: str) -> Value:
        """Logistic function."""
        return self._elementwise("sigmoid", (x,), name)

    def tanh(self, x: Value, name: str) -> Value:
        """Hyperbolic tangent."""
        return self._elementwise("tanh", (x,), name)

    def leaky_relu(self, x: Value, slope: Tensor, name: str) -> Value:
        """X where positive, slope (a scalar) times x elsewhere: a PReLU with one shared slope."""
        return self._elementwise("leaky_relu", (x,), name, slope=slope)

    def reciprocal_root(self, x: Value, name: str) -> Value:
        """1 / sqrt(x)."""
        return self._elementwise("reciprocal_root", (x,), name)

    def mean(self, x: Value, axes: Sequence[int], name: str) -> Value:
        """Mean over `axes`, which are kept with size 1."""
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        return self._add("mean", [x], [shape], name, axes=tuple(axes))[0]

    def concat(self, values: Sequence[Value], axis: int, name: str, mixed: bool = False) -> Value:
        """Join along `axis`; `mixed` lets each input keep a range of its own."""
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self._add("concat", values, [shape], name, axis=axis, mixed=mixed)[0]

    def slice(self, x: Value, begin: Sequence[int], size: Sequence[int], name: str) -> Value:
        """The block of `size` that starts at `begin`."""
        return self._add("slice", [x], [size], name, begin=tuple(begin), size=tuple(size))[0]

    def split(self, x: Value, axis: int, parts: int, name: str) -> tuple[Value, ...]:
        """Equal parts along `axis`."""
        shape = list(x.shape)
        shape[axis] //= parts
        return self._add("split", [x], [shape] * parts, name, axis=axis)

    def reshape(self, x: Value, shape: Sequence[int], name: str) -> Value:
        """The same elements in another shape."""
        return self._add("reshape", [x], [shape], name)[0]

    def transpose(self, x: Value, permutation: Sequence[int], name: str) -> Value:
        """Reorder the axes."""
        shape = [x.shape[axis] for axis in permutation]
        return self._add("transpose", [x], [shape], name, permutation=tuple(permutation))[0]

    def pad(self, x: Value, amounts: Sequence[tuple[int, int]], name: str) -> Value:
        """Zeros before and after each axis."""
        shape = [
            size + before + after for size, (before, after) in zip(x.shape, amounts, strict=True)
        ]
        return self._add("pad", [x], [shape], name, amounts=tuple(amounts))[0]

    def resize(self, x: Value, size: tuple[int, int], name: str) -> Value:
        """[1, h, w, C] interpolated bilinearly to [1, *size, C], corners aligned."""
        return self._add("resize", [x], [(1, *size, x.shape[3])], name, size=size)[0]

    def bidirectional_lstm(self, x: Value, weights: Sequence[Tensor], name: str) -> Value:
        """A bidirectional LSTM over time, from zero states: [T, 1, I] to [T, 1, 2 H].

        Args:
            x: the sequence.
            weights: forward, then backward: input weight [4 H, I], state weight [4 H, H] and bias
                [4 H]; gates in the order input, forget, cell, output, as torch has them.
            name: of the result.
        """
        parts = ("input_weight", "state_weight", "bias")
        names = [f"{name}.{way}.{part}" for way in ("forward", "backward") for part in parts]
        constants = [self.constant(w, n) for w, n in zip(weights, names, strict=True)]
        shape = (x.shape[0], 1, 2 * weights[1].shape[1])
        return self._add("lstm", [x, *constants], [shape], name)[0]

    def reverse(self, x: Value, axis: int, name: str) -> Value:
        """Reverse the order along `axis`."""
        return self._add("reverse", [x], [x.shape], name, axis=axis)[0]
