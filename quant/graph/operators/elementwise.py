"""What operators share that compute element by element, with broadcasting."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from quant.graph.graph import Graph, Operator, Value

if TYPE_CHECKING:
    from quant.graph.scale_classes import ScaleClasses, Scaling


def append_elementwise(
    graph: Graph, kind: str, inputs: Sequence[Value], name: str, **attributes: Any
) -> Value:
    """Append an operator whose output has its inputs' shapes, broadcast; gives that output."""
    shape = torch.broadcast_shapes(*(value.shape for value in inputs))
    return graph.append(kind, inputs, [shape], name, **attributes)[0]


def broadcast_axes(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of `target` along which a tensor of `shape` is repeated."""
    missing = len(target) - len(shape)
    return tuple(
        axis
        for axis, size in enumerate(target)
        if axis < missing or (shape[axis - missing] == 1 and size > 1)
    )


def scale_terms(
    classes: "ScaleClasses", operator: Operator, given: "list[Scaling]"
) -> "list[Scaling]":
    """Of a sum or a difference, whose terms are scaled alike; a constant term absorbs scales."""
    shape = operator.outputs[0].shape
    pairs = list(zip(operator.inputs, given, strict=True))
    result, *others = [s.broadcast(shape) for value, s in pairs if value.constant is None]
    for term in others:
        classes.unite(result, term)
    for value in operator.inputs:
        if value.constant is not None:
            classes.level(result, broadcast_axes(value.shape, shape))
    return [result]


def rescale_terms(operator: Operator, scale_of: Callable[[Value], np.ndarray]) -> None:
    """A constant term shrinks as the sum does."""
    rescale_constants(operator, lambda _: 1 / scale_of(operator.outputs[0]))


def rescale_constants(operator: Operator, factor_beside: Callable[[Value], np.ndarray]) -> None:
    """Multiply constants by factors of the output's shape, given the value that each one meets."""
    shape = operator.outputs[0].shape
    for value, other in zip(operator.inputs, operator.inputs[::-1], strict=True):
        if value.constant is not None:
            factor = np.broadcast_to(factor_beside(other), shape)
            for axis in broadcast_axes(value.shape, shape):
                factor = np.take(factor, [0], axis=axis)
            factor = factor.reshape(value.shape).astype(np.float32)
            value.constant = value.constant * torch.from_numpy(factor)
