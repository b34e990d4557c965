"""One frame of a network as a graph: described once, run in torch, written as TFLite."""

# Whoever reads a graph, in whatever process, knows the kinds of its operators.
import quant.graph.operators  # noqa: F401
