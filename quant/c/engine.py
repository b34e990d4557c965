"""What the engines of all arithmetics share: the walk over the layers, places, shapes, bands.

The frame is the same for every checkpoint of a network: whatever depends on one is in `weights`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_se import fixed
from edge_se.signal import Signal
from quant.c.layers import (
    BandConvolution,
    Convolution,
    Floats,
    Layer,
    Merge,
    Recurrence,
    Scan,
    Split,
    rows_of,
)
from quant.c.memory import Plan, Shape, plan_memory
from quant.c.source import Source, initializer
from quant.c.weights import Weights
from quant.graph.graph import Value

QUAD = 4
# Positions whose sums are kept in registers at once, by outputs.
BLOCKS = {4: 13, 8: 3, 12: 3, 16: 3, 24: 3, 32: 3}
ROWS_AT_ONCE = 3

# Bytes of the types of fields.
SIZES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}

Fields = dict[str, tuple[str, int]]
# Adds a table of weights under a name; gives what C calls it.
Tables = Callable[[str, NDArray[Any]], str]


class Engine:
    """Writes a frame; its attributes hold the result.

    Attributes:
        signal: that the network hears.
        network: its name.
        checkpoint: SHA-256 of the file with its weights, in hexadecimal.
        weights: what depends on the checkpoint.
        checks: conditions on it, in C.
        source: tables, functions and statements.
        state: fields of the state, by name: C type and count.
        scratch: fields of the frame's memory on the stack.
        on_reset: statements that make a state of zeros one after a reset.
    """

    # Its name; C types of values and of samples; headers in `edge_se/core` that the frame includes,
    # in this order (how lanes have the compiler optimize holds for the STFT too), and what they
    # include. The revision tells its weights from earlier ones that had the same arrays.
    arithmetic: ClassVar[str]
    revision: ClassVar[str] = ""
    element: ClassVar[str]
    samples: ClassVar[str]
    included: ClassVar[tuple[str, ...]]
    included_by_these: ClassVar[tuple[str, ...]]

    def __init__(self, signal: Signal, network: str, checkpoint: str) -> None:
        """Begin a frame.

        Args:
            signal: see `Engine`.
            network: see `Engine`.
            checkpoint: see `Engine`.

        Raises:
            ValueError: There is no transform for the signal.
        """
        if not fixed.has_transform(signal):
            raise ValueError(
                f"it has windows of {signal.window} samples in {signal.points} and hops of "
                f"{signal.hop}"
            )
        self.signal = signal
        self.network = network
        self.checkpoint = checkpoint
        self.weights = Weights()
        self.checks: list[str] = []
        self.source = Source()
        self.state: Fields = dict.fromkeys(("least_gain", "dry", "speech"), ("int32_t", 1))
        self.scratch: Fields = {}
        self.on_reset: list[str] = []
        self._signal_fields = 0

    @property
    def defined(self) -> Mapping[str, str]:
        """Macros that the headers it includes are to find."""
        return {}

    @property
    def name(self) -> str:
        """What it computes: a network, in an arithmetic."""
        return f"{self.network}_{self.arithmetic}"

    def end_signal_fields(self) -> None:
        """Note that all fields of the state from here on are the network's own."""
        self._signal_fields = len(self.state)

    @property
    def memory(self) -> str:
        """The first field of the state that is the network's own; the others are behind it."""
        return list(self.state)[self._signal_fields]

    @property
    def memory_words(self) -> int:
        """Words of 32 bits that the network's own fields take at most."""
        own = list(self.state.values())[self._signal_fields :]
        return sum(-(-SIZES[kind] * count // 4) for kind, count in own)

    @property
    def layout(self) -> tuple[int, int]:
        """What tells its weights from others."""
        return self.weights.layout(self._kind)

    @property
    def blob(self) -> bytes:
        """The checkpoint's weights, to be loaded."""
        return self._loadable(self.weights)

    def lean_blob(self, by_output: bool) -> bytes:
        """The same for a frame of little memory.

        Args:
            by_output: for processors that multiply vectors, where the engine has such weights.
        """
        return self.blob

    @property
    def _kind(self) -> str:
        """What its weights are for."""
        return self.name + self.revision

    def _loadable(self, weights: Weights) -> bytes:
        return weights.blob(self._kind, self.signal.sample_rate, self.checkpoint)


class LayerEngine(Engine, ABC):
    """Writes the frame of some layers."""

    def __init__(
        self, layers: Sequence[Layer], signal: Signal, network: str, checkpoint: str
    ) -> None:
        """Write the frame of some layers.

        Args:
            layers: of the frame.
            signal: see `Engine`.
            network: see `Engine`.
            checkpoint: see `Engine`.

        Raises:
            ValueError: The kernels don't serve the signal or a layer.
        """
        super().__init__(signal, network, checkpoint)
        self.plan: Plan = plan_memory(layers)
        self.scratch |= {
            name: (self.element, shape.size) for name, shape in self.plan.buffers.items()
        }
        self._open(layers)
        self.end_signal_fields()
        self._clear_margins()
        writers = self._writers()
        for layer in layers:
            writers[type(layer)](layer)
        self._close()

    @abstractmethod
    def _writers(self) -> dict[type, Callable[[Any], None]]:
        """What writes a layer, by its kind."""

    def _clear_margins(self) -> None:
        for name, shape in self.plan.buffers.items():
            margins = ((0, shape.before), (shape.before + shape.rows, shape.after))
            for start, rows in margins:
                if rows:
                    pointer = moved(f"k.{name}", start * shape.channels)
                    size = f"sizeof({self.element}) * {rows * shape.channels}"
                    self.source.call("memset", pointer, "0", size)

    @abstractmethod
    def _open(self, layers: Sequence[Layer]) -> None:
        """Samples to features."""

    @abstractmethod
    def _close(self) -> None:
        """Mask to samples."""

    # Bands ---------------------------------------------------------------------------------

    def _merge_spans(self, layer: Merge, weight: Sequence[NDArray[Any]]) -> tuple[str, str, str]:
        """Tables of bands that are sums: first bins, where weights end, and the weights.

        Args:
            layer: that merges.
            weight: of the bins of each.
        """
        bins, room = layer.matrix.shape[1] - layer.alike, band_room(layer)
        first = [first for first, _ in merge_bands(layer)]
        until = np.cumsum([0, *map(len, weight)])
        together = np.concatenate(weight)
        tables = (
            self.weights.table("merge_first", np.array(first, np.uint16)),
            self.weights.table("merge_until", until.astype(np.uint16)),
            self.weights.table("merge_weight", np.pad(together, (0, room - len(together)))),
        )
        self.checks.append(f"ascends({len(first)}, {tables[1]}, 0, {room})")
        self.checks.append(f"spans_fit({len(first)}, {', '.join(tables[:2])}, {bins})")
        return tables

    # Places and shapes ---------------------------------------------------------------------

    def at(self, value: Value) -> str:
        """Pointer to a value's first row."""
        return self.plan.places[value].base

    def shape_of(self, value: Value) -> Shape:
        """Of the buffer that holds a value."""
        return self.plan.places[value].shape

    def clear_ends(self, layer: BandConvolution) -> tuple[str, str]:
        """Copy the first and the last band; their name, and the input's first row."""
        shape = self.shape_of(layer.x)
        row, x = shape.channels, self.at(layer.x)
        size = f"sizeof({self.element}) * {row}"
        self.source.say(f"{self.element} ends[{2 * row}];")
        self.source.call("memcpy", "ends", x, size)
        self.source.call("memcpy", f"ends + {row}", moved(x, (shape.rows - 1) * row), size)
        return "ends", moved(x, -layer.before * row)

    def convolution_shape(self, layer: Convolution | BandConvolution, **more: Any) -> str:
        """Initializer of `struct convolution`."""
        if isinstance(layer, BandConvolution):
            outputs, taps, inputs = layer.weight.shape
            phases, groups, value = 1, 1, layer.x
            inputs = more.pop("inputs", inputs)
            kind = leaky(layer.slope)
        else:
            phases, groups, outputs, taps, inputs = layer.weight.shape
            value = layer.x.value
            kind = "BOUNDED" if layer.bounded else leaky(layer.slope)
        row = self.shape_of(value).channels
        sizes = (layer.positions, outputs, layer.stride * row, taps, inputs, row)
        return self.shape(*sizes, groups, phases, kind, **more)

    def block(self, positions: int, outputs: int) -> int | str:
        """Positions whose sums are kept in registers at once, in C."""
        if outputs not in BLOCKS:
            raise ValueError(f"it has a layer of {outputs} channels")
        return BLOCKS[outputs]

    def linear_shape(
        self, rows: int, groups: int, inputs: int, outputs: int, kind: str = "LINEAR", **more: Any
    ) -> str:
        """Initializer of `struct convolution` for rows of groups of inputs and outputs."""
        row = groups * inputs
        return self.shape(rows, outputs, row, 1, inputs, row, groups, 1, kind, **more)

    def shape(
        self,
        positions: int,
        outputs: int,
        step: int,
        taps: int,
        inputs: int,
        row: int,
        groups: int = 1,
        phases: int = 1,
        kind: str = "LINEAR",
        **more: Any,
    ) -> str:
        """Initializer of `struct convolution`; outputs are those of a group and phase."""
        return initializer(
            positions=positions,
            block=self.block(positions, phases * outputs),
            step=step,
            taps=taps,
            inputs=inputs,
            row=row,
            groups=groups,
            outputs=phases * outputs,
            phases=phases,
            channels=groups * outputs,
            **more,
            activation=kind,
        )


def scan_order(layer: Scan) -> list[int]:
    """The groups of a scan, those that read the same channels together.

    Raises:
        ValueError: The kernel does not serve its groups.
    """
    units = layer.cell.hidden_weight.shape[-1]
    if units != QUAD:
        raise ValueError(f"{layer.result.name} has groups of {units} units, expected {QUAD}")
    groups = range(len(layer.cell.firsts))
    return sorted(groups, key=lambda group: (layer.cell.firsts[group], group))


def check_served(served: bool, value: Value, found: str) -> None:
    """Raise ValueError unless the kernels serve what was found in a layer."""
    if not served:
        raise ValueError(f"{value.name} has {found}")


def check_recurrence(layer: Recurrence) -> None:
    """Raise ValueError unless groups read the channels in their order."""
    groups, _, _, inputs = layer.cell.input_weight.shape
    if any(layer.cell.backward) or layer.cell.firsts != tuple(g * inputs for g in range(groups)):
        raise ValueError(f"{layer.result.name} reads its input in another order")


def merge_bands(layer: Merge) -> list[tuple[int, Floats]]:
    """Of each band that is more than a bin, its first one among the higher bins and its weights.

    Raises:
        ValueError: Bands overlap by more than the kernels have room for.
    """
    higher = layer.matrix[layer.alike :, layer.alike :]
    spans = [(row, np.flatnonzero(row)) for row in higher]
    if not all(len(span) for _, span in spans):
        raise ValueError("it has a band of no bins")
    bands = [(int(s[0]), row[s[0] : s[-1] + 1]) for row, s in spans]
    if sum(len(weight) for _, weight in bands) > band_room(layer):
        raise ValueError("its bands overlap by more than two")
    return bands


def band_room(layer: Merge) -> int:
    """Most weights of bands that are more than a bin: every bin has a share of two."""
    return 2 * (layer.matrix.shape[1] - layer.alike)


def split_bins(layer: Split) -> tuple[NDArray[np.uint16], Floats]:
    """Of the bins that are not a band each, the first of two bands, and both weights.

    Raises:
        ValueError: A bin depends on other bands.
    """
    rest = layer.matrix[layer.alike :]
    spans = [np.flatnonzero(row) for row in rest]
    if not all(len(span) for span in spans):
        raise ValueError("a bin of the mask depends on no band")
    first = [min(int(span[0]), rest.shape[1] - 2) for span in spans]
    if any(span[-1] - f > 1 for span, f in zip(spans, first, strict=True)):
        raise ValueError("a bin of the mask depends on more than two bands")
    weight = np.stack([row[f : f + 2] for row, f in zip(rest, first, strict=True)])
    return np.array(first, np.uint16), weight


def elements(value: Value, shape: Shape) -> int:
    """Elements of a value in its buffer, padding left aside."""
    return rows_of(value) * shape.channels


def leaky(slope: float | None) -> str:
    """The activation of a layer with a leaky ReLU, or without one."""
    return "LINEAR" if slope is None else "LEAKY"


def moved(pointer: str, offset: int) -> str:
    """A pointer expression moved by some elements; constants are added up."""
    base, _, constant = pointer.partition(" + ")
    total = int(constant or 0) + offset
    return base if not total else f"{base} {'+' if total > 0 else '-'} {abs(total)}"
