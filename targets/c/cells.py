"""Recurrent units as their groups: the blocks of block-diagonal weights."""

import numpy as np
from numpy.typing import NDArray

from targets.c.layers import Cell, Floats


def pack_cell(
    input_weight: Floats,
    input_bias: Floats,
    hidden_weight: Floats,
    candidate_bias: Floats,
    columns: NDArray[np.integer],
    channels: int,
) -> Cell:
    """The groups of a recurrent unit whose hidden weights are block-diagonal.

    Args:
        input_weight: [3 H, columns], gates in the order reset, update, candidate.
        input_bias: [3 H], for reset and update with the hidden bias.
        hidden_weight: [3 H, H].
        candidate_bias: The candidate's hidden bias [H], or [3 H] with it last.
        columns: What each column reads: a channel's number, `channels` more where it reads the
            rows in reversed order.
        channels: Of the input.

    Raises:
        ValueError: A group reads no block of neighbouring channels.
    """
    units = hidden_weight.shape[1]
    hidden = hidden_weight.reshape(3, units, units)
    size = _block_size(np.abs(hidden).sum(axis=0) > 0)
    groups = units // size
    inputs = input_weight.reshape(3, groups, size, -1)
    used = [np.flatnonzero(np.abs(inputs[:, group]).sum(axis=(0, 1))) for group in range(groups)]
    count = max(len(taken) for taken in used)
    firsts, backward, weights = [], [], []
    for group, taken in enumerate(used):
        first = int(taken[0]) // count * count
        if taken[-1] >= first + count:
            raise ValueError("a group of recurrent units reads scattered channels")
        firsts.append(int(columns[first]) % channels)
        backward.append(int(columns[first]) >= channels)
        weights.append(inputs[:, group, :, first : first + count])
    blocks = [
        hidden[:, g * size : (g + 1) * size, g * size : (g + 1) * size] for g in range(groups)
    ]
    return Cell(
        tuple(firsts),
        tuple(backward),
        np.ascontiguousarray(np.stack(weights)),
        np.ascontiguousarray(input_bias.reshape(3, groups, size).swapaxes(0, 1)),
        np.ascontiguousarray(np.stack(blocks)),
        candidate_bias[-units:].reshape(groups, size),
    )


def _block_size(connected: NDArray[np.bool_]) -> int:
    """Size of the equal blocks on the diagonal beside which nothing is connected."""
    units = len(connected)
    for size in range(1, units + 1):
        if units % size == 0:
            blocks = np.kron(np.eye(units // size, dtype=bool), np.ones((size, size), bool))
            if not (connected & ~blocks).any():
                return size
    return units
