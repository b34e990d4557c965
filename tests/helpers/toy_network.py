"""A network that is not of this project, so small that it is quantized in milliseconds."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edge_se.signal import Signal
from quant.graph import operators as ops
from quant.graph.graph import Graph
from quant.graph.range_rules import RangeRule
from quant.networks.folding import merge_grus
from quant.networks.network import Network, StateDict, no_options
from quant.networks.recurrent import gru_over_time


class Toy(nn.Module):
    """Magnitudes to a mask by one GRU."""

    def __init__(self, signal: Signal, units: int = 16) -> None:
        super().__init__()
        self.signal = signal
        self.narrow = nn.Linear(signal.bins, units)
        self.memory = nn.GRU(units, units, batch_first=True)
        self.widen = nn.Linear(units, 2 * signal.bins)

    def mask(self, given: Tensor) -> Tensor:
        """[B, 3, T, bins] to [B, 2, T, bins]."""
        hidden = self.memory(torch.tanh(self.narrow(given[:, 0])))[0]
        return torch.tanh(self.widen(hidden)).unflatten(-1, (2, self.signal.bins)).transpose(1, 2)


def describe(model: Toy, split: bool = False) -> Graph:
    """One frame as a graph."""
    graph, bins = Graph(), model.signal.bins
    given = graph.input("features", (3, bins))
    magnitude = ops.slice(graph, given, (0, 0), (1, bins), "magnitude")
    image = ops.reshape(graph, magnitude, (1, 1, 1, bins), "image")
    x = ops.linear(graph, image, model.narrow.weight, model.narrow.bias, "narrow")
    x = ops.tanh(graph, x, "narrowed")
    size = model.memory.hidden_size
    x = gru_over_time(graph, x, merge_grus([(model.memory, "", 0)], size), "memory")
    x = ops.linear(graph, x, model.widen.weight, model.widen.bias, "widen")
    rows = ops.reshape(graph, x, (2, bins), "rows")
    graph.output(ops.tanh(graph, rows, "mask"))
    return graph


def toy_network(
    signal: Signal, units: int = 16, options: Callable[[StateDict], dict] = no_options
) -> Network:
    """The record of a toy that hears a signal."""
    return Network(
        name="toy",
        build=functools.partial(Toy, signal, units=units),
        describe=describe,
        range_rules=(RangeRule(r"", 99.95),),
        scopes=(r"^(\w+)",),
        options=options,
    )
