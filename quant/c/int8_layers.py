"""Weighted sums: an operator each, with its weights as tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from quant.c.int8_frame import BLOCK, Frame
from quant.c.int8_moves import BITS, PADDING, Places, buffer_of, offset_of, strides_of
from quant.c.int8_order import ordered, used_inputs
from quant.c.int8_planes import find_planes
from quant.c.int8_program import (
    Operation,
    Tensor,
    content_of,
    mean_multiplier,
    numbers_of,
    weighted_multipliers,
)
from quant.c.source import Source
from quant.c.weights import Kind, Weights
from quant.graph.operators.convolving import same_padding

MOST_ADDED = 4096  # values of a mean, 256 times 16 columns
TAPS, OCTET = 8, 8  # of a convolution along planes, and outputs of it at once
POINTERS = "const int8_t *x, int8_t *restrict y"
# Tables of a layer as a function is given them, in registers.
TABLES = (
    "const int8_t *weight, const int32_t *bias, const int32_t *multiplier, "
    "const int32_t *exponent, int32_t zero"
)

ZERO = Kind("zero", low=-128, high=127)
MULTIPLIER = Kind("multiplier", high=2**31 - 1)
EXPONENT, RIGHT = Kind("exponent", low=-31, high=30), Kind("right", low=-31, high=-1)


class Layers:
    """Writes weighted sums and means into a frame."""

    def __init__(
        self,
        frame: Frame,
        weights: Weights,
        source: Source,
        scratch: dict[str, tuple[str, int]],
        sites: Mapping[Operation, int],
        used: Mapping[Operation, Any],
    ) -> None:
        """Write into a frame.

        Args:
            frame: whose steps these become.
            weights: that get numbers and tables.
            source: that gets a function for each shape.
            scratch: of the frame, which gets room for padded rows.
            sites: the same number for operators that share their weights.
            used: which weights of a layer are other than zero in some checkpoint.
        """
        self._frame, self._weights, self._source, self._scratch = frame, weights, source, scratch
        self._sites, self._used = sites, used
        self._known: dict[Any, Any] = {}
        self._split: dict[int, Operation] = {}  # by what splits bands, until it is joined
        self._negatives = _negatives(sites)

    def _affine(
        self, operation: Operation, weight: Any, sums: Any, together: int = 1, order: Any = None
    ) -> list[str]:
        """Tables of a layer by name, weight [outputs, ...] as the kernel reads it.

        Sums of weights are what the input's zero point is taken off by; none where that was before.
        Of so many positions `together`, whose outputs follow each other. Other tables than that of
        weights get the `order` of outputs that these are in.
        """
        order = np.arange(len(sums)) if order is None else order
        x, (result,), site = operation.input(0), operation.outputs, self._sites[operation]
        if ("affine", site) not in self._known:
            scales = weighted_multipliers(x, operation.input(1), result) * together
            tables = ["0"]
            if weight is not None:
                tables = [self._weights.table(f"weight_{site}", weight.astype(np.int8))]
            for name, kind, values in (
                ("multiplier", MULTIPLIER, [multiplier for multiplier, _ in scales]),
                ("exponent", RIGHT, [exponent if m else RIGHT.high for m, exponent in scales]),
            ):
                found = np.array(values, np.int32)[order]
                if not ((found >= kind.low) & (found <= kind.high)).all():
                    raise ValueError(f"it has a {operation.kind} whose scales differ by too much")
                table = self._weights.table(f"{name}_{site}", found, kind.low, kind.high)
                tables.append(table)
            zero = self._weights.number(ZERO, result.zero_point)
            # Of all the operators that share these, one after the other.
            sharing = [operation for operation, other in self._sites.items() if other == site]
            biases = np.stack([bias_of(op, sums, together)[order] for op in sharing])
            bias = self._weights.table(f"bias_{site}", biases.astype(np.int32))
            self._known["affine", site] = (*tables, zero, bias, sharing)
        weights, multiplier, exponent, zero, bias, sharing = self._known["affine", site]
        begin = sharing.index(operation) * len(sums)
        return [weights, f"{bias} + {begin}" if begin else bias, multiplier, exponent, zero]

    def linear(self, operation: Operation) -> None:
        """A convolution of one tap, which may select or split bands instead."""
        x, (result,) = operation.input(0), operation.outputs
        kernel = matrix_of(operation)
        places = self._frame.at(x).reshape(-1, kernel.shape[1])
        order = _selection(operation)
        if order is not None:
            self._frame.places[result.index] = places[:, order].reshape(result.shape)
            return
        outputs = len(kernel)
        if _splits_bands(kernel):
            # Where blocks of bands begin depends on the checkpoint, and all of them together don't.
            self._split[result.index] = operation
            return
        made_of = self._used[operation].reshape(kernel.shape)
        used = used_inputs(made_of)
        kernel, (first, step) = kernel[:, used], self._frame.rows(places[:, used])
        weight, given = ordered(kernel, made_of[:, used])
        sums, order = kernel.sum(axis=1, dtype=np.int64), given.order(outputs)
        tables = self._affine(operation, weight, sums, order=order)
        shape = f"{len(places)}, {step}, {given}, {outputs}, {outputs}"
        buffer, rectified = self._frame.define(result).number, operation.is_rectified
        self._apply(shape, tables, lambda at: at(first), [first], buffer, 0, rectified)

    def join_bins(self, operation: Operation) -> bool:
        """Join bins that are split from bands with what comes before them, if it does so."""
        tensors = [operation.input(n) for n in range(len(operation.inputs))]
        splitting = [self._split.pop(t.index) for t in tensors if t.index in self._split]
        if not splitting:
            return False
        moved, (result,) = tensors[: len(tensors) - len(splitting)], operation.outputs
        served = operation.options["axis"] == len(result.shape) - 1
        if not served or [op.outputs[0] for op in splitting] != tensors[len(moved) :]:
            raise ValueError("it joins bins in another order")
        first, weight, bias, multiplier, exponent = [], [], [], [], []
        step = 0
        for op in splitting:
            kernel, x = matrix_of(op), op.input(0)
            places = self._frame.read(self._frame.at(x)).reshape(-1, kernel.shape[1])
            steps = strides_of(places)
            if steps is None or steps[1] != 1:
                raise ValueError("it splits bands that do not lie side by side")
            step = steps[0] or self._frame.buffers[buffer_of(places[0, 0])].size
            begins = np.minimum((kernel != 0).argmax(axis=1), kernel.shape[1] - 2)
            pairs = np.stack(
                [np.take_along_axis(kernel, begins[:, None] + n, 1)[:, 0] for n in (0, 1)]
            )
            sums = pairs.sum(axis=0, dtype=np.int64)
            first += (offset_of(places[0, 0]) + begins).tolist()
            weight.append(pairs.T)
            bias += (np.array(op.input(2).content).ravel() - x.zero_point * sums).tolist()
            scales = weighted_multipliers(x, op.input(1), op.outputs[0])
            multiplier += [m for m, _ in scales]
            exponent += [e if m else RIGHT.high for m, e in scales]
        buffer, bands = self._frame.define(result), places[:1] >> BITS << BITS
        rows, columns = int(np.prod(result.shape[:-1])), result.shape[-1]
        before = [self._frame.at(tensor).reshape(rows, -1) for tensor in moved]
        low = np.concatenate(before, 1)
        target = self._frame.of(buffer).reshape(rows, columns)[:, : low.shape[1]]
        self._frame.copy(self._frame.read(low), target)
        table = self._weights.table
        index = table("split_first", np.array(first, np.uint16), 0, step - 2)
        tables = (
            table("split_weight", np.concatenate(weight).astype(np.int8)),
            table("split_bias", np.array(bias, np.int32)),
            table("split_multiplier", np.array(multiplier, np.int32), 0, MULTIPLIER.high),
            table("split_exponent", np.array(exponent, np.int32), RIGHT.low, RIGHT.high),
            self._weights.number(ZERO, result.zero_point),
        )
        source, begin = int(bands.flat[0]), int(target.flat[0]) + low.shape[1]
        shape = f"{rows}, {step}, {len(first)}, {columns}"
        function = self._source.function(
            "split_rows",
            f"const uint16_t *first, {TABLES}, {POINTERS}",
            f"split_bands({shape}, first, {affine()}, x, y);",
        )
        given = ", ".join([index, *tables])
        self._frame.needed.add(buffer.number)
        self._frame.emit(
            [source], [begin], lambda at: f"{function}({given}, {at(source)}, {at(begin)});"
        )
        return True

    def _apply(
        self,
        shape: str,
        tables: Sequence[str],
        x: Callable[[Callable[[int], str]], str],
        reads: Sequence[int],
        result: int,
        begin: int = 0,
        rectified: bool = False,
    ) -> None:
        function = self._source.function(
            "apply_to_rows",
            f"{TABLES}, {POINTERS}",
            f"apply({shape}, {affine(rectified)}, x, y);",
        )
        place = (result << BITS) + begin
        self._frame.emit(
            reads,
            [place],
            lambda at: f"{function}({', '.join(tables)}, {x(at)}, {at(place)});",
        )

    def convolution(self, operation: Operation) -> None:
        """A convolution over one frame."""
        if operation.outputs[0].index in self._frame.places:
            return  # computed with the one that it is the negative of
        kernel = content_of(operation.input(1))
        outputs, height, taps, inputs = kernel.shape
        if (height, taps, inputs) == (1, 1, operation.input(0).shape[-1]):
            self.linear(operation)
            return
        places, before, after, stride = self._padded_rows(operation, taps)
        if height != 1 or len(places) != 1:
            raise ValueError("it has a convolution over more than one frame")
        (rows,), (result,) = places, operation.outputs
        groups, positions = rows.shape[1] // inputs, result.shape[2]
        if groups == 1 and self._along_planes(operation, rows, before, stride):
            return
        flat = kernel.reshape(outputs, taps * inputs)
        weight, inputs_given = ordered(flat, np.ones_like(flat, bool))
        tables = self._affine(operation, weight, flat.sum(axis=1, dtype=np.int64))
        buffer, of_group = self._frame.define(result).number, outputs // groups
        first, row = self._frame.rows(rows)
        count, width = len(rows), weight.shape[1]
        for group in range(groups):
            given = first + group * inputs
            part = [
                f"{name} + {group * of_group * (width if n == 0 else 1)}"
                if group and n < 4
                else name
                for n, name in enumerate(tables)
            ]
            step = stride * inputs
            shape = f"{positions}, {step}, {inputs_given}, {of_group}, {outputs}"
            self._pad(count, inputs, row, before, after, operation.input(0), given, 0)
            begin, rectified = group * of_group, operation.is_rectified
            self._apply(shape, part, lambda at: "k.padded", [], buffer, begin, rectified)

    def _along_planes(self, operation: Operation, rows: Places, before: int, stride: int) -> bool:
        """A convolution and its negative, if its inputs [H, C] are neighbours in some planes.

        The weights of what is the same element are one, of 16 bits.
        """
        negative, x, (result,) = (
            self._negatives.get(operation),
            operation.input(0),
            operation.outputs,
        )
        planes = find_planes(rows, self._is_zero_of(x))
        if negative is None or planes is None or operation.is_rectified:
            return False
        kernel = content_of(operation.input(1))[:, 0]
        outputs, positions = kernel.shape[0], result.shape[2]
        weight = planes.merged(kernel, before, stride, positions)
        taps, left = weight.shape[-1], planes.left(before)
        if taps > TAPS or outputs % OCTET or (weight[1:-1] != weight[1]).any():
            return False
        apart = np.pad(weight[[0, 1, -1]], [(0, 0)] * 3 + [(0, TAPS - taps)])
        octets = apart.reshape(3, outputs // OCTET, OCTET, -1, TAPS).transpose(0, 1, 3, 4, 2)
        table = self._weights.table(f"weight_{self._sites[operation]}", octets.astype(np.int16))
        width = max((positions - 1) * stride + TAPS, left + planes.count)
        self._scratch["planes"] = ("int16_t", len(planes.first) * width)
        zero = self._weights.number(ZERO, x.zero_point)
        source = planes.first[0]
        self._frame.read(rows)
        size = f"{len(planes.first)}, {planes.count}, {planes.step}, {left}, {width}, {zero}"
        self._frame.emit([source], [], lambda at: f"widen_planes({size}, {at(source)}, k.planes);")
        both = [self._affine(op, None, np.zeros(outputs, np.int64)) for op in (operation, negative)]
        given = [f"(struct affine){{{', '.join(tables)}, 0}}" for tables in both]
        places = [self._frame.define(op.outputs[0]).number << BITS for op in (operation, negative)]
        shape = f"{positions}, {stride}, {len(planes.first)}, {taps}, {width}, {outputs}"
        function = self._source.function(
            "apply_along_planes",
            "const int16_t *weight, const struct affine a, const struct affine negative, "
            "const int16_t *x, int8_t *restrict y, int8_t *restrict z",
            f"convolve_planes({shape}, weight, a, negative, x, y, z);",
        )
        self._frame.emit(
            [],
            places,
            lambda at: (
                f"{function}({table}, {', '.join(given)}, k.planes, "
                f"{at(places[0])}, {at(places[1])});"
            ),
        )
        return True

    def _is_zero_of(self, tensor: Tensor) -> set[int]:
        """Numbers of buffers that hold nothing but a tensor's zero point."""
        return {
            buffer.number
            for buffer, content in self._frame.constants
            if (content == tensor.zero_point).all()
        }

    def _pad(
        self,
        rows: int,
        channels: int,
        row: int,
        before: int,
        after: int,
        tensor: Tensor,
        place: int,
        begin: int,
    ) -> None:
        """Copy rows between rows of the zero point."""
        size = begin + (before + rows + after) * channels + BLOCK
        _, most = self._scratch.get("padded", ("", 0))
        self._scratch["padded"] = ("int8_t", max(most, size))
        key = "zero of", tensor.index
        if key not in self._known:
            self._known[key] = self._weights.number(ZERO, tensor.zero_point)
        zero = self._known[key]
        function = self._source.function(
            "pad",
            "int32_t zero, const int8_t *x, int8_t *padded",
            f"pad_rows({rows}, {channels}, {row}, {before}, {after}, zero, x, padded);",
        )
        target = f"k.padded + {begin}" if begin else "k.padded"
        self._frame.emit([place], [], lambda at: f"{function}({zero}, {at(place)}, {target});")

    def _padded_rows(self, operation: Operation, taps: int) -> tuple[Places, int, int, int]:
        """An image's frames [H, W, C] without zeros at their ends, how many were there, stride."""
        (places,) = self._frame.at(operation.input(0))
        options = operation.options
        stride = options["strideW"]
        if options["dilationWFactor"] != 1:
            raise ValueError("it has a convolution dilated along frequency")
        zeros = [bool((places[:, n] == PADDING).all()) for n in range(places.shape[1])]
        before = zeros.index(False)
        after = zeros[::-1].index(False)
        places = places[:, before : len(zeros) - after]
        if options["padding"] == 0:
            more, _ = same_padding(len(zeros), taps, stride, 1)
            before += more
        positions = operation.outputs[0].shape[2]
        after = max((positions - 1) * stride + taps - before - places.shape[1], 0)
        return places, before, after, stride

    def depthwise(self, operation: Operation) -> None:
        """A convolution of each channel over frames and rows."""
        (kernel,) = content_of(operation.input(1))
        frames, taps, channels = kernel.shape
        places, before, after, stride = self._padded_rows(operation, taps)
        dilation, (result,) = operation.options["dilationHFactor"], operation.outputs
        served = stride == 1 and operation.options["depthMultiplier"] == 1
        served = served and channels % BLOCK == 0
        if not served or len(places) != dilation * (frames - 1) + 1 or result.shape[1] != 1:
            raise ValueError("it has a depthwise convolution of another kind")
        sums = kernel.sum(axis=(0, 1), dtype=np.int64)
        tables = self._affine(operation, kernel, sums)
        buffer = self._frame.define(result).number
        count = places.shape[1]
        frame = (before + count + after) * channels
        # All frames are one value: joined before, so that each lies where it stays.
        whole = self._frame.side_by_side(places)
        for number in range(frames):
            first, row = self._frame.rows(whole[number * dilation])
            begin = number * frame
            self._pad(count, channels, row, before, after, operation.input(0), first, begin)
        positions = result.shape[2]
        shape = f"{positions}, 1, {frames}, {taps}, {channels}, {frame}"
        self._over_frames(shape, tables, buffer, operation.is_rectified)

    def _over_frames(self, shape: str, tables: Sequence[str], buffer: int, rectified: bool) -> None:
        """Emit a convolution of each channel of the padded rows, into a buffer."""
        function = self._source.function(
            "apply_over_frames",
            f"{TABLES}, {POINTERS}",
            f"apply_depthwise({shape}, {affine(rectified)}, x, y);",
        )
        given = ", ".join(tables)
        self._frame.emit(
            [],
            [buffer << BITS],
            lambda at: f"{function}({given}, k.padded, {at(buffer << BITS)});",
        )

    def mean(self, operation: Operation) -> None:
        """A mean over the first axes."""
        x, (result,) = operation.input(0), operation.outputs
        axes = numbers_of(operation.input(1))
        columns = int(np.prod(x.shape[max(axes) + 1 :]))
        if any(x.shape[axis] > 1 for axis in range(max(axes)) if axis not in axes):
            raise ValueError("it has a mean over axes that are not the first ones")
        rows = int(np.prod(x.shape)) // columns
        first = int(self._frame.side_by_side(self._frame.at(x)).flat[0])
        multiplier, exponent = mean_multiplier(x, result, rows)
        numbers = (
            self._weights.number(ZERO, x.zero_point),
            self._weights.number(MULTIPLIER, multiplier),
            self._weights.number(EXPONENT, exponent),
            self._weights.number(ZERO, result.zero_point),
        )
        if columns not in (1, 2, 4, 8, 16) or rows * columns > MOST_ADDED:
            raise ValueError(f"it has a mean of {rows} x {columns} values")
        place = self._frame.define(result).number << BITS
        names = ("zero", "multiplier", "exponent", "result_zero")
        function = self._source.function(
            "mean_of_rows",
            ", ".join([*(f"int32_t {name}" for name in names), POINTERS]),
            f"mean({rows}, {columns}, {', '.join(names)}, x, y);",
        )
        self._frame.emit(
            [first],
            [place],
            lambda at: f"{function}({', '.join(numbers)}, {at(first)}, {at(place)});",
        )


def affine(rectified: bool = False) -> str:
    """A layer's tables in C, of what a function was given."""
    return f"(struct affine){{weight, bias, multiplier, exponent, zero, {int(rectified)}}}"


def _negatives(operations: Iterable[Operation]) -> dict[Operation, Operation]:
    """Convolutions of one input whose weights are another one's with all signs changed."""
    found: dict[Operation, Operation] = {}
    by_input: dict[int, list[Operation]] = {}
    for operation in operations:
        if operation.kind == "CONV_2D":
            by_input.setdefault(operation.input(0).index, []).append(operation)
    for alike in by_input.values():
        for n, operation in enumerate(alike):
            weight = content_of(operation.input(1)).astype(np.int16)
            for other in alike[n + 1 :]:
                negated = -content_of(other.input(1)).astype(np.int16)
                if np.array_equal(weight, negated):
                    found[operation] = other
    return found


def matrix_of(operation: Operation) -> Any:
    """The weight of a convolution of one tap, [outputs, inputs]."""
    kernel = content_of(operation.input(1))
    return kernel.reshape(kernel.shape[0], kernel.shape[-1])


def bias_of(operation: Operation, sums: Any, together: int) -> Any:
    """What a layer's sums begin with, [outputs], for inputs with their zero point in them."""
    bias = np.tile(content_of(operation.input(2)).ravel(), together)
    return bias - operation.input(0).zero_point * sums


def _selection(operation: Operation) -> Any:
    """Which input each output of a linear layer is, where it only selects; else None."""
    x, weight, (result,) = operation.input(0), operation.input(1), operation.outputs
    kernel = matrix_of(operation)
    encodings = [(t.scales.tobytes(), t.zero_point) for t in (x, result)]
    largest = kernel.max(axis=1)
    selects = (
        encodings[0] == encodings[1]
        and weight.scales.size == 1
        and (np.count_nonzero(kernel, axis=1) == 1).all()
        and (largest * weight.scale == 1).all()
        and not content_of(operation.input(2)).any()
    )
    return kernel.argmax(axis=1) if selects else None


def _splits_bands(kernel: Any) -> bool:
    """Whether more outputs than inputs are each made of one input, or of two neighbours."""
    outputs, inputs = kernel.shape
    used = kernel != 0
    first, last = used.argmax(axis=1), inputs - 1 - used[:, ::-1].argmax(axis=1)
    return bool(outputs > inputs > 2 and used.any(axis=1).all() and (last - first <= 1).all())
