"""Convolutions whose inputs are neighbours: an element that comes several times has one weight."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant.c.int8_moves import BITS, Places


@dataclass(frozen=True)
class Planes:
    """Rows of channels [H, C] as planes, in which each channel is a shift.

    Attributes:
        rows: H.
        first: place of each plane's first element.
        step: between planes.
        count: elements of each.
        plane: of each channel [C].
        shift: of each channel [C]: where in its plane its element in the first row is.
    """

    rows: int
    first: tuple[int, ...]
    step: int
    count: int
    plane: NDArray[np.int64]
    shift: NDArray[np.int64]

    def left(self, before: int) -> int:
        """How far before the planes a convolution begins that is padded with `before` rows."""
        return before - int(self.shift.min())

    def merged(
        self, kernel: NDArray[np.int8], before: int, stride: int, positions: int
    ) -> NDArray[np.int64]:
        """Weights [positions, outputs, planes, span] of a kernel [outputs, taps, channels].

        They begin `left` before stride times the position. Rows beyond the ends have no weight.
        """
        outputs, taps, channels = kernel.shape
        span = taps + int(self.shift.max() - self.shift.min())
        found = np.zeros((positions, outputs, len(self.first), span), np.int64)
        for position in range(positions):
            for tap in range(taps):
                if not 0 <= position * stride + tap - before < self.rows:
                    continue
                for channel in range(channels):
                    at = tap + self.shift[channel] - self.shift.min()
                    found[position, :, self.plane[channel], at] += kernel[:, tap, channel]
        return found


def find_planes(rows: Places, zeros: Collection[int]) -> Planes | None:
    """The planes that rows [H, C] are made of; buffers `zeros` hold zeros, which lie beyond them.

    None where rows are made of something else.
    """
    known = (rows >= 0) & ~np.isin(rows >> BITS, list(zeros))
    if not known.any(axis=0).all():
        return None
    origins = (rows - np.arange(len(rows))[:, None])[known.argmax(axis=0), np.arange(rows.shape[1])]
    expected = origins + np.arange(len(rows))[:, None]
    order = np.unique(origins)
    starts = order[np.flatnonzero(np.diff(order, prepend=order[0] - 2) != 1)]
    plane = np.searchsorted(starts, origins, side="right") - 1
    inside = [expected[:, plane == n][known[:, plane == n]] for n in range(len(starts))]
    first = [int(part.min()) for part in inside]
    counts = {int(part.max()) - low + 1 for part, low in zip(inside, first, strict=True)}
    steps = set(np.diff(first).tolist()) or {0}
    if len(counts) == 1 and len(steps) == 1:
        count, beginning = counts.pop(), np.array(first)[plane]
        beyond = (expected < beginning) | (expected >= beginning + count)
        if np.array_equal(np.where(known, rows, -1), np.where(beyond, -1, expected)):
            return Planes(len(rows), tuple(first), steps.pop(), count, plane, origins - beginning)
    return None
