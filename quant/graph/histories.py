"""Past frames of values, carried from frame to frame as states."""

import torch

from quant.graph.graph import Graph, State, Value
from quant.graph.operators.concat import concat
from quant.graph.operators.slice import slice


def history(graph: Graph, newest: Value, frames: int, name: str) -> Value:
    """Past frames of `newest` and itself: [1, 1, W, C] to [1, frames + 1, W, C].

    Keeps the last `frames` frames as a state.
    """
    _, _, width, channels = newest.shape
    past = graph.value(name, (1, frames, width, channels))
    window = concat(graph, [past, newest], 1, f"{name}.window")
    return _keep(graph, past, newest, window, name)


def delayed(graph: Graph, newest: Value, frames: int, name: str) -> Value:
    """`newest` [1, 1, W, C] as it was `frames` frames ago; zeros before the start."""
    window = history(graph, newest, frames, name)
    return slice(graph, window, (0, 0, 0, 0), newest.shape, f"{name}.oldest")


def presence(graph: Graph, frames: int, name: str) -> Value:
    """Whether there was a frame 0 to `frames` frames ago: [1, frames + 1, 1, 1], oldest first.

    1 for frames since the start, 0 for those before it. What a network computes with a delay
    from zeros before the start is not zero; multiplied by this it is.
    """
    past = graph.value(name, (1, frames, 1, 1))
    one = graph.constant(torch.ones(1, 1, 1, 1), f"{name}.now")
    window = concat(graph, [past, one], 1, f"{name}.window", mixed=True)
    past.fixed_range = window.fixed_range = (0.0, 1.0)
    return _keep(graph, past, one, window, name)


def _keep(graph: Graph, past: Value, newest: Value, window: Value, name: str) -> Value:
    """Make the window's last frames the next frame's past; returns the window."""
    after = slice(graph, window, (0, 1, 0, 0), past.shape, f"{name}.next")
    graph.states.append(State(past.name, past, after, newest))
    return window
