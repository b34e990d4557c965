"""The fixed engine: tables in the order in which the kernels read them, a call for each layer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.fixed import ANALYSIS_WINDOW, BINS, HOP, POINTS, TWIDDLES, WINDOW
from edge_se.quantized import limits
from edge_se.signal import Signal
from quant.graph.encoding import Encoding
from quant.graph.graph import Value
from targets.c.engine import (
    ROWS_AT_ONCE,
    Engine,
    check_recurrence,
    elements,
    moved,
    scan_order,
)
from targets.c.fixed_layers import (
    FixedAttention,
    FixedBandConvolution,
    FixedMerge,
    FixedNormalizedLinear,
    FixedSplit,
    FixedSum,
    quantize_layers,
)
from targets.c.fixed_point import Affine, FixedCell, tanh_table
from targets.c.layers import (
    Attention,
    BandConvolution,
    Cell,
    Convolution,
    Layer,
    Merge,
    Normalization,
    Recurrence,
    Scan,
    Split,
    Sum,
    Temporal,
    rows_of,
)
from targets.c.source import identifier, initializer

FEATURES, MASK_PARTS, BAND_CHANNELS = 3, 2, 4
FOUR, EIGHT = 4, 8  # inputs whose weights lie side by side; values of 16 bits in a vector


class FixedEngine(Engine):
    """Values of 16 bits, weights of 8, sums of 32; see `Engine`."""

    element = samples = "int16_t"
    included = ("fixed_lanes.h", "fixed_path.h", "fixed_kernels.h")
    included_by_these = ("compiler.h", "wide.h", "fft.h", "level.h")

    def __init__(
        self, layers: Sequence[Layer], signal: Signal, encodings: Mapping[Value, Encoding]
    ) -> None:
        """Write the engine whose values have the steps of `encodings`.

        Raises:
            ValueError: A layer's sums could leave 32 bits, or the kernels don't serve it.
        """
        fixed = quantize_layers(layers, encodings)
        self._fixed = dict(zip(layers_by_result(layers), fixed, strict=True))
        super().__init__(layers, signal)

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
        self.state |= {"samples": ("int16_t", WINDOW), "tail": ("int32_t", HOP)}
        self.scratch |= {
            "spectrum": ("int32_t", 2 * BINS),
            "exponent": ("int32_t", 1),
            "features": ("int16_t", FEATURES * BINS),
            "interleaved": ("int16_t", BAND_CHANNELS * BINS),
            "mask": ("int16_t", MASK_PARTS * BINS + EIGHT - 1),
        }
        names = [
            self.source.table(name, content.astype(np.int32))
            for name, content in (
                ("window", ANALYSIS_WINDOW),
                ("twiddles", TWIDDLES[POINTS]),
            )
        ]
        self.source.table("tanh_table", tanh_table().astype(np.int16))
        low, high = limits(np.int16)
        fields = dict(zip(names, names, strict=True)) | {
            "samples": "s->samples",
            "output": "out",
            "spectra": "k.spectrum",
            "exponents": "&k.exponent",
            "tail": "s->tail",
            "features": "k.features",
            "mask": "k.mask",
            "feature_bytes": 2,
            "feature_multiplier": merge.features.multiplier,
            "feature_exponent": merge.features.exponent,
            "feature_low": low,
            "feature_high": high,
            "mask_bytes": 2,
            "mask_multiplier": split.mask.multiplier,
            "mask_exponent": split.mask.exponent,
        }
        # What is not named is zero: no delay, no level, no zero points.
        content = ", ".join(f".{name} = {value}" for name, value in fields.items())
        self.source.say(f"struct context context = {{{content}}};")
        self.source.call("memcpy", f"s->samples + {HOP}", "in", f"sizeof(int16_t) * {HOP}")
        self.source.say("fixed_analyse(&context);")

    def _close(self) -> None:
        self.source.say("fixed_synthesise(&context);")

    # Bands ---------------------------------------------------------------------------------

    def _merge(self, layer: Merge) -> None:
        fixed: FixedMerge = self._of(layer)
        alike, others = fixed.alike, fixed.weights[fixed.alike :]
        _check(alike >= 2, layer.result, "hardly any band that is a bin")
        until = np.cumsum([0, *map(len, others)]).astype(np.uint16)
        self.source.call(
            "merge",
            str(len(fixed.first)),
            str(BINS),
            str(alike),
            str(fixed.weights[0][0]),
            str(fixed.multiplier[0]),
            self.source.table("merge_first", np.array(fixed.first[alike:], np.uint16)),
            self.source.table("merge_until", until),
            self._bytes("merge_weight", np.concatenate(others)),
            self._words("merge_multiplier", fixed.multiplier[alike:]),
            str(fixed.shift),
            "k.features",
            "k.interleaved",
            self.at(layer.result),
        )

    def _split(self, layer: Split) -> None:
        fixed: FixedSplit = self._of(layer)
        starts = np.flatnonzero(np.diff(fixed.first, prepend=-1))
        until = np.append(starts, len(fixed.first)) + fixed.alike
        low, high = np.pad(fixed.weight.T, ((0, 0), (0, EIGHT - 1))).astype(np.int16)
        self.source.call(
            "split",
            str(BINS),
            str(fixed.alike),
            str(len(starts)),
            self.source.table("split_first", fixed.first[starts].astype(np.uint8)),
            self.source.table("split_until", until.astype(np.uint16)),
            self.source.table("split_low", low),
            self.source.table("split_high", high),
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
            "const int16_t *x, const struct affine a, int16_t *y, int group",
            f"const struct convolution shape = "
            f"{self.convolution_shape(unbounded, of_four=4, shift=fixed.shift)};\n"
            "convolve(shape, x, a, 0, 0, y, group);",
        )
        row = self.shape_of(layer.x.value).channels
        count = layer.positions * phases * groups * outputs
        x = moved(self.at(layer.x.value), layer.x.first - layer.before * row)
        affine = self._affine(layer.result.name, weight.transpose(0, 2, 3, 1), fixed)
        result = self._linear(count) if layer.bounded else self.at(layer.result)
        for group in range(groups):
            self.source.call(function, x, affine, result, str(group))
        if layer.bounded:
            self.source.call("bound", str(count), "k.linear", "tanh_table", self.at(layer.result))

    def _band_convolution(self, layer: BandConvolution) -> None:
        fixed: FixedBandConvolution = self._of(layer)
        shape = self.convolution_shape(
            layer, inputs=BAND_CHANNELS, of_four=FEATURES, shift=fixed.affine.shift
        )
        function = self.source.function(
            "band_convolution",
            "const int16_t *x, const struct affine a, const int8_t *edges,\n"
            "const int16_t *ends, int16_t *y",
            f"const struct convolution shape = {shape};\nconvolve(shape, x, a, edges, ends, y, 0);",
        )
        name = layer.result.name
        padding = ((0, 0), (0, 0), (0, BAND_CHANNELS - FEATURES))
        weight = np.pad(fixed.affine.weight, padding).transpose(1, 2, 0)
        edges = fixed.edges.transpose(0, 2, 1)
        ends, x = self.clear_ends(layer)
        self.source.call(
            function,
            x,
            self._affine(name, weight, fixed.affine),
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
        self.state[f"{name}_oldest"] = ("int16_t", 1)
        function = self.source.function(
            "temporal",
            "int16_t *history, int16_t *oldest, int frames, const int16_t *newest,\n"
            "const struct affine a, int16_t *y",
            f"int16_t *first = history + *oldest * {frame};\n"
            f"const int16_t *middle = history + (*oldest + frames / 2) % frames * {frame};\n"
            f"convolve_frames({rows}, {channels}, {ROWS_AT_ONCE}, {fixed.shift}, first, middle, "
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
            self._depthwise(layer.result.name, np.moveaxis(fixed.weight, 0, -1), fixed),
            self.at(layer.result),
        )

    # Recurrent layers ----------------------------------------------------------------------

    def _cell(
        self, name: str, cell: Cell, fixed: FixedCell, order: Sequence[int], scanned: bool = False
    ) -> tuple[str, str]:
        """The cell's tables; groups that share an input are projected together, in `order`."""
        tables = self._depthwise if scanned else self._affine
        groups, _, units, inputs = cell.input_weight.shape
        reading, gates = len(set(cell.firsts)), 3 * units
        given = fixed.input.weight.reshape(groups, gates, inputs)[list(order)]
        given = given.reshape(reading, -1, inputs).swapaxes(1, 2)
        hidden = fixed.hidden.weight.reshape(groups, gates, units).swapaxes(1, 2)
        bias, multiplier = (
            part.reshape(groups, gates)[list(order)]
            for part in (fixed.input.bias, fixed.input.multiplier)
        )
        reordered = replace(fixed.input, bias=bias, multiplier=multiplier, below=multiplier)
        return (
            self._affine(f"{name}_input", given, reordered),
            tables(f"{name}_hidden", hidden, fixed.hidden),
        )

    def _scan(self, layer: Scan) -> None:
        cell, order = layer.cell, scan_order(layer)
        pairs = cell.backward[::2] == cell.backward[1::2]
        _check(pairs, layer.result, "groups that do not run in pairs")
        fixed: FixedCell = self._of(layer)
        groups, _, units, inputs = cell.input_weight.shape
        reading, gates = len(set(cell.firsts)), 3 * units
        rows = rows_of(layer.result)
        shape = self.linear_shape(
            rows,
            reading,
            inputs,
            groups // reading * gates,
            "WIDE",
            of_four=4,
            shift=fixed.input.shift,
        )
        place = initializer(**{f"g{g}": order.index(g) for g in range(groups)})
        backward = initializer(**{f"g{g}": int(b) for g, b in enumerate(cell.backward)})
        self.scratch["projected"] = ("int32_t", rows * groups * gates)
        project = self.source.function(
            "projection",
            "const int16_t *x, const struct affine a, int32_t *projected, int group",
            f"const struct convolution shape = {shape};\n"
            "convolve(shape, x, a, 0, 0, projected, group);",
        )
        function = self.source.function(
            "scan_rows",
            "const struct affine hidden, const int32_t *projected, int16_t *states",
            f"const int place[{groups}] = {place}, backward[{groups}] = {backward};\n"
            f"scan({rows}, {groups}, {fixed.hidden.shift}, hidden, place, backward, projected,\n"
            "     tanh_table, states);",
        )
        given, hidden = self._cell(layer.values.state.name, cell, fixed, order, scanned=True)
        for group in range(reading):
            self.source.call(project, self.at(layer.x), given, "k.projected", str(group))
        self.source.call(function, hidden, "k.projected", self.at(layer.result))

    def _recurrence(self, layer: Recurrence) -> None:
        check_recurrence(layer)
        cell, rows = layer.cell, rows_of(layer.result)
        fixed: FixedCell = self._of(layer)
        groups, _, units, inputs = cell.input_weight.shape
        whole = rows % ROWS_AT_ONCE == 0 and units % EIGHT == 0
        _check(whole, layer.result, f"{rows} rows of {units} units")
        self.state[identifier(layer.state)] = ("int16_t", rows * groups * units)
        shape = initializer(
            rows=rows,
            block=ROWS_AT_ONCE,
            groups=groups,
            inputs=inputs,
            units=units,
            input_shift=fixed.input.shift,
            hidden_shift=fixed.hidden.shift,
        )
        function = self.source.function(
            "recurrence",
            "const struct affine input, const struct affine hidden, const int16_t *x,\n"
            "int32_t *projected, int16_t *state, int group",
            f"const struct recurrence shape = {shape};\n"
            "recur(shape, input, hidden, x, projected, state, tanh_table, group);",
        )
        tables = self._cell(layer.values.state.name, cell, fixed, range(groups))
        memory = self.at(layer.x), "k.projected", self.at(layer.result)
        for group in range(groups):
            self.source.call(function, *tables, *memory, str(group))

    def _normalization(self, layer: Normalization) -> None:
        fixed: FixedNormalizedLinear = self._of(layer)
        outputs, inputs = layer.weight.shape
        rows, count = rows_of(layer.result), layer.scale.size
        linear = self.linear_shape(rows, 1, inputs, outputs, of_four=4, shift=fixed.affine.shift)
        norm = fixed.normalization
        shape = initializer(
            epsilon=norm.epsilon,
            residual=norm.residual,
            step=norm.step,
            bits=norm.bits,
        )
        function = self.source.function(
            "normalized_linear",
            "const int16_t *x, const int16_t *residual, const struct affine a,\n"
            "const struct normalization *n, const int16_t *scale, const int16_t *shift,\n"
            "int16_t *linear, int16_t *y",
            f"const struct convolution shape = {linear};\n"
            "convolve(shape, x, a, 0, 0, linear, 0);\n"
            f"normalize({count}, n, linear, residual, scale, shift, y);",
        )
        name = layer.result.name
        variable = f"{identifier(name)}_norm"
        self.source.say(f"static const struct normalization {variable} = {shape};")
        self.source.call(
            function,
            self.at(layer.x),
            self.at(layer.residual),
            self._affine(name, fixed.affine.weight.T, fixed.affine),
            f"&{variable}",
            self.source.table(f"{name}_scale", norm.scale.astype(np.int16)),
            self.source.table(f"{name}_shift", norm.shift.astype(np.int16)),
            self._linear(count),
            self.at(layer.result),
        )

    def _attention(self, layer: Attention) -> None:
        fixed: FixedAttention = self._of(layer)
        _, _, units, inputs = layer.cell.input_weight.shape
        row, rows = self.shape_of(layer.passed.value).channels, rows_of(layer.x)
        whole = rows % ROWS_AT_ONCE == 0 and inputs % EIGHT == 0 and units % EIGHT == 0
        _check(whole, layer.result, f"{rows} rows of {inputs} channels")
        self.state[identifier(layer.state)] = ("int16_t", units)
        shape = initializer(
            rows=rows,
            channels=inputs,
            units=units,
            row=row,
        )
        function = self.source.function(
            "attention",
            "const struct affine input, const struct affine hidden, const struct affine gate,\n"
            "const struct levels *levels, const int16_t *x, const int16_t *passed,\n"
            "int16_t *state, int16_t *y",
            f"const struct attention shape = {shape};\n"
            "attend(shape, levels, input, hidden, gate, x, passed, state, tanh_table, y);",
        )
        name = layer.result.name
        levels = initializer(
            input_shift=fixed.cell.input.shift,
            hidden_shift=fixed.cell.hidden.shift,
            gate_shift=fixed.gate.shift,
            energy=fixed.energy,
            energy_shift=fixed.energy_shift,
            gain=fixed.gain,
            passed=fixed.passed,
            bits=fixed.bits,
        )
        variable = f"{identifier(name)}_levels"
        self.source.say(f"static const struct levels {variable} = {levels};")
        self.source.call(
            function,
            *self._cell(layer.values.state.name, layer.cell, fixed.cell, [0]),
            self._affine(f"{name}_gate", fixed.gate.weight.T, fixed.gate),
            f"&{variable}",
            self.at(layer.x),
            moved(self.at(layer.passed.value), layer.passed.first),
            f"s->{identifier(layer.state)}",
            self.at(layer.result),
        )

    def _sum(self, layer: Sum) -> None:
        fixed: FixedSum = self._of(layer)
        count = elements(layer.result, self.shape_of(layer.result))
        function = self.source.function(
            "sum",
            "const int16_t *a, int16_t of_a, const int16_t *b, int16_t of_b, int bits, int16_t *y",
            f"add({count}, a, of_a, b, of_b, bits, y);",
        )
        a, b, result = map(self.at, (layer.a, layer.b, layer.result))
        self.source.call(function, a, str(fixed.a), b, str(fixed.b), str(fixed.bits), result)

    def _linear(self, count: int) -> str:
        """Scratch memory for so many sums that are not yet a layer's result."""
        _, most = self.scratch.get("linear", ("", 0))
        self.scratch["linear"] = ("int16_t", max(most, count))
        return "k.linear"

    # Tables --------------------------------------------------------------------------------

    def _affine(self, name: str, weight: NDArray[Any], affine: Affine) -> str:
        """An affine map's tables; weight [groups, taps, inputs, outputs], or without the first."""
        *around, inputs, outputs = weight.shape
        fours = weight.reshape(*around, inputs // FOUR, FOUR, outputs).swapaxes(-1, -2)
        groups = len(affine.bias.ravel()) // outputs
        sums = weight.reshape(groups, -1, outputs).sum(axis=1).ravel()
        biases = [f"BIAS({b},{s})" for b, s in zip(affine.bias.ravel(), sums, strict=True)]
        return self._tables(name, fours, affine, biases)

    def _depthwise(self, name: str, weight: NDArray[Any], affine: Affine) -> str:
        """Tables of a map whose weights are read one by one, in their order."""
        return self._tables(name, weight, affine, [str(bias) for bias in affine.bias.ravel()])

    def _tables(
        self, name: str, weight: NDArray[Any], affine: Affine, biases: Sequence[str]
    ) -> str:
        rows = [affine.multiplier.ravel()]
        if not np.array_equal(affine.below, affine.multiplier):
            rows.append(affine.below.ravel())
        multipliers = [str(multiplier) for multiplier in np.concatenate(rows)]
        tables = (
            self._bytes(f"{name}_weight", weight),
            self.source.written_table(f"{name}_rows", "int32_t", [*biases, *multipliers]),
        )
        variable = f"{identifier(name)}_affine"
        self.source.say(f"struct affine {variable} = {{{', '.join(tables)}}};")
        return variable

    def _bytes(self, name: str, content: NDArray[Any]) -> str:
        return self.source.table(name, content.astype(np.int8))

    def _words(self, name: str, content: NDArray[Any]) -> str:
        return self.source.table(name, content.astype(np.int32))


def _check(served: bool, value: Value, found: str) -> None:
    """Raise ValueError unless the kernels serve what was found in a layer."""
    if not served:
        raise ValueError(f"{value.name} has {found}")


def layers_by_result(layers: Sequence[Layer]) -> list[Value]:
    """What tells layers apart: their results."""
    return [layer.result for layer in layers]
