"""The int8 engine: the operators of an 8-bit .tflite as calls of exact kernels.

Operators that only move elements are index arithmetic (`quant.c.int8_moves`); elementwise ones that
follow each other are one loop (`quant.c.int8_chains`); all others are a call each
(`quant.c.int8_layers`). What depends on the checkpoint is in the
weights: the steps of a recurrence over frequency share theirs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_se.engines.fixed_path import FixedBands, MaskScale, feature_scale
from edge_se.fixed import BINS, MASK_UNIT_LIMIT
from edge_se.manifest import Manifest
from edge_se.quantized import limits
from quant.c.engine import Engine
from quant.c.int8_chains import Chains
from quant.c.int8_frame import BLOCK, Frame
from quant.c.int8_layers import MULTIPLIER, ZERO
from quant.c.int8_loops import rolled
from quant.c.int8_moves import (
    BITS,
    PADDING,
    Places,
    buffer_of,
    lie_side_by_side,
    offset_of,
)
from quant.c.int8_program import (
    Operation,
    Program,
    Tensor,
    numbers_of,
    read_program,
    reference_tables,
)
from quant.c.int8_spread import SpreadLayers
from quant.c.int8_structure import used_weights
from quant.c.integer_path import add_path_memory, close_path, open_path, squared_step
from quant.c.memory import share
from quant.c.source import identifier
from quant.c.weights import Kind

# A recurrence over rows has more of them, each of fewer operators.
LEAST_REPEATS, LONGEST_PERIOD = 4, 40

FEATURE_EXPONENT, MASK_EXPONENT = (
    Kind("feature_exponent", low=-64, high=38),
    Kind("mask_exponent", low=-32, high=0),
)
BOUND_EXPONENT, EXCESS_SHIFT = Kind("bound_exponent", low=-16, high=16), Kind("excess", high=16)
MASK_MULTIPLIER = Kind("mask_multiplier", low=1, high=2**15)
UNIT, SQUARE = Kind("unit", low=1, high=MASK_UNIT_LIMIT), Kind("square", high=2**31 - 1)
LARGEST_BAND_WEIGHT = 2**20
BAND_STEP = 4  # weights of a band that are multiplied at once
CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D"}  # which read zeros around what they are given
WIDENED_BITS = 7  # that a mask gains where it is told whether there is speech


class Int8Engine(Engine):
    """What an `int8` model file computes, to the bit; see `Engine`."""

    arithmetic = "int8"
    revision = "sums from zero on"
    element, samples = "int8_t", "int16_t"
    included = ("fixed_path.h", "int8_kernels.h", "int8_spread.h", "weights.h")
    included_by_these = ("compiler.h", "wide.h", "bits.h", "fft.h", "level.h")

    def __init__(self, content: bytes, manifest: Manifest) -> None:
        """Write the engine of a model file.

        Args:
            content: of the .tflite, without its manifest.
            manifest: of the file.

        Raises:
            ValueError: The kernels don't serve it.
        """
        checkpoint = str(manifest.checkpoint.get("sha256"))
        super().__init__(manifest.signal, manifest.architecture, checkpoint)
        self._program = read_program(content)
        if manifest.lookahead_frames:
            raise ValueError("it looks ahead")
        if manifest.stft != "fixed":
            raise ValueError("its samples do not become features in integers")
        self._manifest = manifest
        tables = reference_tables(op for op in self._program.operations if op.is_unary)
        self._frame, sites = Frame(self.source), _sites(self._program)
        self._chains = Chains(self._frame, self.weights, self.source, sites, tables)
        self._layers = SpreadLayers(
            *(self.checks, self._frame, self.weights, self.source, self.scratch, sites),
            used_weights(self._program, manifest.architecture),
        )
        self._lower()

    # Operators -----------------------------------------------------------------------------

    def _lower(self) -> None:
        program, manifest = self._program, self._manifest
        features, *inputs = program.inputs
        mask, *outputs = program.outputs
        states = {state.input: state for state in manifest.states}
        signal = self._frame.buffer(int(np.prod(features.shape)), "features")
        self._frame.places[features.index] = self._frame.of(signal).reshape(features.shape)
        for tensor in inputs:
            name = identifier(states[tensor.index].name)
            buffer = self._frame.buffer(int(np.prod(tensor.shape)), name, is_state=True)
            self._frame.places[tensor.index] = self._frame.of(buffer).reshape(tensor.shape)
        for operation in program.operations:
            self._operator(operation)
        self._layers.close()
        result = self._frame.buffer(int(np.prod(mask.shape)), "mask")
        self._frame.copied(self._frame.read(self._frame.at(mask)), result)
        after = {state.input: state.output for state in manifest.states}
        by_index = {tensor.index: tensor for tensor in outputs}
        carried = [
            (tensor, self._carried(tensor, by_index[int(after[tensor.index])])) for tensor in inputs
        ]
        self._chains.close()
        self._write(carried)

    def _carried(self, state: Tensor, result: Tensor) -> Places | None:
        """Where a state's successor lies, side by side; None where it is copied in parts."""
        places = self._frame.read(self._frame.at(result))
        if lie_side_by_side(places) or self._frame.join(places):
            return self._frame.home(places)
        own = self._frame.home(self._frame.at(state))
        for number in np.unique(places >> BITS):
            if self._frame.buffers[number].is_state and number != buffer_of(own.flat[0]):
                raise ValueError("it has a state that is in part another one's")
        self._frame.copy(places, own)
        return None

    def _operator(self, operation: Operation) -> None:
        if operation.is_unary or operation.kind in ("ADD", "SUB", "MUL"):
            self._chains.add(operation)
            return
        movers: dict[str, Callable[[Operation], list[Places]]] = {
            "RESHAPE": lambda op: [self._frame.at(op.input(0)).reshape(op.outputs[0].shape)],
            "TRANSPOSE": lambda op: [
                self._frame.at(op.input(0)).transpose(numbers_of(op.input(1)))
            ],
            "SLICE": lambda op: [self._frame.at(op.input(0))[_block(op)]],
            "SPLIT": lambda op: np.split(
                self._frame.at(op.input(1)), len(op.outputs), int(numbers_of(op.input(0))[0])
            ),
            "PAD": lambda op: [
                np.pad(
                    self._frame.at(op.input(0)),
                    np.array(op.input(1).content),
                    constant_values=PADDING,
                )
            ],
            "CONCATENATION": lambda op: [
                np.concatenate(
                    [self._frame.at(op.input(n)) for n in range(len(op.inputs))], op.options["axis"]
                )
            ],
        }
        if operation.kind == "PAD" and not self._read_by(operation) & CONVOLUTIONS:
            self._layers.filled(operation)
            return
        if operation.kind in movers:
            moved = operation.inputs[1:] if operation.kind == "SPLIT" else operation.inputs
            for tensor in moved:
                if tensor is not None and tensor.scales.size:
                    _check_alike(operation, tensor, operation.outputs[0])
            if operation.kind == "CONCATENATION" and self._layers.join_bins(operation):
                return
            results = movers[operation.kind](operation)
            if operation.kind == "CONCATENATION":
                self._frame.join(self._frame.home(results[0]))
            for tensor, places in zip(operation.outputs, results, strict=True):
                self._frame.places[tensor.index] = places
            return
        kernels: dict[str, Callable[[Operation], None]] = {
            "CONV_2D": self._layers.convolution,
            "DEPTHWISE_CONV_2D": self._layers.depthwise,
            "MEAN": self._layers.mean,
        }
        if operation.kind not in kernels:
            raise ValueError(f"it has a {operation.kind}")
        kernels[operation.kind](operation)

    def _read_by(self, operation: Operation) -> set[str]:
        """Kinds of operators that read an operator's results."""
        results = set(operation.outputs)
        return {op.kind for op in self._program.operations if results & set(op.inputs)}

    # The frame -----------------------------------------------------------------------------

    def _write(self, carried: Sequence[tuple[Tensor, Places | None]]) -> None:
        addresses = self._addresses(carried)

        def at(place: int) -> str:
            home = self._frame.home_of(place)
            base, offset = addresses[buffer_of(home)]
            offset += offset_of(home)
            return f"{base} + {offset}" if offset else base

        self._open()
        self.end_signal_fields()
        for statement in rolled([step.write(at) for step in self._frame.steps]):
            self.source.say(statement)
        names = {state.input: identifier(state.name) for state in self._manifest.states}
        kept = set()
        for tensor, places in carried:
            own = buffer_of(self._frame.home_of(int(self._frame.places[tensor.index].flat[0])))
            if places is not None:
                source = self._frame.buffers[buffer_of(places.flat[0])]
                if source.is_state and source.number != own:
                    raise ValueError(f"its state {names[tensor.index]} is another one's")
                state = f"s->{names[tensor.index]}"
                self.source.call("memmove", state, at(int(places.flat[0])), str(places.size))
            zero = self.weights.number(ZERO, tensor.zero_point)
            buffer = self._frame.buffers[own]
            kept.add(buffer)
            self.on_reset.append(f"memset(s->{buffer.field}, {zero}, sizeof s->{buffer.field});")
        for buffer in sorted(kept, key=lambda kept: kept.number):
            self.state[buffer.field] = ("int8_t", _rounded(buffer.size))
        squared = squared_step(MaskScale(self._manifest.tensors.mask), WIDENED_BITS)
        square = self.weights.number(SQUARE, squared)
        given = int(np.prod(self._manifest.tensors.mask.shape))
        self.source.say(f"int16_t parts[{2 * BINS}];")
        self.source.call("widen", str(given), "k.mask", self._mask_zero, "parts")
        if given < 2 * BINS:
            more = 2 * BINS - given
            self.source.call("memset", f"parts + {given}", "0", f"sizeof(int16_t) * {more}")
        close_path(self, "parts", f"(uint64_t){square}")

    def _addresses(
        self, carried: Sequence[tuple[Tensor, Places | None]]
    ) -> dict[int, tuple[str, int]]:
        """Of each buffer: a pointer, and where it begins behind that."""
        lives: dict[int, list[int]] = {}
        for index, step in enumerate(self._frame.steps):
            for place in (*step.reads, *step.writes):
                number = buffer_of(self._frame.home_of(place))
                lives.setdefault(number, [index, index])[1] = index
        for places in (places for _, places in carried if places is not None):
            lives[buffer_of(places.flat[0])][1] = len(self._frame.steps)
        kept = {buffer_of(self._frame.home_of(number << BITS)) for number in self._frame.needed}
        own = [
            number for number in lives if not self._frame.buffers[number].field and number in kept
        ]
        sizes = [_rounded(self._frame.buffers[number].size) for number in own]
        offsets = share(sizes, [(lives[number][0], lives[number][1]) for number in own])
        most = max((o + s for o, s in zip(offsets, sizes, strict=True)), default=0)
        self.scratch["values"] = ("int8_t", most + BLOCK)
        addresses = {
            number: ("k.values", offset) for number, offset in zip(own, offsets, strict=True)
        }
        begin, contents = 0, []
        for buffer, content in self._frame.constants:
            addresses[buffer.number] = ("w->constants", begin)
            size = _rounded(content.size)
            contents.append(np.pad(content.ravel(), (0, size - content.size)))
            begin += size
        if contents:
            self.weights.table("constants", np.concatenate(contents).astype(np.int8))
        for buffer in self._frame.buffers:
            if buffer.field and buffer.field != "constants":
                owner = "s->" if buffer.is_state else "k."
                addresses[buffer.number] = (f"{owner}{buffer.field}", 0)
                if not buffer.is_state:
                    self.scratch[buffer.field] = ("int8_t", _rounded(buffer.size))
        return addresses

    def _open(self) -> None:
        """Samples to features, as the frame loop's signal path makes them."""
        manifest, number = self._manifest, self.weights.number
        features, mask = manifest.tensors.features, manifest.tensors.mask
        add_path_memory(self)
        scale, of_mask = feature_scale(manifest.signal, features), MaskScale(mask)
        self._mask_zero = number(ZERO, of_mask.zero_point)
        low, high = limits(np.int8)
        fields: dict[str, Any] = {
            "feature_bytes": 1,
            "feature_multiplier": number(MULTIPLIER, scale.multiplier),
            "feature_exponent": number(FEATURE_EXPONENT, scale.exponent),
            "feature_zero_point": number(ZERO, scale.zero_point),
            "feature_low": low,
            "feature_high": high,
            "mask_bytes": 1,
            "mask_multiplier": number(MASK_MULTIPLIER, of_mask.multiplier),
            "mask_exponent": number(MASK_EXPONENT, of_mask.exponent),
            "mask_zero_point": self._mask_zero,
            "mask_unit": number(UNIT, of_mask.unit),
        }
        bands = manifest.bands
        if bands is not None:
            room = 2 * BINS + len(bands.weights) * (BAND_STEP - 1)
            merging, begins, rows = FixedBands(bands), [], []
            for begin, row in zip(bands.first, bands.weights, strict=True):
                # Whole steps, and none beyond the last bin.
                size = -(-len(row) // BAND_STEP) * BAND_STEP
                begins.append(min(begin, BINS - size))
                before = begin - begins[-1]
                rows.append(np.pad(np.array(row, np.int32), (before, size - len(row) - before)))
            ends, together = np.cumsum([len(row) for row in rows]), np.concatenate(rows)
            if len(together) > room:
                raise ValueError("its bands overlap by more than two")
            first = self.weights.table("band_first", np.array(begins, np.int32), 0, BINS)
            until = self.weights.table("band_until", ends.astype(np.int32), 0, room)
            self.checks.append(f"bands_fit({len(ends)}, {first}, {until}, BINS)")
            fields |= {
                "band_first": first,
                "band_until": until,
                "band_weight": self.weights.table(
                    "band_weight",
                    np.pad(together, (0, room - len(together))),
                    0,
                    LARGEST_BAND_WEIGHT,
                ),
                "bands": bands.count,
                "bands_alike": bands.alike,
                "bound_exponent": number(BOUND_EXPONENT, merging.bound_exponent),
                "excess_shift": number(EXCESS_SHIFT, merging.excess_shift),
            }
        open_path(self, fields)


def _sites(program: Program) -> dict[Operation, int]:
    """A number for each operator, the same for the same one of the steps of a recurrence.

    Those have equal shapes, scales and weights at equal distances, several times.
    """
    operations = program.operations
    marks = [_mark(operation) for operation in operations]
    sites = list(range(len(operations)))
    for period in range(1, LONGEST_PERIOD):
        equal = [a == b for a, b in zip(marks, marks[period:], strict=False)] + [False]
        begin = 0
        for index, same in enumerate(equal):
            if same:
                continue
            if index - begin >= (LEAST_REPEATS - 1) * period:
                for k in range(begin + period, index + period):
                    sites[k] = sites[k - period]
            begin = index + 1
    return dict(zip(operations, sites, strict=True))


def _mark(operation: Operation) -> Any:
    tensors = [
        (tensor.shape, tensor.scales.tobytes(), tensor.zero_point)
        for tensor in (*operation.inputs, *operation.outputs)
        if tensor is not None
    ]
    options = str(sorted(operation.options.items()))
    return operation.kind, operation.is_unary, tuple(tensors), options


def _check_alike(operation: Operation, tensor: Tensor, result: Tensor) -> None:
    if (tensor.scales.tobytes(), tensor.zero_point) != (
        result.scales.tobytes(),
        result.zero_point,
    ):
        raise ValueError(f"it has a {operation.kind} of values with several scales")


def _block(operation: Operation) -> tuple[slice, ...]:
    begins, sizes = numbers_of(operation.input(1)), numbers_of(operation.input(2))
    return tuple(slice(b, b + size) for b, size in zip(begins, sizes, strict=True))


def _rounded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
