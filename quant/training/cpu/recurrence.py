"""GRUs of a few values on a CPU: a whole sequence in one compiled function each way.

`torch.nn.GRU` spends nearly all its time on bookkeeping where layers are small: about ten operators
a step, each recorded and replayed by autograd.
"""

from typing import Any

import torch
from torch import Tensor, nn

from quant.training.cpu.library import call, is_compiled_for, side_by_side

# As in recurrence.c: sequences of a tile, and values of a state's step that the way back needs.
LANES, KEPT = 8, 5


class GRU(nn.GRU):
    """`torch.nn.GRU` of one layer, batch first, zero initial state, float32 on a CPU."""

    def forward(  # type: ignore[override]
        self, input: Tensor, state: None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run over sequences [N, L, inputs]; returns outputs [N, L, directions * hidden]."""
        if not is_compiled_for(input):
            return super().forward(input)
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        weights = [torch.cat(self._weights_of(suffix), dim=1) for suffix in suffixes]
        return _Recurrence.apply(input, torch.stack(weights)).flatten(2), None

    def _weights_of(self, suffix: str) -> tuple[Tensor, ...]:
        """A direction's, [3 K, I + K + 2], in four parts."""
        weights = [getattr(self, f"weight_{of}_l0{suffix}") for of in ("ih", "hh")]
        biases = [getattr(self, f"bias_{of}_l0{suffix}")[:, None] for of in ("ih", "hh")]
        return *weights, *biases


class _Recurrence(torch.autograd.Function):
    """States [N, L, D, K] of inputs [N, L, I] and weights [D, 3 K, I + K + 2]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor) -> Tensor:
        inputs = inputs.contiguous()
        sequences, length, width = inputs.shape
        directions, size = len(weights), weights.shape[1] // 3
        counts = sequences, length, directions, size, width
        tiles = -(-sequences // LANES)
        states = inputs.new_empty(sequences, length, directions, size)
        kept = inputs.new_empty(tiles, directions, length, KEPT, size, LANES)

        def run(first: int, last: int) -> None:
            work = inputs.new_empty(length, width, LANES)
            call("gru_forward", inputs, weights, states, kept, work, *counts, first, last)

        side_by_side(run, tiles)
        ctx.save_for_backward(inputs, weights, kept)
        ctx.counts = counts
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        inputs, weights, kept = ctx.saved_tensors
        _, length, _, size, width = ctx.counts
        gradient = gradient.contiguous()
        of_inputs = torch.empty_like(inputs)

        def run(first: int, last: int) -> Tensor:
            of_weights = torch.zeros_like(weights)
            work = inputs.new_empty(2 * length * width + (4 * length + 1) * size, LANES)
            arrays = gradient, inputs, weights, kept, of_inputs, of_weights, work
            call("gru_backward", *arrays, *ctx.counts, first, last)
            return of_weights

        return of_inputs, torch.stack(side_by_side(run, len(kept))).sum(0)
