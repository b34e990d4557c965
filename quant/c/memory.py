"""Where each value of a frame lies: in the state, or in scratch memory shared in turn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from quant.c.layers import (
    BandConvolution,
    Convolution,
    Layer,
    Merge,
    Recurrence,
    Split,
    Spread,
    Temporal,
    View,
    rows_of,
)
from quant.c.source import identifier
from quant.graph.graph import Value

# A row of bands: magnitude, real and imaginary part, and a zero.
BAND_CHANNELS = 4


@dataclass(frozen=True)
class Shape:
    """A buffer's rows and channels, and its rows of zeros before and after."""

    rows: int
    channels: int
    before: int = 0
    after: int = 0

    @property
    def size(self) -> int:
        """Elements."""
        return (self.before + self.rows + self.after) * self.channels


@dataclass(frozen=True)
class Place:
    """Where a value's first row lies.

    Attributes:
        base: C expression of a pointer to the first row that is no padding.
        shape: of the buffer; its margins are zero.
    """

    base: str
    shape: Shape


def values_of(layer: Layer) -> tuple[list[Value], Value]:
    """What a layer reads, and what it makes."""
    given = [getattr(layer, f.name) for f in fields(layer)]
    named = dict(zip((f.name for f in fields(layer)), given, strict=True))
    read = [
        content.value if isinstance(content, View) else content
        for name, content in named.items()
        if name in ("features", "x", "residual", "passed", "a", "b")
    ]
    return read, layer.result


@dataclass(frozen=True)
class Plan:
    """Buffers of a frame.

    Attributes:
        buffers: shapes by name, all of one element type.
        places: of every value that layers read or make.
    """

    buffers: dict[str, Shape]
    places: dict[Value, Place]


def plan_memory(layers: Sequence[Layer]) -> Plan:
    """Give every value a place; those never alive at once may share one.

    Buffers of a shape share their margins' width, which no layer writes to.
    """
    margins = _margins(layers)
    last = {value: index for index, layer in enumerate(layers) for value in values_of(layer)[0]}
    places: dict[Value, Place] = {}
    buffers: dict[str, Shape] = {}
    free: dict[Shape, list[str]] = {}
    owners: dict[Value, str] = {}
    for index, layer in enumerate(layers):
        read, made = values_of(layer)
        if isinstance(layer, Split):
            continue
        if isinstance(layer, Recurrence):
            shape = Shape(*made.shape)
            places[made] = Place(f"s->{identifier(layer.state)}", shape)
        else:
            shape = _shape(layer, margins)
            names = free.setdefault(shape, [])
            if not names:
                names.append(f"rows{shape.rows}x{shape.channels}_{_count(buffers, shape)}")
                buffers[names[0]] = shape
            owners[made] = name = names.pop()
            offset = shape.before * shape.channels
            places[made] = Place(f"k.{name} + {offset}" if offset else f"k.{name}", shape)
        for value in read:
            if last[value] == index and value in owners:
                free[buffers[owners[value]]].append(owners.pop(value))
    return Plan(buffers, places)


def _count(buffers: dict[str, Shape], shape: Shape) -> int:
    return sum(other == shape for other in buffers.values())


def _extent(layer: Layer) -> tuple[int, int]:
    if isinstance(layer, Merge):
        return len(layer.matrix), BAND_CHANNELS if rows_of(layer.features) > 1 else 1
    if isinstance(layer, Convolution):
        phases, groups, outputs = layer.weight.shape[:3]
        return layer.positions * phases, groups * outputs
    if isinstance(layer, Spread):
        return layer.rows, layer.weight.shape[-1]
    return rows_of(layer.result), layer.result.shape[-1]


def _shape(layer: Layer, margins: dict[tuple[int, int], tuple[int, int]]) -> Shape:
    extent = _extent(layer)
    return Shape(*extent, *margins.get(extent, (0, 0)))


def _margins(layers: Sequence[Layer]) -> dict[tuple[int, int], tuple[int, int]]:
    """Rows of padding before and after, by extent."""
    extents = {layer.result: _extent(layer) for layer in layers if not isinstance(layer, Split)}
    margins: dict[tuple[int, int], tuple[int, int]] = {}
    for layer in layers:
        if isinstance(layer, Convolution | BandConvolution):
            taps = layer.weight.shape[3 if isinstance(layer, Convolution) else 1]
            value = layer.x.value if isinstance(layer.x, View) else layer.x
            needed = (layer.positions - 1) * layer.stride - layer.before + taps
            wanted = layer.before, max(needed - extents[value][0], 0)
        elif isinstance(layer, Temporal):
            value, wanted = layer.x, (1, 1)
        elif isinstance(layer, Spread) and layer.state is None:
            value, wanted = layer.x, layer.margins
        else:
            continue
        old = margins.get(extents[value], (0, 0))
        margins[extents[value]] = (max(old[0], wanted[0]), max(old[1], wanted[1]))
    return margins


def share(sizes: Sequence[int], lives: Sequence[tuple[int, int]]) -> list[int]:
    """Where buffers begin that share memory, each at the first gap that is free while it lives.

    Args:
        sizes: of the buffers.
        lives: first and last step of each.
    """
    begins = [0] * len(sizes)
    placed: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        first, last = lives[number]
        beside = [o for o in placed if lives[o][0] <= last and first <= lives[o][1]]
        for other in sorted(beside, key=begins.__getitem__):
            if begins[number] + sizes[number] <= begins[other]:
                break
            begins[number] = max(begins[number], begins[other] + sizes[other])
        placed.append(number)
    return begins
