"""How often values are cut off: the share of each tensor's values beyond its range."""

import math
from collections.abc import Mapping

from torch import Tensor

from quant.graph.encoding import Encoding, Precision, SharedEncodings
from quant.graph.execute import Hook
from quant.graph.graph import Graph, Value


class SaturationCounter:
    """A hook around another one, usually a `FakeQuantizer`, that counts what it will cut off.

    A value is cut off when it lies more than half a step beyond the range of its tensor, unless
    what reads the tensor takes it for the range's end anyway. Repeated steps of a recurrence count
    together.
    """

    def __init__(self, graph: Graph, encodings: Mapping[Value, Encoding], hook: Hook) -> None:
        self._hook = hook
        self._counts: dict[str, list[int]] = {}
        moved = {value for op in graph.operators if op.keeps_encoding for value in op.outputs}
        moved |= {state.input for state in graph.states}
        self._encodings = {
            value: encoding
            for value, encoding in encodings.items()
            if encoding.precision is not Precision.FLOAT and value not in moved
        }
        precisions = {value: encoding.precision for value, encoding in encodings.items()}
        self._reaches = SharedEncodings(graph).reaches(precisions)

    def __call__(self, value: Value, tensor: Tensor) -> Tensor:
        """The other hook's tensor; what it cuts off is counted."""
        encoding = self._encodings.get(value)
        if encoding is not None:
            half, (low, high) = encoding.scale / 2, encoding.range
            lowest, highest = self._reaches[value]
            low = low - half if low - half > lowest else -math.inf
            high = high + half if high + half < highest else math.inf
            beyond = int(((tensor < low) | (tensor > high)).sum())
            counts = self._counts.setdefault(value.range_key, [0, 0])
            counts[0] += beyond
            counts[1] += tensor.numel()
        return self._hook(value, tensor)

    @property
    def shares(self) -> dict[str, float]:
        """Share of values cut off by range key, the largest first."""
        shares = {key: beyond / total for key, (beyond, total) in self._counts.items()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))
