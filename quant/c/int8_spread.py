"""Weighted sums over frames and means over any axis, as UL-UNAS has them; see `int8_layers`.

Frames lie in several places: they are copied one after the other, between rows of the zero point.
"""

from typing import Any

import numpy as np

from quant.c.int8_frame import BLOCK
from quant.c.int8_layers import (
    EXPONENT,
    MULTIPLIER,
    POINTERS,
    RIGHT,
    TABLES,
    ZERO,
    Layers,
    affine,
    bias_of,
    matrix_of,
)
from quant.c.int8_moves import BITS, Places, buffer_of, lie_side_by_side, offset_of
from quant.c.int8_order import OUTPUTS, ordered
from quant.c.int8_program import (
    Operation,
    Tensor,
    content_of,
    mean_multiplier,
    numbers_of,
    weighted_multipliers,
)


class SpreadLayers(Layers):
    """Writes weighted sums and means into a frame, also those over frames."""

    def __init__(self, checks: list[str], *given: Any) -> None:
        """Write into a frame, as `Layers`; `checks` are what weights have to fulfil."""
        super().__init__(*given)
        self._checks = checks
        self._held: Any = None  # what the padded rows are of
        self._merging: list[tuple[Operation, int]] = []  # of bins to bands, and first bins

    def linear(self, operation: Operation) -> None:
        """A convolution of one tap; of features one that merges bins to bands.

        Which bins those are depends on the checkpoint, so it is data.
        """
        places = self._frame.at(operation.input(0))
        if self._frame.buffers[buffer_of(places.flat[0])].field != "features":
            super().linear(operation)
            return
        if len(places) != 1 or not lie_side_by_side(places):
            raise ValueError("it merges other things than bins")
        (result,), bins = operation.outputs, int(places.flat[0])
        done = sum(op.outputs[0].shape[-1] for op, _ in self._merging)
        self._merging.append((operation, offset_of(bins)))
        self._frame.read(places)
        place = self._frame.define(result).number << BITS
        function = self._source.function(
            "merge_bands",
            f"const uint16_t *first, const uint16_t *until, {TABLES}, {POINTERS}",
            f"merge_bands({result.shape[-1]}, first, until, {affine()}, x, y);",
        )
        spans = ", ".join(f"w->merge_{name} + {done}" for name in ("first", "until"))
        numbers = ", ".join(f"w->merge_{name} + {done}" for name in ("bias", "multiplier"))
        zero, features = self._zero(result), bins - offset_of(bins)
        given = f"w->merge_weight, {numbers}, w->merge_exponent + {done}, {zero}"
        self._frame.emit(
            [features],
            [place],
            lambda at: f"{function}({spans}, {given}, {at(features)}, {at(place)});",
        )

    def close(self) -> None:
        """Write the tables of all bands."""
        if not self._merging:
            return
        first, weight, bias, scales = [], [], [], []
        for operation, begin in self._merging:
            x, kernel = operation.input(0), matrix_of(operation)
            spans = [np.flatnonzero(row) for row in kernel]
            if not all(len(span) for span in spans):
                raise ValueError("it has a band of no bins")
            first += [begin + int(span[0]) for span in spans]
            weight += [row[span[0] : span[-1] + 1] for row, span in zip(kernel, spans, strict=True)]
            bias += bias_of(operation, kernel.sum(axis=1, dtype=np.int64), 1).tolist()
            scales += weighted_multipliers(x, operation.input(1), operation.outputs[0])
        until, together = np.cumsum([0, *map(len, weight)]), np.concatenate(weight)
        bins = next(b.size for b in self._frame.buffers if b.field == "features")
        room = 2 * bins
        if until[-1] > room:
            raise ValueError("its bands overlap by more than two")
        table = self._weights.table
        names = (
            table("merge_first", np.array(first, np.uint16)),
            table("merge_until", until.astype(np.uint16)),
        )
        table("merge_weight", np.pad(together, (0, room - len(together))).astype(np.int8))
        table("merge_bias", np.array(bias, np.int32))
        table("merge_multiplier", np.array([m for m, _ in scales], np.int32), 0, MULTIPLIER.high)
        exponents = [exponent if m else RIGHT.high for m, exponent in scales]
        table("merge_exponent", np.array(exponents, np.int32), RIGHT.low, RIGHT.high)
        self._checks.append(f"ascends({len(first)}, {names[1]}, 0, {room})")
        self._checks.append(f"spans_fit({len(first)}, {', '.join(names)}, {bins})")

    def convolution(self, operation: Operation) -> None:
        """A convolution over frames; each position's inputs are copied side by side."""
        kernel = content_of(operation.input(1))
        if kernel.shape[1] == 1:
            super().convolution(operation)
            return
        outputs, _, taps, inputs = kernel.shape
        places, before, after, stride = self._padded_rows(operation, taps)
        x, (result,) = operation.input(0), operation.outputs
        frames, count, channels = places.shape
        if frames != kernel.shape[1] or channels != inputs:
            raise ValueError("it has a convolution dilated over frames, or in groups")
        # Of few outputs those of neighbouring positions are made at once.
        together = OUTPUTS // outputs if OUTPUTS % outputs == 0 else 1
        positions = -(-result.shape[2] // together)
        reach = taps + (together - 1) * stride

        def widened(one: Any) -> Any:
            wide = np.zeros((together, outputs, frames, reach, inputs), one.dtype)
            for ahead, part in enumerate(wide):
                part[:, :, ahead * stride : ahead * stride + taps] = one
            return wide.reshape(together * outputs, -1)

        after = max((positions * together - 1) * stride + taps - before - count, 0)
        size, frame = reach * inputs, (before + count + after) * inputs
        flat, used = widened(kernel), widened(self._used[operation].reshape(kernel.shape))
        weight, given = ordered(flat, used)
        width, made = frames * size, together * outputs
        sums = flat.sum(axis=1, dtype=np.int64)
        tables = self._affine(operation, weight, sums, together, given.order(made))
        buffer = self._frame.define(result).number
        if self._is_new(x, places, (frame, size, width, positions)):
            self._pad_frames(places, x, before, after)
            _, most = self._scratch.get("gathered", ("", 0))
            self._scratch["gathered"] = ("int8_t", max(most, positions * width + BLOCK))
            step = together * stride * inputs
            function = self._source.function(
                "gather_frames",
                POINTERS,
                f"gather({positions}, {frames}, {size}, {step}, {frame}, {width}, x, y);",
            )
            self._frame.emit([], [], lambda _: f"{function}(k.padded, k.gathered);")
        shape = f"{positions}, {width}, {given}, {made}, {made}"
        rectified = operation.is_rectified
        self._apply(shape, tables, lambda _: "k.gathered", [], buffer, 0, rectified)

    def depthwise(self, operation: Operation) -> None:
        """A convolution of each channel over frames and rows."""
        (kernel,) = content_of(operation.input(1))
        frames, taps, channels = kernel.shape
        places, before, after, stride = self._padded_rows(operation, taps)
        dilation, (result,) = operation.options["dilationHFactor"], operation.outputs
        if dilation != 1 or (channels % BLOCK == 0 and stride == 1):
            super().depthwise(operation)
            return
        served = channels >= BLOCK and channels % OUTPUTS == 0 and len(places) == frames
        if not served or operation.options["depthMultiplier"] != 1 or result.shape[1] != 1:
            raise ValueError("it has a depthwise convolution of another kind")
        tables = self._affine(operation, kernel, kernel.sum(axis=(0, 1), dtype=np.int64))
        buffer, x = self._frame.define(result).number, operation.input(0)
        frame = (before + places.shape[1] + after) * channels
        if self._is_new(x, places, (frame, before)):
            self._pad_frames(places, x, before, after)
        shape = f"{result.shape[2]}, {stride}, {frames}, {taps}, {channels}, {frame}"
        self._over_frames(shape, tables, buffer, operation.is_rectified)

    def _pad(self, *given: Any) -> None:
        self._held = None
        super()._pad(*given)

    def _is_new(self, tensor: Tensor, places: Places, shape: tuple[int, ...]) -> bool:
        """Whether the padded rows do not hold a tensor's frames in that shape yet; now they do."""
        held = tensor.index, self._frame.home(places).tobytes(), shape
        if held == self._held:
            return False
        self._next = held
        return True

    def _pad_frames(self, places: Places, tensor: Tensor, before: int, after: int) -> None:
        _, count, channels = places.shape
        for number, rows in enumerate(places):
            first, row = self._frame.rows(rows)
            begin = number * (before + count + after) * channels
            self._pad(count, channels, row, before, after, tensor, first, begin)
        self._held = self._next

    def filled(self, operation: Operation) -> None:
        """A value between zeros, for what reads it as it is."""
        x, (result,) = operation.input(0), operation.outputs
        buffer, zero = self._frame.define(result), self._zero(x)
        target = self._frame.places[result.index]
        inside = tuple(
            slice(before, size - after)
            for (before, after), size in zip(
                content_of(operation.input(1)), result.shape, strict=True
            )
        )
        place, size = buffer.number << BITS, buffer.size
        self._frame.emit([], [place], lambda at: f"memset({at(place)}, {zero}, {size});")
        self._frame.copy(self._frame.read(self._frame.at(x)), target[inside])
        self._frame.needed.add(buffer.number)

    def mean(self, operation: Operation) -> None:
        """A mean over one axis of rows and columns, or as `Layers.mean` has it."""
        x, (result,) = operation.input(0), operation.outputs
        axes = sorted(int(axis) for axis in numbers_of(operation.input(1)))
        over = [axis for axis in axes if x.shape[axis] > 1]
        *before, rows, columns = x.shape
        along = [len(x.shape) - 1] if over in ([], [len(x.shape) - 1]) else over
        if axes[0] == 0 or max(before, default=1) > 1 or len(along) > 1:
            super().mean(operation)
            return
        of_rows = along == [len(x.shape) - 1] and result.shape[-1] == 1 and axes == along
        count = columns if of_rows else rows
        first = int(self._frame.side_by_side(self._frame.at(x)).flat[0])
        multiplier, exponent = mean_multiplier(x, result, count)
        numbers = (
            self._zero(x),
            self._weights.number(MULTIPLIER, multiplier),
            self._weights.number(EXPONENT, exponent),
            self._zero(result),
        )
        place = self._frame.define(result).number << BITS
        names = ("zero", "multiplier", "exponent", "result_zero")
        kernel = "mean_in_rows" if of_rows else "mean_in_columns"
        function = self._source.function(
            kernel.replace("mean", "means"),
            ", ".join([*(f"int32_t {name}" for name in names), POINTERS]),
            f"{kernel}({rows}, {columns}, {', '.join(names)}, x, y);",
        )
        self._frame.emit(
            [first],
            [place],
            lambda at: f"{function}({', '.join(numbers)}, {at(first)}, {at(place)});",
        )

    def _zero(self, tensor: Tensor) -> str:
        """Zero point of a tensor."""
        key = "zero of", tensor.index
        if key not in self._known:
            self._known[key] = self._weights.number(ZERO, tensor.zero_point)
        found: str = self._known[key]
        return found
