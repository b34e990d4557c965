"""The product of two values."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from quant.graph.graph import Graph, Operator, Value
from quant.graph.kinds import Kind, register
from quant.graph.operators.elementwise import (
    append_elementwise,
    broadcast_axes,
    rescale_constants,
)

if TYPE_CHECKING:
    from quant.graph.scale_classes import ScaleClasses, Scaling


def multiply(graph: Graph, a: Value, b: Value, name: str) -> Value:
    """Product, with broadcasting."""
    return append_elementwise(graph, "multiply", (a, b), name)


def _scale(classes: "ScaleClasses", operator: Operator, given: "list[Scaling]") -> "list[Scaling]":
    """A square has twice the exponent; a constant absorbs scales; else one factor keeps its own."""
    a, b = operator.inputs
    shape = operator.outputs[0].shape
    if a is b:
        return [given[0].squared()]
    for value, other in zip(operator.inputs, given[::-1], strict=True):
        if value.constant is not None:
            spread = broadcast_axes(value.shape, shape)
            classes.level(other.broadcast(shape), spread)
            along = tuple(axis for axis in range(len(shape)) if axis not in spread)
            return [classes.fresh(shape, along)]
    if classes.is_pinned(given[1]):
        return [given[0].broadcast(shape)]
    classes.pin(given[0])
    return [given[1].broadcast(shape)]


def _rescale(operator: Operator, scale_of: Callable[[Value], np.ndarray]) -> None:
    """A constant factor makes up for what the other one's scale and the product's differ by."""
    shrunk = 1 / scale_of(operator.outputs[0])
    rescale_constants(operator, lambda other: shrunk * scale_of(other))


register(
    Kind(
        "multiply",
        "MUL",
        run=lambda _, inputs: [inputs[0] * inputs[1]],
        options="MulOptions",
        onnx=lambda writer, op: writer.emit("Mul", op),
        scale=_scale,
        rescale=_rescale,
    )
)
