"""What operators that only move elements do to arrays of any content."""

import numpy as np

from quant.graph.graph import Operator


def move_array(operator: Operator, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What an operator that only moves elements does, done to arrays of its inputs' shapes."""
    attributes, x = operator.attributes, arrays[0]
    if operator.kind == "concat":
        return [np.concatenate(arrays, axis=attributes["axis"])]
    if operator.kind == "slice":
        block = zip(attributes["begin"], attributes["size"], strict=True)
        return [x[tuple(slice(begin, begin + size) for begin, size in block)]]
    if operator.kind == "split":
        return np.split(x, len(operator.outputs), axis=attributes["axis"])
    if operator.kind == "reshape":
        return [x.reshape(operator.outputs[0].shape)]
    if operator.kind == "transpose":
        return [x.transpose(attributes["permutation"])]
    if operator.kind == "reverse":
        return [np.flip(x, attributes["axis"])]
    if operator.kind == "pad":  # zeros stay zeros whatever their scale
        return [np.pad(x, attributes["amounts"], mode="edge")]
    raise ValueError(f"no rule for moving elements by {operator.kind}")
