"""The float engine: weights in the order in which the kernels read them, a call for each layer."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.compiled_stft import twiddles
from edge_se.signal import FEATURE_ROWS
from edge_se.speech import soft_energy
from quant.c.cells import halved
from quant.c.engine import (
    ROWS_AT_ONCE,
    LayerEngine,
    Tables,
    check_recurrence,
    elements,
    merge_bands,
    moved,
    scan_order,
    split_bins,
)
from quant.c.float_spread import (
    write_attention,
    write_rectifier,
    write_sigmoid,
    write_spread,
)
from quant.c.front_end import add_front_end, restore_after_knocks
from quant.c.layers import (
    AffineRectifier,
    Attention,
    AttentionBothWays,
    BandConvolution,
    Convolution,
    Floats,
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
from quant.c.source import identifier, initializer, number
from quant.c.weights import Kind

SLOPE = Kind("slope", np.float32)
# By kinds of features: functions that measure and merge, and floats of a row of their result.
MERGING = {
    "magnitude_real_imaginary": ("measure", "merge", 4),
    "log_magnitude": ("measure_logarithm", "merge_row", 1),
}
# By kinds of masks: functions that apply the bands that are bins, and bins between two bands.
SPLITTING = {"complex": ("mask_bands", "mask_bins"), "real": ("gain_bands", "gain_bins")}


class FloatEngine(LayerEngine):
    """Everything in 32-bit floats; see `Engine`."""

    arithmetic = "float"
    element = samples = "float"
    included = (
        *("lanes.h", "float_level.h", "stft.h", "float_kernels.h", "float_spread.h"),
        "weights.h",
    )
    included_by_these = ("compiler.h", "bits.h", "level.h", "fft.h")

    @property
    def defined(self) -> Mapping[str, str]:
        """See `Engine.defined`."""
        is_double = self.signal.transform_dtype == np.float64
        return {"STFT_VALUE": "double"} if is_double else {}

    def _writers(self) -> dict[type, Callable[[Any], None]]:
        further: dict[type, Callable[[LayerEngine, Tables, Any], None]] = {
            Spread: write_spread,
            AffineRectifier: write_rectifier,
            Sigmoid: write_sigmoid,
            AttentionBothWays: write_attention,
        }
        return {
            Merge: self._merge,
            BandConvolution: self._band_convolution,
            Convolution: self._convolution,
            Temporal: self._temporal,
            Scan: self._scan,
            Recurrence: self._recurrence,
            Normalization: self._normalization,
            Attention: self._attention,
            Sum: self._sum,
            Split: self._split,
            **{kind: partial(write, self, self._numbers) for kind, write in further.items()},
        }

    def block(self, positions: int, outputs: int) -> int | str:
        """Six quads of sums by three rows would not fit 16 registers."""
        return super().block(positions, outputs) if outputs <= 16 else "ROWS_AT_ONCE"

    def _open(self, layers: Sequence[Layer]) -> None:
        window, hop, bins = self.signal.window, self.signal.hop, self.signal.bins
        self.state |= {
            "samples": ("float", window),
            "tail": ("float", hop),
            "mean": ("float", 1),
        }
        self.scratch |= {"spectrum": ("float", 2 * bins), "masked": ("float", 2 * bins)}
        angles = 2 * np.pi * np.arange(bins) / window
        windows = {
            "window": self.signal.analysis_window(),
            "synthesis": self.signal.synthesis_window(),
        }
        turning = {"cosines": np.cos(angles), "sines": np.sin(angles), "twiddles": twiddles()}
        # One network may have been trained with either window function.
        names = [
            self.weights.table(name, content.astype(np.float32))
            for name, content in windows.items()
        ] + [
            self.source.table(name, content.astype(self.signal.transform_dtype))
            for name, content in turning.items()
        ]
        own = ["s->samples", "k.spectrum", "k.masked", "s->tail", "out"]
        self.source.say(f"struct stft stft = {{{', '.join(names + own)}}};")
        self.source.call("accept", str(hop), "in", f"s->samples + {hop}")
        self.source.say(f"struct level *const level = {add_front_end(self)};")
        newest = f"s->samples + {hop}"
        self.source.say(f"const float gain = level ? level_gain(level, &s->mean, {newest}) : 1;")
        self.source.say("stft_analyse(&stft);")
        restore_after_knocks(self)

    def _close(self) -> None:
        soft = number(soft_energy(self.signal))
        heard, left = (f"energy({2 * self.signal.bins}, {at})" for at in ("k.spectrum", "k.masked"))
        self.source.say(f"s->speech = probability_of_speech({heard}, {left}, {soft});")
        limits, spectra = ("s->least_gain", "s->dry"), ("k.spectrum", "k.masked")
        self.source.call("limit_mask", str(self.signal.bins), *limits, *spectra)
        self.source.say("stft_synthesise(&stft);")

    # Bands ---------------------------------------------------------------------------------

    def _merge(self, layer: Merge) -> None:
        rows, (bands, bins) = rows_of(layer.features), layer.matrix.shape
        alike, at = layer.alike, self.at(layer.result)
        measure, merge, row = MERGING[self.signal.features]
        if rows != FEATURE_ROWS[self.signal.features]:
            raise ValueError(f"it hears {rows} rows of features")
        self.scratch["bins"] = ("float", row * (bins - alike))
        tables = self._merge_spans(layer, [weight for _, weight in merge_bands(layer)])
        self.source.call(measure, str(alike), "gain", "k.spectrum", at)
        self.source.call(measure, str(bins - alike), "gain", f"k.spectrum + {2 * alike}", "k.bins")
        self.source.call(merge, str(bands - alike), *tables, "k.bins", moved(at, row * alike))

    def _split(self, layer: Split) -> None:
        alike = layer.alike
        first, weight = split_bins(layer)
        bands = self.at(layer.x)
        tables = [
            self.weights.table("split_first", first, 0, layer.matrix.shape[1] - 2),
            self._numbers("split_weight", weight),
        ]
        past = f" + {2 * alike}"
        spectra = [f"k.spectrum{past}", f"k.masked{past}"]
        of_bands, of_bins = SPLITTING[self.signal.mask]
        self.source.call(of_bands, str(alike), bands, "k.spectrum", "k.masked")
        self.source.call(of_bins, str(len(first)), *tables, bands, *spectra)

    # Convolutions --------------------------------------------------------------------------

    def _convolution(self, layer: Convolution) -> None:
        function = self.source.function(
            "convolution",
            "const float *x, const float *weight, const float *bias, float slope, float *y",
            f"const struct convolution shape = {self.convolution_shape(layer)};\n"
            "convolve(shape, x, weight, bias, 0, 0, slope, y);",
        )
        row = self.shape_of(layer.x.value).channels
        self.source.call(
            function,
            moved(self.at(layer.x.value), layer.x.first - layer.before * row),
            # group, tap, input, phase, output
            self._table(layer, "weight", layer.weight.transpose(1, 3, 4, 0, 2)),
            self._table(layer, "bias", layer.bias.transpose(1, 0, 2)),
            self._slope(layer),
            self.at(layer.result),
        )

    def _band_convolution(self, layer: BandConvolution) -> None:
        function = self.source.function(
            "band_convolution",
            "const float *x, const float *weight, const float *bias, const float *edges,\n"
            "const float *ends, float slope, float *y",
            f"const struct convolution shape = {self.convolution_shape(layer)};\n"
            "convolve(shape, x, weight, bias, edges, ends, slope, y);",
        )
        ends, x = self.clear_ends(layer)
        self.source.call(
            function,
            x,
            self._table(layer, "weight", layer.weight.transpose(1, 2, 0)),
            self._table(layer, "bias", layer.bias),
            self._table(layer, "edges", -layer.edge.transpose(0, 2, 1)),
            ends,
            self._slope(layer),
            self.at(layer.result),
        )

    def _temporal(self, layer: Temporal) -> None:
        shape = self.shape_of(layer.x)
        channels, rows = shape.channels, shape.rows
        # Frames share the row of padding between them.
        frame = (rows + 1) * channels
        name = identifier(layer.state)
        self.state[name] = ("float", layer.frames * frame + channels)
        self.state[f"{name}_oldest"] = ("int32_t", 1)
        function = self.source.function(
            "temporal",
            "float *history, int32_t *oldest, int frames, const float *newest,\n"
            "const float *weight, const float *bias, float slope, float *y",
            f"float *first = history + *oldest * {frame};\n"
            f"const float *middle = history + (*oldest + frames / 2) % frames * {frame};\n"
            f"convolve_frames({rows}, {channels}, {ROWS_AT_ONCE}, first, middle, "
            f"newest - {channels}, weight, bias, slope, y);\n"
            f"memcpy(first + {channels}, newest, sizeof(float) * {rows * channels});\n"
            "*oldest = *oldest + 1 == frames ? 0 : *oldest + 1;",
        )
        self.source.call(
            function,
            f"s->{name}",
            f"&s->{name}_oldest",
            str(layer.frames),
            self.at(layer.x),
            self._table(layer, "weight", layer.weight),
            self._table(layer, "bias", layer.bias),
            self._slope(layer),
            self.at(layer.result),
        )

    # Recurrent layers ----------------------------------------------------------------------

    def _cell(self, layer: Scan | Recurrence | Attention, weight: Floats, bias: Floats) -> str:
        """The cell's tables, gates halved."""
        cell = layer.cell
        name = layer.values.state.name
        tables = [
            self._numbers(f"{name}_input", weight),
            self._numbers(f"{name}_input_bias", bias),
            self._numbers(f"{name}_hidden", cell.hidden_weight.transpose(0, 3, 1, 2) / 2),
            self._numbers(f"{name}_hidden_bias", cell.candidate_bias / 2),
        ]
        variable = f"{identifier(name)}_cell"
        self.source.say(f"const struct cell {variable} = {{{', '.join(tables)}}};")
        return f"&{variable}"

    def _scan(self, layer: Scan) -> None:
        cell, order = layer.cell, scan_order(layer)
        groups, _, units, inputs = cell.input_weight.shape
        reading = len(set(cell.firsts))
        gates = 3 * units
        weight = halved(cell.input_weight.transpose(0, 3, 1, 2))[order]
        weight = weight.reshape(reading, groups // reading, inputs, gates).swapaxes(1, 2)
        rows = rows_of(layer.result)
        shape = self.linear_shape(rows, reading, inputs, groups // reading * gates)
        place = initializer(**{f"g{g}": order.index(g) for g in range(groups)})
        backward = initializer(**{f"g{g}": int(b) for g, b in enumerate(cell.backward)})
        self.scratch["projected"] = ("float", rows * groups * gates)
        function = self.source.function(
            "scan_rows",
            "const float *x, const struct cell *cell, float *projected, float *states",
            f"const struct convolution shape = {shape};\n"
            f"const int place[{groups}] = {place}, backward[{groups}] = {backward};\n"
            "convolve(shape, x, cell->input, cell->input_bias, 0, 0, 1, projected);\n"
            f"scan({rows}, {groups}, cell, place, backward, projected, states);",
        )
        pointer = self._cell(layer, weight, halved(cell.input_bias)[order])
        self.source.call(function, self.at(layer.x), pointer, "k.projected", self.at(layer.result))

    def _recurrence(self, layer: Recurrence) -> None:
        check_recurrence(layer)
        cell, rows = layer.cell, rows_of(layer.result)
        groups, _, units, inputs = cell.input_weight.shape
        self.state[identifier(layer.state)] = ("float", rows * groups * units)
        shape = initializer(
            rows=rows, block="ROWS_AT_ONCE", groups=groups, inputs=inputs, units=units
        )
        function = self.source.function(
            "recurrence",
            "const struct cell *cell, const float *x, float *state",
            f"const struct recurrence shape = {shape};\nrecur(shape, cell, x, state);",
        )
        pointer = self._cell(
            layer, halved(cell.input_weight.transpose(0, 3, 1, 2)), halved(cell.input_bias)
        )
        self.source.call(function, pointer, self.at(layer.x), self.at(layer.result))

    def _normalization(self, layer: Normalization) -> None:
        outputs, inputs = layer.weight.shape
        rows = rows_of(layer.result)
        count = rows * outputs
        self.scratch["projected"] = max(
            self.scratch.get("projected", ("float", 0)), ("float", count)
        )
        function = self.source.function(
            "normalized_linear",
            "const float *x, const float *residual, const float *weight, const float *bias,\n"
            "const float *scale, const float *shift, float *projected, float *y",
            f"const struct convolution shape = {self.linear_shape(rows, 1, inputs, outputs)};\n"
            "convolve(shape, x, weight, bias, 0, 0, 1, projected);\n"
            f"normalize({count}, projected, residual, scale, shift, {number(layer.epsilon)}, y);",
        )
        self.source.call(
            function,
            self.at(layer.x),
            self.at(layer.residual),
            self._table(layer, "weight", layer.weight.T),
            self._table(layer, "bias", layer.bias),
            self._table(layer, "scale", layer.scale),
            self._table(layer, "shift", layer.shift),
            "k.projected",
            self.at(layer.result),
        )

    def _attention(self, layer: Attention) -> None:
        cell = layer.cell
        _, _, units, inputs = cell.input_weight.shape
        row = self.shape_of(layer.passed.value).channels
        self.state[identifier(layer.state)] = ("float", units)
        shape = initializer(rows=rows_of(layer.x), channels=inputs, units=units, row=row)
        function = self.source.function(
            "attention",
            "const struct cell *cell, const float *gate_weight, const float *gate_bias,\n"
            "const float *x, const float *passed, float *state, float *y",
            f"const struct attention shape = {shape};\n"
            "attend(shape, cell, gate_weight, gate_bias, x, passed, state, y);",
        )
        self.source.call(
            function,
            self._cell(
                layer, halved(cell.input_weight.transpose(0, 3, 1, 2)), halved(cell.input_bias)
            ),
            self._table(layer, "gate_weight", layer.gate_weight.T / 2),
            self._table(layer, "gate_bias", layer.gate_bias / 2),
            self.at(layer.x),
            moved(self.at(layer.passed.value), layer.passed.first),
            f"s->{identifier(layer.state)}",
            self.at(layer.result),
        )

    def _sum(self, layer: Sum) -> None:
        count = elements(layer.result, self.shape_of(layer.result))
        function = self.source.function(
            "sum", "const float *a, const float *b, float *y", f"add({count}, a, b, y);"
        )
        self.source.call(function, *map(self.at, (layer.a, layer.b, layer.result)))

    # Tables --------------------------------------------------------------------------------

    def _table(self, layer: Layer, part: str, content: NDArray[Any]) -> str:
        return self._numbers(f"{layer.result.name}_{part}", content)

    def _numbers(self, name: str, content: NDArray[Any]) -> str:
        return self.weights.table(name, content.astype(np.float32))

    def _slope(self, layer: Convolution | BandConvolution | Temporal) -> str:
        return "1" if layer.slope is None else self.weights.number(SLOPE, layer.slope)
