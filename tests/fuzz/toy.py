"""A network so small that a checkpoint of it is quantized in milliseconds."""

import torch
from torch import Tensor, nn

from edge_se.signal import Signal
from quant.graph import operators as ops
from quant.graph.graph import Graph
from quant.graph.range_rules import RangeRule
from quant.networks.folding import merge_grus
from quant.networks.network import Network
from quant.networks.recurrent import gru_over_time

HEARS = Signal(sample_rate=16000, window=256, hop=128, window_function="hann")
UNITS = 4


class Toy(nn.Module):
    """Magnitudes to a mask by one GRU."""

    signal = HEARS

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Linear(HEARS.bins, UNITS)
        self.memory = nn.GRU(UNITS, UNITS, batch_first=True)
        self.widen = nn.Linear(UNITS, 2 * HEARS.bins)

    def forward(self, given: Tensor) -> Tensor:
        """[B, 3, T, bins] to [B, 2, T, bins]."""
        hidden = self.memory(torch.tanh(self.narrow(given[:, 0])))[0]
        return torch.tanh(self.widen(hidden)).unflatten(-1, (2, HEARS.bins)).transpose(1, 2)


def describe(model: Toy, split: bool = False) -> Graph:
    """One frame as a graph."""
    graph = Graph()
    given = graph.input("features", (3, HEARS.bins))
    magnitude = ops.slice(graph, given, (0, 0), (1, HEARS.bins), "magnitude")
    x = ops.linear(graph, magnitude, model.narrow.weight, model.narrow.bias, "narrow")
    x = ops.tanh(graph, x, "narrowed")
    x = gru_over_time(graph, x, merge_grus([(model.memory, "", 0)], UNITS), "memory")
    x = ops.linear(graph, x, model.widen.weight, model.widen.bias, "widen")
    rows = ops.reshape(graph, x, (2, HEARS.bins), "rows")
    graph.output(ops.tanh(graph, rows, "mask"))
    return graph


TOY = Network(
    name="toy",
    build=Toy,
    describe=describe,
    range_rules=(RangeRule(r"", 99.95),),
    scopes=(r"^(\w+)",),
)
