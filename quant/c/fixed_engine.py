"""The fixed engine: weights in the order in which the kernels read them, a call for each layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError
from edge_se.fixed import BINS
from edge_se.quantized import limits
from edge_se.signal import FEATURE_ROWS, MASK_ROWS, Signal
from quant.c import fixed_recurrent, fixed_spread
from quant.c.engine import (
    ROWS_AT_ONCE,
    LayerEngine,
    check_served,
    elements,
    moved,
)
from quant.c.fixed_layers import (
    FixedBandConvolution,
    FixedMerge,
    FixedSplit,
    FixedSum,
    quantize_layers,
)
from quant.c.fixed_numbers import (
    BITS,
    EXPONENT,
    GAIN,
    MULTIPLIER,
    SHIFT,
)
from quant.c.fixed_point import WEIGHT_LIMIT, Affine, FixedCell, tanh_table
from quant.c.integer_path import add_path_memory, close_path, open_path, squared_step
from quant.c.layers import (
    AffineRectifier,
    Attention,
    AttentionBothWays,
    BandConvolution,
    Convolution,
    Layer,
    Merge,
    Normalization,
    Recurrence,
    Scan,
    Sigmoid,
    Split,
    Spread,
    Sum,
    Temporal,
    rows_of,
)
from quant.c.source import identifier
from quant.c.weights import Change
from quant.graph.encoding import Encoding
from quant.graph.graph import Value

FEATURES, BAND_CHANNELS, MASK_PARTS = 3, 4, 2
FOUR, EIGHT = 4, 8  # inputs whose weights lie side by side; values of 16 bits in a vector

TOO_FINE = (
    "a layer of this network has results finer than a microcontroller's kernels scale sums to; "
    "choose --arithmetic int8"
)


class FixedEngine(LayerEngine):
    """Values of 16 bits, weights of 8, sums of 32; see `Engine`."""

    arithmetic = "fixed"
    element = samples = "int16_t"
    included = ("fixed_lanes.h", "fixed_path.h", "fixed_kernels.h", "fixed_spread.h", "weights.h")
    included_by_these = (
        *("compiler.h", "dsp.h", "helium.h", "wide.h", "bits.h", "fft.h", "level.h"),
    )

    def __init__(
        self,
        layers: Sequence[Layer],
        signal: Signal,
        network: str,
        checkpoint: str,
        encodings: Mapping[Value, Encoding],
    ) -> None:
        """Write the engine whose values have the steps of `encodings`.

        Raises:
            ValueError: A layer's sums could leave 32 bits, or the kernels don't serve it.
        """
        fixed = quantize_layers(layers, encodings, signal)
        self._outputs: dict[str, tuple[int, int]] = {}
        self._doubled: dict[str, Change] = {}
        self._fixed = dict(zip(layers_by_result(layers), fixed, strict=True))
        super().__init__(layers, signal, network, checkpoint)

    def lean_blob(self, by_output: bool) -> bytes:
        """Weights as instructions want them, and multipliers twice as large.

        See `edge_se/core/dsp.h` and, for weights by output, `edge_se/core/helium.h`.
        """
        if any(self.weights.numbers(SHIFT)):
            raise UserError(TOO_FINE)
        changes: dict[str, Change] = {
            name: partial(_by_output, *shape) if by_output else _by_twos
            for name, shape in self._outputs.items()
        }
        return self._loadable(self.weights.changed(changes | self._doubled))

    def _writers(self) -> dict[type, Callable[[Any], None]]:
        further: dict[type, Callable[[FixedEngine, Any, Any], None]] = {
            Scan: fixed_recurrent.write_scan,
            Recurrence: fixed_recurrent.write_recurrence,
            Normalization: fixed_recurrent.write_normalization,
            Attention: fixed_recurrent.write_attention,
            Spread: fixed_spread.write_spread,
            AffineRectifier: fixed_spread.write_rectifier,
            Sigmoid: fixed_spread.write_sigmoid,
            AttentionBothWays: fixed_spread.write_attention,
        }

        def writer(write: Callable[[FixedEngine, Any, Any], None]) -> Callable[[Any], None]:
            return lambda layer: write(self, layer, self._of(layer))

        return {
            Merge: self._merge,
            BandConvolution: self._band_convolution,
            Convolution: self._convolution,
            Temporal: self._temporal,
            Sum: self._sum,
            Split: self._split,
            **{kind: writer(write) for kind, write in further.items()},
        }

    def _of(self, layer: Layer) -> Any:
        return self._fixed[layer.result]

    def block(self, positions: int, outputs: int) -> int | str:
        """Positions whose sums are kept in registers at once: hardly any position twice."""
        wanted = {4: 5, 16: 4}.get(outputs)
        return wanted if wanted and positions % ROWS_AT_ONCE else super().block(positions, outputs)

    # Samples -------------------------------------------------------------------------------

    def _open(self, layers: Sequence[Layer]) -> None:
        merge, split = self._of(layers[0]), self._of(layers[-1])
        assert isinstance(merge, FixedMerge) and isinstance(split, FixedSplit)
        self._mask_scale = split.mask
        add_path_memory(self)
        self.scratch |= {
            "features": ("int16_t", FEATURE_ROWS[self.signal.features] * BINS),
            "mask": ("int16_t", MASK_PARTS * BINS + EIGHT - 1),
        }
        powers = tanh_table()
        by_span = (powers * [[1], [1], [1], [2]]).T
        self.source.table("tanh_table", powers.astype(np.int16), lean=by_span.astype(np.int32))
        low, high = limits(np.int16)
        fields = {
            "feature_bytes": 2,
            "feature_multiplier": self.weights.number(MULTIPLIER, merge.features.multiplier),
            "feature_exponent": self.weights.number(EXPONENT, merge.features.exponent),
            "feature_low": low,
            "feature_high": high,
            "mask_bytes": 2,
            "mask_multiplier": split.mask.multiplier,
            "mask_exponent": split.mask.exponent,
            "mask_unit": split.mask.unit,
        }
        open_path(self, fields)

    def _close(self) -> None:
        close_path(self, "k.mask", squared_step(self._mask_scale))

    # Bands ---------------------------------------------------------------------------------

    def _merge(self, layer: Merge) -> None:
        fixed: FixedMerge = self._of(layer)
        alike = layer.alike
        check_served(alike >= 2, layer.result, "hardly any band that is a bin")
        one = {int(weight) for row in fixed.weights[:alike] for weight in row}
        check_served(one == {WEIGHT_LIMIT}, layer.result, "a band that is not a bin")
        others = [weight.astype(np.int8) for weight in fixed.weights[alike:]]
        first, until, weight = self._merge_spans(layer, others)
        tables = (
            str(alike),
            str(WEIGHT_LIMIT),
            self.weights.number(MULTIPLIER, int(fixed.multiplier[0])),
            *(first, until, weight),
            self._words("merge_multiplier", fixed.multiplier[alike:]),
            self.weights.number(SHIFT, fixed.shift),
            "k.features",
        )
        bands, result = str(len(fixed.first)), self.at(layer.result)
        if rows_of(layer.features) == 1:
            self.source.call("merge_row", bands, *tables, result)
            return
        self.scratch["interleaved"] = ("int16_t", BAND_CHANNELS * BINS)
        self.source.call("merge", bands, str(BINS), *tables, "k.interleaved", result)

    def _split(self, layer: Split) -> None:
        fixed: FixedSplit = self._of(layer)
        starts = np.flatnonzero(np.diff(fixed.first, prepend=-1))
        until = np.append(starts, len(fixed.first)) + layer.alike
        runs, bands = layer.matrix.shape[1] - layer.alike, layer.matrix.shape[1]
        missing = runs - len(starts)
        check_served(missing >= 0, layer.x, "bands in another order than bins")
        first = self.weights.table(
            *("split_first", np.pad(fixed.first[starts], (0, missing)).astype(np.uint16)),
            high=bands - 2,
        )
        ends = self.weights.table(
            "split_until", np.pad(until, (0, missing), mode="edge").astype(np.uint16)
        )
        self.checks.append(f"ascends({runs}, {ends}, {layer.alike}, {BINS})")
        self.checks.append(f"{ends}[{runs}] == {BINS}")
        low, high = np.pad(fixed.weight.T, ((0, 0), (0, EIGHT - 1))).astype(np.int16)
        self.source.call(
            "split",
            str(BINS),
            str(MASK_ROWS[self.signal.mask]),
            str(layer.alike),
            str(runs),
            first,
            ends,
            self.weights.table("split_low", low),
            self.weights.table("split_high", high),
            self.at(layer.x),
            "k.mask",
        )

    # Convolutions --------------------------------------------------------------------------

    def _convolution(self, layer: Convolution) -> None:
        fixed: Affine = self._of(layer)
        phases, groups, outputs, taps, inputs = layer.weight.shape
        weight = fixed.weight.reshape(groups, phases * outputs, taps, inputs)
        unbounded = replace(layer, bounded=False)
        function = self.source.function(
            "convolution",
            "const int16_t *x, const struct affine a, int shift, int16_t *y, int group",
            f"const struct convolution shape = {self.convolution_shape(unbounded, of_four=4)};\n"
            "convolve(shape, x, a, shift, 0, 0, y, group);",
        )
        row = self.shape_of(layer.x.value).channels
        count = layer.positions * phases * groups * outputs
        x = moved(self.at(layer.x.value), layer.x.first - layer.before * row)
        leaky = layer.slope is not None
        affine = self.affine(layer.result.name, weight.transpose(0, 2, 3, 1), fixed, leaky)
        shift = self.weights.number(SHIFT, fixed.shift)
        result = self.linear(count) if layer.bounded else self.at(layer.result)
        for group in range(groups):
            self.source.call(function, x, affine, shift, result, str(group))
        if layer.bounded:
            self.source.call("bound", str(count), "k.linear", "tanh_table", self.at(layer.result))

    def _band_convolution(self, layer: BandConvolution) -> None:
        fixed: FixedBandConvolution = self._of(layer)
        shape = self.convolution_shape(layer, inputs=BAND_CHANNELS, of_four=FEATURES)
        function = self.source.function(
            "band_convolution",
            "const int16_t *x, const struct affine a, int shift, const int8_t *edges,\n"
            "const int16_t *ends, int16_t *y",
            f"const struct convolution shape = {shape};\n"
            "convolve(shape, x, a, shift, edges, ends, y, 0);",
        )
        name = layer.result.name
        padding = ((0, 0), (0, 0), (0, BAND_CHANNELS - FEATURES))
        weight = np.pad(fixed.affine.weight, padding).transpose(1, 2, 0)
        edges = fixed.edges.transpose(0, 2, 1)
        ends, x = self.clear_ends(layer)
        self.source.call(
            function,
            x,
            self.affine(name, weight, fixed.affine, leaky=True),
            self.weights.number(SHIFT, fixed.affine.shift),
            self._bytes(f"{name}_edges", edges),
            ends,
            self.at(layer.result),
        )

    def _temporal(self, layer: Temporal) -> None:
        fixed: Affine = self._of(layer)
        shape = self.shape_of(layer.x)
        channels, rows = shape.channels, shape.rows
        # Frames share the row of padding between them.
        frame = (rows + 1) * channels
        name = identifier(layer.state)
        self.state[name] = ("int16_t", layer.frames * frame + channels)
        self.state[f"{name}_oldest"] = ("int32_t", 1)
        function = self.source.function(
            "temporal",
            "int16_t *history, int32_t *oldest, int frames, const int16_t *newest,\n"
            "const struct affine a, int shift, int16_t *y",
            f"int16_t *first = history + *oldest * {frame};\n"
            f"const int16_t *middle = history + (*oldest + frames / 2) % frames * {frame};\n"
            f"convolve_frames({rows}, {channels}, {ROWS_AT_ONCE}, shift, first, middle, "
            f"newest - {channels}, a, y);\n"
            f"memcpy(first + {channels}, newest, sizeof(int16_t) * {rows * channels});\n"
            "*oldest = (int16_t)(*oldest + 1 == frames ? 0 : *oldest + 1);",
        )
        self.source.call(
            function,
            f"s->{name}",
            f"&s->{name}_oldest",
            str(layer.frames),
            self.at(layer.x),
            self.depthwise(layer.result.name, np.moveaxis(fixed.weight, 0, -1), fixed, leaky=True),
            self.weights.number(SHIFT, fixed.shift),
            self.at(layer.result),
        )

    # Sums ----------------------------------------------------------------------------------

    def _sum(self, layer: Sum) -> None:
        fixed: FixedSum = self._of(layer)
        count = elements(layer.result, self.shape_of(layer.result))
        function = self.source.function(
            "sum",
            "const int16_t *a, int32_t of_a, const int16_t *b, int32_t of_b, int bits, int16_t *y",
            f"add({count}, a, (int16_t)of_a, b, (int16_t)of_b, bits, y);",
        )
        a, b, result = map(self.at, (layer.a, layer.b, layer.result))
        of_a, of_b = (self.weights.number(GAIN, gain) for gain in (fixed.a, fixed.b))
        bits = self.weights.number(BITS, fixed.bits)
        self.source.call(function, a, of_a, b, of_b, bits, result)

    def linear(self, count: int) -> str:
        """Scratch memory for so many sums that are not yet a layer's result."""
        _, most = self.scratch.get("linear", ("", 0))
        self.scratch["linear"] = ("int16_t", max(most, count))
        return "k.linear"

    # Tables --------------------------------------------------------------------------------

    def affine(self, name: str, weight: NDArray[Any], affine: Affine, leaky: bool = False) -> str:
        """An affine map's tables; weight [groups, taps, inputs, outputs], or without the first."""
        *around, inputs, outputs = weight.shape
        fours = weight.reshape(*around, inputs // FOUR, FOUR, outputs).swapaxes(-1, -2)
        groups = len(affine.bias.ravel()) // outputs
        bias, sums = affine.bias.ravel(), weight.reshape(groups, -1, outputs).sum(axis=1).ravel()
        # Where products of bytes are added up, the lower one of an input counts from -128.
        self._outputs[f"{name}_weight"] = groups, outputs
        return self._tables(name, fours, affine, [bias, bias + 128 * sums], leaky)

    def depthwise(
        self, name: str, weight: NDArray[Any], affine: Affine, leaky: bool = False
    ) -> str:
        """Tables of a map whose weights are read one by one, in their order."""
        return self._tables(name, weight, affine, [affine.bias.ravel()], leaky)

    def _tables(
        self,
        name: str,
        weight: NDArray[Any],
        affine: Affine,
        biases: Sequence[NDArray[Any]],
        leaky: bool,
    ) -> str:
        below = [affine.below.ravel()] if leaky else []
        rows = np.concatenate([*biases, affine.multiplier.ravel(), *below])
        tables = [self._bytes(f"{name}_weight", weight), self._words(f"{name}_rows", rows)]
        self._doubled[f"{name}_rows"] = partial(_double, sum(part.size for part in biases))
        return self.struct("affine", name, tables).removeprefix("&")

    def shifts(self, cell: FixedCell) -> list[str]:
        """The shifts of a cell's sums, from its input and from its state."""
        return [self.weights.number(SHIFT, part.shift) for part in (cell.input, cell.hidden)]

    def struct(self, kind: str, name: str, content: Sequence[str]) -> str:
        """A struct of the frame's; a pointer to it."""
        variable = f"{identifier(name)}_{kind}"
        self.source.say(f"const struct {kind} {variable} = {{{', '.join(content)}}};")
        return f"&{variable}"

    def _bytes(self, name: str, content: NDArray[Any]) -> str:
        return self.weights.table(name, content.astype(np.int8))

    def _words(self, name: str, content: NDArray[Any]) -> str:
        return self.weights.table(name, content.astype(np.int32))


def _double(first: int, rows: NDArray[Any]) -> NDArray[Any]:
    """Twice the numbers from the first one on."""
    larger = rows.astype(np.int64)
    larger[first:] *= 2
    if np.abs(larger[first:]).max() >= 2**31:
        raise UserError(TOO_FINE)
    return larger.astype(np.int32)


def _by_output(groups: int, outputs: int, weight: NDArray[Any]) -> NDArray[Any]:
    return weight.reshape(groups, -1, outputs, FOUR).swapaxes(1, 2).ravel()


def _by_twos(weight: NDArray[Any]) -> NDArray[Any]:
    return weight.reshape(-1, FOUR)[:, [0, 2, 1, 3]].ravel()


def layers_by_result(layers: Sequence[Layer]) -> list[Value]:
    """What tells layers apart: their results."""
    return [layer.result for layer in layers]
