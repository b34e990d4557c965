"""What the fixed engine writes for the layers that UL-UNAS has and GTCRN has not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quant.c.engine import ROWS_AT_ONCE, elements, moved
from quant.c.fixed_layers import FixedBothWays, FixedSigmoid
from quant.c.fixed_numbers import BITS, ENERGY, ENERGY_SHIFT, GAIN, SHIFT
from quant.c.fixed_point import Affine, FixedCell, FixedRectifier
from quant.c.layers import AffineRectifier, AttentionBothWays, Cell, Sigmoid, Spread, rows_of
from quant.c.source import identifier, initializer

if TYPE_CHECKING:
    from quant.c.fixed_engine import FixedEngine

QUAD, EIGHT = 4, 8
GATES = 3


def write_spread(engine: "FixedEngine", layer: Spread, fixed: Affine) -> None:
    """A convolution over frames and bands.

    Raises:
        ValueError: The kernels don't serve it.
    """
    name = layer.result.name
    phases, frames, taps, inputs, outputs = layer.weight.shape
    # phase, output, frame, tap, input
    weight = fixed.weight.reshape(phases, outputs, frames, taps, inputs)
    if layer.depthwise and outputs % QUAD == 0:
        kernel, channels = "spread_channels", outputs
        # phase, frame, tap, channel
        tables = engine.depthwise(name, weight[..., 0].transpose(0, 2, 3, 1), fixed)
    elif outputs == 1 and taps * inputs % EIGHT == 0:
        kernel, channels = "spread_to_one", inputs
        # Rows of both phases come in turn, four in a vector.
        tiled = [np.tile(part, QUAD // phases) for part in (fixed.bias, fixed.multiplier)]
        by_turns = replace(fixed, bias=tiled[0], multiplier=tiled[1])
        tables = engine.depthwise(name, weight[:, 0], by_turns)
    elif (inputs, frames, phases) == (1, 3, 1):
        _write_stacked(engine, layer, fixed)
        return
    else:
        raise ValueError(f"{name} is a convolution of all channels over frames")
    shape = initializer(
        positions=layer.positions,
        block=ROWS_AT_ONCE,
        stride=layer.stride,
        frames=frames,
        taps=taps,
        channels=channels,
        phases=phases,
    )
    rows, (before, after) = rows_of(layer.x), layer.margins
    x, result = engine.at(layer.x), engine.at(layer.result)
    shift = engine.weights.number(SHIFT, fixed.shift)
    given = "const struct affine a, int shift, int16_t *y"
    calling = f"const struct spread shape = {shape};\n{kernel}(shape, frames, a, shift, y);"
    if layer.state is None:
        function = engine.source.function(
            "spread",
            f"const int16_t *x, {given}",
            f"const int16_t *frames[] = {{x}};\n{calling}",
        )
        first = moved(x, -before * channels)
        engine.source.call(function, first, tables, shift, result)
        return
    frame, field = (before + rows + after) * channels, identifier(layer.state)
    engine.state[field] = ("int16_t", frames * frame)
    engine.state[f"{field}_oldest"] = ("int32_t", 1)
    function = engine.source.function(
        "spread_over_frames",
        f"int16_t *history, int32_t *oldest, const int16_t *x, {given}",
        f"const int16_t *frames[{frames}];\n"
        f"keep_frame({frames}, {frame}, {before * channels}, {rows * channels}, "
        f"history, oldest, x, frames);\n{calling}",
    )
    state = [f"s->{field}", f"&s->{field}_oldest"]
    engine.source.call(function, *state, x, tables, shift, result)


def _write_stacked(engine: "FixedEngine", layer: Spread, fixed: Affine) -> None:
    """The first convolution: three frames of one channel are three channels of one frame."""
    assert layer.state is not None, "it is one over frames"
    _, frames, taps, _, outputs = layer.weight.shape
    rows, (before, after) = rows_of(layer.x), layer.margins
    field = identifier(layer.state)
    engine.state[field] = ("int16_t", (before + rows + after) * QUAD)
    sizes = (layer.positions, outputs, layer.stride * QUAD, taps, QUAD, QUAD)
    shape = engine.shape(*sizes, of_four=frames)
    function = engine.source.function(
        "spread_stacked",
        "int16_t *stacked, const int16_t *x, const struct affine a, int shift, int16_t *y",
        f"const struct convolution shape = {shape};\n"
        f"stack_frames({rows}, x, stacked + {before * QUAD});\n"
        "convolve(shape, stacked, a, shift, 0, 0, y, 0);",
    )
    # tap, frame, output
    weight = fixed.weight[..., 0].transpose(2, 1, 0)
    weight = np.pad(weight, ((0, 0), (0, QUAD - frames), (0, 0)))
    engine.source.call(
        function,
        f"s->{field}",
        engine.at(layer.x),
        engine.affine(layer.result.name, weight, fixed),
        engine.weights.number(SHIFT, fixed.shift),
        engine.at(layer.result),
    )


def write_rectifier(engine: "FixedEngine", layer: AffineRectifier, fixed: FixedRectifier) -> None:
    """An affine PReLU."""
    count = elements(layer.result, engine.shape_of(layer.result))
    function = engine.source.function(
        "rectifier",
        "int32_t step, int bits, const int16_t *x, const int16_t *above, const int16_t *below,\n"
        "const int16_t *shift, int16_t *y",
        f"rectify({count}, (int16_t)step, bits, x, above, below, shift, y);",
    )
    tables = [
        engine.weights.table(f"{layer.result.name}_{name}", content.astype(np.int16))
        for name, content in (
            ("above", fixed.above),
            ("below", fixed.below),
            ("shift", fixed.shift),
        )
    ]
    engine.source.call(
        function,
        engine.weights.number(GAIN, fixed.step),
        engine.weights.number(BITS, fixed.bits),
        engine.at(layer.x),
        *tables,
        engine.at(layer.result),
    )


def write_sigmoid(engine: "FixedEngine", layer: Sigmoid, _: FixedSigmoid) -> None:
    """A sigmoid of each value."""
    count = elements(layer.result, engine.shape_of(layer.result))
    x, result = engine.at(layer.x), engine.at(layer.result)
    engine.source.call("sigmoids", str(count), x, "tanh_table", result)


def write_attention(engine: "FixedEngine", layer: AttentionBothWays, fixed: FixedBothWays) -> None:
    """Gates of channels over time and of bands over each other."""
    name, rows, channels = layer.result.name, rows_of(layer.x), layer.x.shape[-1]
    groups, _, units, inputs = layer.cell.input_weight.shape
    if groups != 1 or layer.band_cell.backward != (False, True) or channels % QUAD not in (0, 1):
        raise ValueError(f"{name} has recurrent units of another kind")
    full_units, full_inputs = -(-units // EIGHT) * EIGHT, -(-inputs // QUAD) * QUAD
    field = identifier(layer.state)
    engine.state[field] = ("int16_t", full_units)
    shape = initializer(
        rows=rows,
        channels=channels,
        inputs=full_inputs,
        units=full_units,
        groups=-(-rows // QUAD),
    )
    function = engine.source.function(
        "attention_both_ways",
        "const struct both_maps *maps, const struct both_levels *levels, const int16_t *x,\n"
        "int16_t *state, int16_t *y",
        f"const struct both_ways shape = {shape};\n"
        "attend_both_ways(shape, maps, levels, x, state, tanh_table, y);",
    )
    more_units, more_inputs = (0, full_units - units), (0, full_inputs - inputs)
    gate = np.pad(fixed.gate.weight, (more_inputs, more_units)).T
    gate_rows = [np.pad(part, more_inputs) for part in (fixed.gate.bias, fixed.gate.multiplier)]
    maps = [
        *_by_eights(engine, name, units, fixed.cell, more_inputs, more_units),
        engine.affine(
            f"{name}_gate", gate, replace(fixed.gate, bias=gate_rows[0], multiplier=gate_rows[1])
        ),
        *_of_bands(engine, f"{name}_bands", layer.band_cell, fixed.band_cell),
        engine.affine(f"{name}_band_gate", fixed.band_gate.weight.T, fixed.band_gate),
    ]
    number = engine.weights.number
    levels = [
        *engine.shifts(fixed.cell),
        number(SHIFT, fixed.gate.shift),
        *engine.shifts(fixed.band_cell),
        number(SHIFT, fixed.band_gate.shift),
        number(ENERGY, fixed.energy),
        number(ENERGY_SHIFT, fixed.energy_shift),
        number(ENERGY, fixed.band_energy),
        number(ENERGY_SHIFT, fixed.band_energy_shift),
        number(GAIN, fixed.gain),
        number(BITS, fixed.bits),
    ]
    engine.source.call(
        function,
        engine.struct("both_maps", name, maps),
        engine.struct("both_levels", name, levels),
        engine.at(layer.x),
        f"s->{field}",
        engine.at(layer.result),
    )


def _by_eights(
    engine: "FixedEngine",
    name: str,
    units: int,
    cell: FixedCell,
    more_inputs: tuple[int, int],
    more_units: tuple[int, int],
) -> list[str]:
    """The unit over frames, filled up, its gates' outputs by eight units, for `recur_once`."""

    def by_eights(affine: Affine, more: tuple[int, int]) -> tuple[NDArray[Any], Affine]:
        weight = affine.weight.reshape(GATES, units, -1)
        weight = np.pad(weight, ((0, 0), more_units, more))
        weight = weight.reshape(GATES, -1, EIGHT, weight.shape[-1]).transpose(1, 3, 0, 2)
        eights = [
            np.pad(part.reshape(GATES, units), ((0, 0), more_units))
            .reshape(GATES, -1, EIGHT)
            .swapaxes(0, 1)
            for part in (affine.bias, affine.multiplier)
        ]
        # eight, input, gate and unit
        shaped = weight.reshape(*weight.shape[:2], GATES * EIGHT)
        return shaped, replace(affine, bias=eights[0], multiplier=eights[1])

    return [
        engine.affine(f"{name}_input", *by_eights(cell.input, more_inputs)),
        engine.affine(f"{name}_hidden", *by_eights(cell.hidden, more_units)),
    ]


def _of_bands(engine: "FixedEngine", name: str, cell: Cell, fixed: FixedCell) -> Sequence[str]:
    """Both ways over groups of bands, for `scan`: inputs are projected for both at once."""
    groups, gates, units, inputs = cell.input_weight.shape
    given = fixed.input.weight.reshape(-1, inputs).T
    hidden = fixed.hidden.weight.reshape(groups, gates * units, units).swapaxes(1, 2)
    return [
        engine.affine(f"{name}_input", given, fixed.input),
        engine.depthwise(f"{name}_hidden", hidden, fixed.hidden),
    ]
