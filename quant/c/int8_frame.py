"""A frame's memory while it is written: where values lie, and the steps that compute them.

Values that lie elsewhere are addressed there; only what a step reads may have to be copied.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from quant.c.int8_moves import (
    BITS,
    Block,
    Places,
    blocks,
    buffer_of,
    interleaves,
    lie_side_by_side,
    offset_of,
    strides_of,
)
from quant.c.int8_program import Tensor
from quant.c.source import Source

BLOCK = 16  # elements of a chain at once, of which every buffer holds a multiple


@dataclass(eq=False)
class Buffer:
    """Elements side by side; `field` names it in C, unless it is one of the frame's values."""

    number: int
    size: int
    field: str = ""
    is_state: bool = False


@dataclass(eq=False)
class Step:
    """A statement of the frame: what it reads and writes, and how it is written in C.

    `write` is given what makes a pointer to a place.
    """

    reads: list[int]
    writes: list[int]
    write: Callable[[Callable[[int], str]], str]


class Frame:
    """Buffers, what lies where in them, and the steps of a frame.

    Attributes:
        buffers: all, by number.
        places: of each tensor's elements, by its index.
        steps: in their order.
        needed: numbers of buffers that a step reads.
        constants: buffers that hold a constant, and what it is.
        before_step: called before another step is emitted, by which it may come later.
    """

    def __init__(self, source: Source) -> None:
        """Begin a frame; `source` gets a function for each shape of a copy."""
        self._source = source
        self.buffers: list[Buffer] = []
        self.places: dict[int, Places] = {}
        self.steps: list[Step] = []
        self.needed: set[int] = set()
        self.constants: list[tuple[Buffer, Any]] = []
        self.before_step: Callable[[], None] = lambda: None
        self._base: list[int] = []
        self._moved: dict[bytes, Places] = {}
        self._written: dict[int, tuple[int, int]] = {}  # first and last step that writes a buffer

    def buffer(self, size: int, name: str = "", is_state: bool = False) -> Buffer:
        """Another buffer."""
        buffer = Buffer(len(self.buffers), size, name, is_state)
        self.buffers.append(buffer)
        self._base.append(buffer.number << BITS)
        return buffer

    def of(self, buffer: Buffer) -> Places:
        """Places of a buffer's elements."""
        return (buffer.number << BITS) + np.arange(buffer.size, dtype=np.int64)

    def home(self, places: Places) -> Places:
        """Places in the buffers that others became parts of."""
        homes = {number: self.home_of(number << BITS) for number in np.unique(places >> BITS)}
        if all(home == number << BITS for number, home in homes.items()):
            return places
        found = places.copy()
        for number, home in homes.items():
            inside = places >> BITS == number
            found[inside] = places[inside] - (int(number) << BITS) + home
        return found

    def home_of(self, place: int) -> int:
        """The same of one place."""
        while place >= 0 and (base := self._base[buffer_of(place)]) != place - offset_of(place):
            place = base + offset_of(place)
        return place

    def define(self, tensor: Tensor) -> Buffer:
        """A buffer for what a step computes."""
        buffer = self.buffer(int(np.prod(tensor.shape)))
        self.places[tensor.index] = self.of(buffer).reshape(tensor.shape)
        return buffer

    def at(self, tensor: Tensor) -> Places:
        """Places of a tensor's elements, in its shape."""
        if tensor.index not in self.places:
            if tensor.content is None:
                raise ValueError(f"nothing computes its tensor {tensor.index}")
            # Anew for each that reads it: which constants are equal depends on the checkpoint.
            buffer = self.buffer(tensor.content.size, "constants")
            self.constants.append((buffer, tensor.content))
            return self.of(buffer).reshape(tensor.shape)
        return self.places[tensor.index]

    def read(self, places: Places) -> Places:
        """Places that a step reads, whose buffers somebody has to fill."""
        if places.min() < 0:
            raise ValueError("it reads padding in another place than a convolution")
        self.needed |= set(np.unique(places >> BITS).tolist())
        found: Places = self.home(places)
        return found

    def side_by_side(self, places: Places) -> Places:
        """Places of the same elements side by side, by making buffers one, or by copying them."""
        places = self.read(places)
        if lie_side_by_side(places):
            return places
        key = places.tobytes()
        if key not in self._moved:
            if self.join(places):
                self._moved[key] = self.home(places).ravel()
            else:
                self._moved[key] = self.copied(places).ravel()
        return self.home(self._moved[key]).reshape(places.shape)

    def join(self, places: Places) -> bool:
        """Make whole buffers, one after the other, parts of one, where they can be."""
        flat = places.ravel()
        if flat.min() < 0:
            return False
        cuts = np.flatnonzero(np.diff(flat) != 1) + 1
        parts = np.split(flat, cuts)
        found = [self.buffers[buffer_of(part[0])] for part in parts]
        whole = all(
            offset_of(part[0]) == 0 and part.size == buffer.size
            for part, buffer in zip(parts, found, strict=True)
        )
        free = [not b.field or (b.is_state and i == 0) for i, b in enumerate(found)]
        even = all(buffer.size % BLOCK == 0 for buffer in found[:-1])
        if not even:  # each is written in whole blocks, over what is written after it
            written = [self._written_by(buffer) for buffer in found]
            ends = np.cumsum([buffer.size for buffer in found])
            blocks_end = [e - b.size + _whole(b.size) for e, b in zip(ends, found, strict=True)]
            inside = max(blocks_end) <= _whole(flat.size)
            even = inside and all(a[1] < b[0] for a, b in itertools.pairwise(written))
        if not (whole and all(free) and even and len(set(found)) == len(found)):
            return False
        first = found[0]
        parent = self.buffer(flat.size, first.field, first.is_state)
        written = [self._written_by(buffer) for buffer in found]
        self._written[parent.number] = min(a for a, _ in written), max(b for _, b in written)
        begin = 0
        for buffer in found:
            self._base[buffer.number] = (parent.number << BITS) + begin
            begin += buffer.size
        self.needed |= {parent.number, *(buffer.number for buffer in found)}
        return True

    def copied(self, places: Places, buffer: Buffer | None = None) -> Places:
        """Places of the same elements in a buffer of their own."""
        buffer = buffer or self.buffer(places.size)
        target = self.of(buffer).reshape(places.shape)
        self.copy(places, target)
        self.needed.add(buffer.number)
        return target

    def copy(self, places: Places, target: Places) -> None:
        """Emit what copies elements."""
        found = list(blocks(places, target))
        while found:
            block = found.pop(0)
            other = next((other for other in found if interleaves(block, other)), None)
            if other is not None:
                found.remove(other)
                self.emit(
                    [block.source, other.source],
                    [block.target],
                    partial(self._written_pair, block, other),
                )
            else:
                self.emit([block.source], [block.target], partial(self._written_block, block))

    def _written_block(self, block: Block, at: Callable[[int], str]) -> str:
        sizes, x, y = block.sizes, block.source_steps, block.target_steps
        body = f"copy({_listed(sizes)}, x, {_listed(x)}, y, {_listed(y)});"
        if sizes[0] == 1 and (x[-1], y[-1]) == (0, 1):
            body = f"repeat({_listed(sizes[1:])}, x, {x[1]}, y, {y[1]});"
        function = self._source.function("copy_block", "const int8_t *x, int8_t *y", body)
        return f"{function}({at(block.source)}, {at(block.target)});"

    def _written_pair(self, block: Block, other: Block, at: Callable[[int], str]) -> str:
        steps = _listed(block.source_steps[:-1]), _listed(block.target_steps[:-1])
        function = self._source.function(
            "copy_pairs",
            "const int8_t *a, const int8_t *b, int8_t *y",
            f"interleave({_listed(block.sizes)}, a, b, {steps[0]}, y, {steps[1]});",
        )
        return f"{function}({at(block.source)}, {at(other.source)}, {at(block.target)});"

    def rows(self, places: Places) -> tuple[int, int]:
        """Rows [R, C] whose elements lie side by side: place of the first, and how far apart."""
        places = self.read(places)
        steps = strides_of(places)
        if steps is None or not (steps[1] == 1 or places.shape[1] == 1):
            places = self.side_by_side(places)
            return int(places.flat[0]), places.shape[1]
        return int(places.flat[0]), steps[0] if places.shape[0] > 1 else places.shape[1]

    def emit(
        self,
        reads: Sequence[int],
        writes: Sequence[int],
        write: Callable[[Callable[[int], str]], str],
    ) -> None:
        """Add a step; see `Step`."""
        self.before_step()
        self.append(Step(list(reads), list(writes), write))

    def append(self, step: Step) -> None:
        """Add a step behind all others."""
        number = len(self.steps)
        for place in step.writes:
            first, _ = self._written.get(buffer_of(place), (number, number))
            self._written[buffer_of(place)] = first, number
        self.steps.append(step)

    def _written_by(self, buffer: Buffer) -> tuple[int, int]:
        """The first and the last step that writes a buffer; the next one, if none does yet."""
        return self._written.get(buffer.number, (len(self.steps), len(self.steps)))


def _whole(size: int) -> int:
    """A size in whole blocks."""
    return -(-size // BLOCK) * BLOCK


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
