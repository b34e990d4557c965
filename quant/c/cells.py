"""Recurrent units as their groups: the blocks of block-diagonal weights."""

from collections.abc import Sequence

import numpy as np

from quant.c.layers import Cell, Floats
from quant.networks.folding import GRUPart


def pack_cell(
    input_weight: Floats,
    input_bias: Floats,
    hidden_weight: Floats,
    candidate_bias: Floats,
    parts: Sequence[GRUPart],
    channels: int,
) -> Cell:
    """The groups of several recurrent units side by side.

    Args:
        input_weight: [3 H, columns], gates in the order reset, update, candidate. Columns from
            `channels` on read the rows in reversed order.
        input_bias: [3 H], for reset and update with the hidden bias.
        hidden_weight: [3 H, H].
        candidate_bias: The candidate's hidden bias [H], or [3 H] with it last.
        parts: The units that lie side by side.
        channels: Of the input.

    Raises:
        ValueError: The groups are of several sizes.
    """
    size, count, groups = parts[0].hidden, parts[0].inputs, len(parts)
    if any((part.hidden, part.inputs) != (size, count) for part in parts):
        raise ValueError("it has groups of recurrent units of several sizes")
    hidden = hidden_weight.reshape(3, groups, size, groups, size)
    inputs = input_weight.reshape(3, groups, size, -1)
    return Cell(
        tuple(part.first % channels for part in parts),
        tuple(part.first >= channels for part in parts),
        np.stack([inputs[:, g, :, p.first : p.first + count] for g, p in enumerate(parts)]),
        np.ascontiguousarray(input_bias.reshape(3, groups, size).swapaxes(0, 1)),
        np.stack([hidden[:, g, :, g] for g in range(groups)]),
        candidate_bias[-groups * size :].reshape(groups, size),
    )


def halved(gates: Floats) -> Floats:
    """Gates [..., 3, units] with reset and update halved: sigmoid(2 x) = (1 + tanh(x)) / 2."""
    return gates * np.array([0.5, 0.5, 1], np.float32)[:, None]
