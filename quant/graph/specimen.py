"""Files of graphs that were never calibrated, where only their operators and shapes count."""

from quant.graph.encoding import assign_encodings
from quant.graph.graph import Graph, Range
from quant.graph.recipes import Recipe
from quant.graph.tflite import write_tflite


def made_up_ranges(graph: Graph) -> dict[str, Range]:
    """Ranges that all differ, so that conversions appear wherever real ranges need them."""
    values = [*graph.inputs, *(value for op in graph.operators for value in op.outputs)]
    keys = dict.fromkeys(value.range_key for value in values)
    return {key: (-1.0 - index / 1000, 1.0 + index / 1000) for index, key in enumerate(keys)}


def specimen(graph: Graph, recipe: Recipe) -> bytes:
    """The .tflite, without a manifest, that a recipe makes of a graph with made-up ranges."""
    encodings = assign_encodings(graph, recipe.choose, made_up_ranges(graph), recipe.signals)
    return write_tflite(graph, encodings, recipe.choose).content
