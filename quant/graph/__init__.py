"""One frame of a network as a graph: described once, run in torch, written as TFLite."""
