"""The float engine: tables in the order in which the kernels read them, a call for each layer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.compiled_stft import twiddles
from edge_se.stft import square_root_hann
from targets.c.layers import (
    Attention,
    BandConvolution,
    Convolution,
    Floats,
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
from targets.c.memory import Plan, Shape, plan_memory
from targets.c.source import Source, identifier, initializer, number

BINS, WINDOW, HOP = 257, 512, 256
QUAD = 4
# Positions whose sums are kept in registers at once, by channels.
BLOCKS = {4: 13, 8: 3, 16: 3, 24: 3, 32: 3}
ROWS_AT_ONCE = 3


class FloatEngine:
    """Writes the frame of some layers; `source`, `state` and `scratch` hold the result.

    Attributes:
        source: tables, functions and statements.
        state: fields of the state, by name: C type and count.
        scratch: fields of the frame's memory on the stack.
        kernels: header with the layers.
        samples: C type of samples.
    """

    kernels = "float_kernels.h"
    runtime = ("lanes.h", "float_kernels.h")
    core = ("fft.h", "stft.h")
    samples = "float"

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.source = Source()
        self._plan: Plan = plan_memory(layers)
        self.state = {"samples": ("float", WINDOW), "tail": ("float", HOP)}
        self.scratch = {
            "spectrum": ("float", 2 * BINS),
            "masked": ("float", 2 * BINS),
            **{name: ("float", shape.size) for name, shape in self._plan.buffers.items()},
        }
        self._open()
        writers: dict[type, Callable[[Any], None]] = {
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
        }
        for layer in layers:
            writers[type(layer)](layer)
        self.source.say("stft_synthesise(&stft);")

    def _at(self, value: object) -> str:
        return self._plan.places[value].base  # type: ignore[index]

    def _shape_of(self, value: object) -> Shape:
        return self._plan.places[value].shape  # type: ignore[index]

    def _open(self) -> None:
        source = self.source
        angles = 2 * np.pi * np.arange(BINS) / WINDOW
        tables = {
            "window": square_root_hann(WINDOW),
            "cosines": np.cos(angles),
            "sines": np.sin(angles),
            "twiddles": twiddles(),
        }
        names = [source.table(n, content.astype(np.float32)) for n, content in tables.items()]
        own = ["s->samples", "k.spectrum", "k.masked", "s->tail", "out"]
        source.say(f"struct stft stft = {{{', '.join(names + own)}}};")
        source.call("accept", str(HOP), "in", f"s->samples + {HOP}")
        source.say("stft_analyse(&stft);")
        for name, shape in self._plan.buffers.items():
            if shape.before:
                size = f"sizeof(float) * {shape.before * shape.channels}"
                source.call("memset", f"k.{name}", "0", size)
            if shape.after:
                start = (shape.before + shape.rows) * shape.channels
                size = f"sizeof(float) * {shape.after * shape.channels}"
                source.call("memset", f"k.{name} + {start}", "0", size)

    # Bands ---------------------------------------------------------------------------------

    def _merge(self, layer: Merge) -> None:
        bands, bins = layer.matrix.shape
        alike = _identity_rows(layer.matrix)
        rest = layer.matrix[alike:, alike:]
        if layer.matrix[:alike, alike:].any() or layer.matrix[alike:, :alike].any():
            raise ValueError("low bins are spread over several bands")
        spans = [np.flatnonzero(row) for row in rest]
        first = np.array([span[0] for span in spans], np.uint8)
        sizes = [span[-1] - span[0] + 1 for span in spans]
        until = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint16)
        weight = np.concatenate(
            [row[f : f + n] for row, f, n in zip(rest, first, sizes, strict=True)]
        )
        self.scratch["bins"] = ("float", 4 * (bins - alike))
        source, at = self.source, self._at(layer.result)
        tables = [
            source.table("merge_first", first),
            source.table("merge_until", until),
            source.table("merge_weight", weight),
        ]
        source.call("measure", str(alike), "k.spectrum", at)
        source.call("measure", str(bins - alike), f"k.spectrum + {2 * alike}", "k.bins")
        source.call("merge", str(bands - alike), *tables, "k.bins", f"{at} + {4 * alike}")

    def _split(self, layer: Split) -> None:
        alike = _identity_rows(layer.matrix)
        rest = layer.matrix[alike:]
        spans = [np.flatnonzero(row) for row in rest]
        first = np.array([min(s[0], rest.shape[1] - 2) for s in spans])
        if any(s[-1] - f > 1 for s, f in zip(spans, first, strict=True)):
            raise ValueError("a bin of the mask depends on more than two bands")
        weight = np.stack([row[f : f + 2] for row, f in zip(rest, first, strict=True)])
        source, bands = self.source, self._at(layer.x)
        tables = [
            source.table("split_first", first.astype(np.uint8)),
            source.table("split_weight", weight),
        ]
        source.call("mask_bands", str(alike), bands, "k.spectrum", "k.masked")
        past = f" + {2 * alike}"
        source.call(
            "mask_bins", str(len(rest)), *tables, bands, f"k.spectrum{past}", f"k.masked{past}"
        )

    # Convolutions --------------------------------------------------------------------------

    def _convolution(self, layer: Convolution) -> None:
        phases, groups, outputs, taps, inputs = layer.weight.shape
        weight = layer.weight.transpose(1, 3, 4, 0, 2)  # group, tap, input, phase, output
        bias = layer.bias.transpose(1, 0, 2)
        row = self._shape_of(layer.x.value).channels
        shape = initializer(
            positions=layer.positions,
            block=BLOCKS[phases * outputs],
            step=layer.stride * row,
            taps=taps,
            inputs=inputs,
            row=row,
            groups=groups,
            outputs=phases * outputs,
            phases=phases,
            channels=groups * outputs,
            activation="BOUNDED" if layer.bounded else _leaky(layer.slope),
        )
        function = self.source.function(
            "convolution",
            "const float *x, const float *weight, const float *bias, float slope, float *y",
            f"const struct convolution shape = {shape};\n"
            "convolve(shape, x, weight, bias, slope, y);",
        )
        offset = layer.x.first - layer.before * row
        self.source.call(
            function,
            _moved(self._at(layer.x.value), offset),
            self._table(layer, "weight", weight),
            self._table(layer, "bias", bias),
            number(layer.slope),
            self._at(layer.result),
        )

    def _band_convolution(self, layer: BandConvolution) -> None:
        outputs, taps, inputs = layer.weight.shape
        shape_of_x = self._shape_of(layer.x)
        row = shape_of_x.channels
        shape = initializer(
            positions=layer.positions,
            block=BLOCKS[outputs],
            step=layer.stride * row,
            taps=taps,
            inputs=inputs,
            row=row,
            groups=1,
            outputs=outputs,
            phases=1,
            channels=outputs,
            activation=_leaky(layer.slope),
        )
        function = self.source.function(
            "band_convolution",
            "const float *x, const float *weight, const float *bias, const float *edges,\n"
            "const float *ends, float slope, float *y",
            f"const struct convolution shape = {shape};\n"
            "convolve_group(shape, x, weight, bias, edges, ends, slope, y, 0);",
        )
        x = self._at(layer.x)
        # The first and the last band, one after the other.
        last = (shape_of_x.rows - 1) * row
        self.source.say(f"float ends[{2 * row}];")
        self.source.call("memcpy", "ends", x, f"sizeof(float) * {row}")
        self.source.call("memcpy", f"ends + {row}", f"{x} + {last}", f"sizeof(float) * {row}")
        self.source.call(
            function,
            _moved(x, -layer.before * row),
            self._table(layer, "weight", layer.weight.transpose(1, 2, 0)),
            self._table(layer, "bias", layer.bias),
            self._table(layer, "edges", -layer.edge.transpose(0, 2, 1)),
            "ends",
            number(layer.slope),
            self._at(layer.result),
        )

    def _temporal(self, layer: Temporal) -> None:
        shape = self._shape_of(layer.x)
        channels, rows, frames = shape.channels, shape.rows, layer.frames
        # Frames share the row of padding between them.
        frame = (rows + 1) * channels
        name = identifier(layer.state)
        self.state[name] = ("float", frames * frame + channels)
        self.state[f"{name}_oldest"] = ("int32_t", 1)
        function = self.source.function(
            "temporal",
            "float *history, int32_t *oldest, int frames, const float *newest,\n"
            "const float *weight, const float *bias, float slope, float *y",
            f"float *first = history + *oldest * {frame};\n"
            f"const float *middle = history + (*oldest + frames / 2) % frames * {frame};\n"
            f"convolve_frames({rows}, {channels}, {ROWS_AT_ONCE}, first, middle, "
            f"newest - {channels}, weight, bias, {_leaky(layer.slope)}, slope, y);\n"
            f"memcpy(first + {channels}, newest, sizeof(float) * {rows * channels});\n"
            "*oldest = *oldest + 1 == frames ? 0 : *oldest + 1;",
        )
        self.source.call(
            function,
            f"s->{name}",
            f"&s->{name}_oldest",
            str(frames),
            self._at(layer.x),
            self._table(layer, "weight", layer.weight),
            self._table(layer, "bias", layer.bias),
            number(layer.slope),
            self._at(layer.result),
        )

    # Recurrent layers ----------------------------------------------------------------------

    def _cell(self, layer: Scan | Recurrence | Attention, input_weight: Floats) -> str:
        """The cell's tables, gates halved: sigmoid(2 x) = (1 + tanh(x)) / 2."""
        cell = layer.cell
        name = identifier(layer.values.state.name)
        hidden = cell.hidden_weight.transpose(0, 3, 1, 2) / 2
        tables = [
            self.source.table(f"{name}_input", _halved(input_weight)),
            self.source.table(f"{name}_input_bias", _halved(cell.input_bias[:, None])),
            self.source.table(f"{name}_hidden", hidden),
            self.source.table(f"{name}_hidden_bias", cell.candidate_bias / 2),
        ]
        self.source.say(f"static const struct cell {name}_cell = {{{', '.join(tables)}}};")
        return f"&{name}_cell"

    def _scan(self, layer: Scan) -> None:
        cell = layer.cell
        groups, _, units, inputs = cell.input_weight.shape
        if units != QUAD:
            raise ValueError(f"{layer.result.name} has groups of {units} units, expected {QUAD}")
        rows = rows_of(layer.result)
        row = self._shape_of(layer.x).channels
        # Groups that read the same channels are projected together.
        firsts = sorted(set(cell.firsts))
        order = sorted(range(groups), key=lambda g: (cell.firsts[g], g))
        together = groups // len(firsts)
        outputs = together * 3 * units
        weight = _halved(cell.input_weight.transpose(0, 3, 1, 2))[order]
        bias = _halved(cell.input_bias[:, None])[order]
        weight = weight.reshape(len(firsts), together, inputs, 3 * units).swapaxes(1, 2)
        shape = initializer(
            positions=rows,
            block=BLOCKS[outputs],
            step=row,
            taps=1,
            inputs=inputs,
            row=row,
            groups=len(firsts),
            outputs=outputs,
            phases=1,
            channels=groups * 3 * units,
            activation="LINEAR",
        )
        place = initializer(**{f"g{g}": order.index(g) for g in range(groups)})
        backward = initializer(**{f"g{g}": int(b) for g, b in enumerate(cell.backward)})
        self.scratch["projected"] = ("float", rows * groups * 3 * units)
        function = self.source.function(
            "scan_rows",
            "const float *x, const struct cell *cell, float *projected, float *states",
            f"const struct convolution shape = {shape};\n"
            f"const int place[{groups}] = {place}, backward[{groups}] = {backward};\n"
            "convolve(shape, x, cell->input, cell->input_bias, 1, projected);\n"
            f"scan({rows}, {groups}, cell, place, backward, projected, states);",
        )
        name = identifier(layer.result.name)
        tables = [
            self.source.table(f"{name}_input", weight),
            self.source.table(f"{name}_input_bias", bias),
            self.source.table(f"{name}_hidden", cell.hidden_weight.transpose(0, 3, 1, 2) / 2),
            self.source.table(f"{name}_hidden_bias", cell.candidate_bias / 2),
        ]
        self.source.say(f"static const struct cell {name}_cell = {{{', '.join(tables)}}};")
        self.source.call(
            function,
            self._at(layer.x),
            f"&{name}_cell",
            "k.projected",
            self._at(layer.result),
        )

    def _recurrence(self, layer: Recurrence) -> None:
        cell = layer.cell
        groups, _, units, inputs = cell.input_weight.shape
        rows = rows_of(layer.result)
        if any(cell.backward) or cell.firsts != tuple(g * inputs for g in range(groups)):
            raise ValueError(f"{layer.result.name} reads its input in another order")
        self.state[identifier(layer.state)] = ("float", rows * groups * units)
        shape = initializer(
            rows=rows, block=ROWS_AT_ONCE, groups=groups, inputs=inputs, units=units
        )
        function = self.source.function(
            "recurrence",
            "const struct cell *cell, const float *x, float *state",
            f"const struct recurrence shape = {shape};\nrecur(shape, cell, x, state);",
        )
        pointer = self._cell(layer, cell.input_weight.transpose(0, 3, 1, 2))
        self.source.call(function, pointer, self._at(layer.x), self._at(layer.result))

    def _normalization(self, layer: Normalization) -> None:
        outputs, inputs = layer.weight.shape
        rows = rows_of(layer.result)
        shape = initializer(
            positions=rows,
            block=BLOCKS[outputs],
            step=inputs,
            taps=1,
            inputs=inputs,
            row=inputs,
            groups=1,
            outputs=outputs,
            phases=1,
            channels=outputs,
            activation="LINEAR",
        )
        count = rows * outputs
        self.scratch["projected"] = max(
            self.scratch.get("projected", ("float", 0)), ("float", count)
        )
        function = self.source.function(
            "normalized_linear",
            "const float *x, const float *residual, const float *weight, const float *bias,\n"
            "const float *scale, const float *shift, float *projected, float *y",
            f"const struct convolution shape = {shape};\n"
            "convolve(shape, x, weight, bias, 1, projected);\n"
            f"normalize({count}, projected, residual, scale, shift, {number(layer.epsilon)}, y);",
        )
        self.source.call(
            function,
            self._at(layer.x),
            self._at(layer.residual),
            self._table(layer, "weight", layer.weight.T),
            self._table(layer, "bias", layer.bias),
            self._table(layer, "scale", layer.scale),
            self._table(layer, "shift", layer.shift),
            "k.projected",
            self._at(layer.result),
        )

    def _attention(self, layer: Attention) -> None:
        groups, _, units, inputs = layer.cell.input_weight.shape
        if groups != 1:
            raise ValueError(f"{layer.result.name} has several groups")
        rows = rows_of(layer.x)
        passed = self._at(layer.passed.value)
        row = self._shape_of(layer.passed.value).channels
        self.state[identifier(layer.state)] = ("float", units)
        shape = initializer(rows=rows, channels=inputs, units=units, row=row)
        function = self.source.function(
            "attention",
            "const struct cell *cell, const float *gate_weight, const float *gate_bias,\n"
            "const float *x, const float *passed, float *state, float *y",
            f"const struct attention shape = {shape};\n"
            "attend(shape, cell, gate_weight, gate_bias, x, passed, state, y);",
        )
        self.source.call(
            function,
            self._cell(layer, layer.cell.input_weight.transpose(0, 3, 1, 2)),
            self._table(layer, "gate_weight", layer.gate_weight.T / 2),
            self._table(layer, "gate_bias", layer.gate_bias / 2),
            self._at(layer.x),
            _moved(passed, layer.passed.first),
            f"s->{identifier(layer.state)}",
            self._at(layer.result),
        )

    def _sum(self, layer: Sum) -> None:
        shape = self._shape_of(layer.result)
        count = rows_of(layer.result) * shape.channels
        function = self.source.function(
            "sum", "const float *a, const float *b, float *y", f"add({count}, a, b, y);"
        )
        self.source.call(function, *map(self._at, (layer.a, layer.b, layer.result)))

    def _table(self, layer: Layer, part: str, content: NDArray[Any]) -> str:
        return self.source.table(f"{layer.result.name}_{part}", content.astype(np.float32))


def _halved(weight: Floats) -> Floats:
    """Gates [..., 3, units] with reset and update halved."""
    return weight * np.array([0.5, 0.5, 1], np.float32)[:, None]


def _leaky(slope: float) -> str:
    if slope == 1:
        return "LINEAR"
    return "LEAKY" if slope < 1 else "STEEP"


def _moved(pointer: str, offset: int) -> str:
    """A pointer expression moved by some elements; constants are added up."""
    base, _, constant = pointer.partition(" + ")
    total = int(constant or 0) + offset
    return base if not total else f"{base} {'+' if total > 0 else '-'} {abs(total)}"


def _identity_rows(matrix: Floats) -> int:
    """How many of the first rows pass their column on and nothing else."""
    eye = np.eye(*matrix.shape, dtype=matrix.dtype)
    same = (matrix == eye).all(axis=1)
    return int(np.argmin(same)) if not same.all() else len(same)
