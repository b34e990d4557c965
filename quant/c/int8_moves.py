"""Values as places of their elements: what only moves elements is index arithmetic.

A place is a number: the buffer that holds an element, and where in it. Reshapes, slices, transposes
and joins rearrange arrays of places, and only what reads them may want elements side by side.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

BITS = 24
MOST_AXES = 3  # of a block that is copied at once
# The place of a zero that no buffer holds.
PADDING = -1


def buffer_of(place: int) -> int:
    """Number of the buffer that holds an element."""
    return int(place) >> BITS


def offset_of(place: int) -> int:
    """Where in its buffer an element lies."""
    return int(place) & ((1 << BITS) - 1)


def strides_of(places: Places) -> tuple[int, ...] | None:
    """By how much places differ along each axis; None where steps are uneven or buffers several."""
    if places.min() < 0 or buffer_of(places.min()) != buffer_of(places.max()):
        return None
    first, strides = places.flat[0], []
    expected: Places = np.zeros((), np.int64)
    for axis, size in enumerate(places.shape):
        index = [0] * places.ndim
        index[axis] = 1
        stride = int(places[tuple(index)] - first) if size > 1 else 0
        strides.append(stride)
        along = [1] * places.ndim
        along[axis] = size
        expected = expected + (np.arange(size) * stride).reshape(along)
    return tuple(strides) if np.array_equal(places, first + expected) else None


def lie_side_by_side(places: Places) -> bool:
    """Whether elements lie in one buffer, one behind the other."""
    return strides_of(places.ravel()) in ((1,), (0,)) and places.min() >= 0


@dataclass(frozen=True)
class Block:
    """Elements with even steps along `MOST_AXES` axes: sizes, places and steps of both sides."""

    sizes: tuple[int, ...]
    source: int
    source_steps: tuple[int, ...]
    target: int
    target_steps: tuple[int, ...]


def interleaves(block: Block, other: Block) -> bool:
    """Whether another block's elements lie behind each of a block's."""
    return (
        block.sizes == other.sizes
        and block.source_steps == other.source_steps
        and block.target_steps == other.target_steps
        and (block.source_steps[-1], block.target_steps[-1]) == (1, 2)
        and block.target + 1 == other.target
    )


def blocks(source: Places, target: Places) -> Iterator[Block]:
    """A copy of elements as few copies of blocks."""
    source, target = np.squeeze(source), np.squeeze(target)
    steps = strides_of(source), strides_of(target)
    if steps[0] is not None and steps[1] is not None:
        axes = _merged(source.shape, steps[0], steps[1])
        if len(axes) <= MOST_AXES:
            padded = [(1, 0, 0)] * (MOST_AXES - len(axes)) + axes
            sizes, of_source, of_target = zip(*padded, strict=True)
            yield Block(sizes, int(source.flat[0]), of_source, int(target.flat[0]), of_target)
            return
        cuts = [(int(np.argmin(source.shape)), [slice(n, n + 1) for n in range(min(source.shape))])]
    else:
        cuts = [
            (axis, parts)
            for axis in range(source.ndim)
            if len(parts := _buffers_along(source, axis)) > 1
        ]
    for axis in range(source.ndim):
        run = min(_even_run(source, axis), _even_run(target, axis))
        whole = source.shape[axis] // run * run
        if not cuts and 1 < run < source.shape[axis]:
            if whole == source.shape[axis]:
                shape = *source.shape[:axis], -1, run, *source.shape[axis + 1 :]
                yield from blocks(source.reshape(shape), target.reshape(shape))
                return
            cuts = [(axis, [slice(None, whole), slice(whole, None)])]
    if not cuts:
        even = [_even_part(source, target, axis) for axis in range(source.ndim)]
        shares = [size / whole for size, whole in zip(even, source.shape, strict=True)]
        axis = int(np.argmax(shares))
        size = max(even[axis], 1)
        cuts = [(axis, [slice(None, size), slice(size, None)])]
    axis, parts = cuts[0]
    for part in parts:
        index = (slice(None),) * axis + (part,)
        yield from blocks(source[index], target[index])


def _buffers_along(source: Places, axis: int) -> list[slice]:
    """Parts of an axis by buffer, each with even steps; none where an index has several buffers."""
    numbers = np.moveaxis(source >> BITS, axis, 0).reshape(source.shape[axis], -1)
    if not (numbers == numbers[:, :1]).all():
        return []
    parts = []
    for number in dict.fromkeys(numbers[:, 0].tolist()):
        found = np.flatnonzero(numbers[:, 0] == number)
        steps = set(np.diff(found).tolist()) or {1}
        if len(steps) > 1:
            return []
        parts.append(slice(int(found[0]), int(found[-1]) + 1, steps.pop()))
    return parts


def _even_run(places: Places, axis: int) -> int:
    """How many of the first places along an axis have even steps."""
    line = places[tuple(slice(None) if a == axis else 0 for a in range(places.ndim))]
    steps = np.diff(line)
    uneven = np.flatnonzero((steps != steps[:1]) | (np.diff(line >> BITS) != 0))
    return int(uneven[0]) + 1 if uneven.size else line.size


def _even_part(source: Places, target: Places, axis: int) -> int:
    """How much of an axis makes one block, less than all of it."""
    low, high = 0, source.shape[axis]
    while high - low > 1:
        middle = (low + high) // 2
        index = (slice(None),) * axis + (slice(None, middle),)
        even = all(strides_of(side[index]) is not None for side in (source, target))
        low, high = (middle, high) if even else (low, middle)
    return low


def _merged(
    sizes: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """Axes of more than one element, with the steps of both sides; those that go on are one."""
    axes: list[tuple[int, int, int]] = []
    for size, a, b in zip(sizes, first, second, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1:] == (a * size, b * size):
            axes[-1] = (axes[-1][0] * size, a, b)
        else:
            axes.append((size, a, b))
    return axes
