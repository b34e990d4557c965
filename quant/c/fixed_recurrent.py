"""What the fixed engine writes for recurrent layers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from quant.c.engine import ROWS_AT_ONCE, check_recurrence, check_served, moved, scan_order
from quant.c.fixed_layers import FixedAttention, FixedNormalizedLinear
from quant.c.fixed_numbers import (
    BITS,
    ENERGY,
    ENERGY_SHIFT,
    EPSILON,
    EPSILON_HIGH,
    GAIN,
    SHIFT,
)
from quant.c.fixed_point import FixedCell
from quant.c.layers import Attention, Cell, Normalization, Recurrence, Scan, rows_of
from quant.c.source import identifier, initializer

if TYPE_CHECKING:
    from quant.c.fixed_engine import FixedEngine

EIGHT = 8  # values of 16 bits in a vector


def _cell(
    engine: "FixedEngine",
    name: str,
    cell: Cell,
    fixed: FixedCell,
    order: Sequence[int],
    scanned: bool = False,
) -> tuple[str, str]:
    """The cell's tables; groups that share an input are projected together, in `order`."""
    tables = engine.depthwise if scanned else engine.affine
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
        engine.affine(f"{name}_input", given, reordered),
        tables(f"{name}_hidden", hidden, fixed.hidden),
    )


def write_scan(engine: "FixedEngine", layer: Scan, fixed: FixedCell) -> None:
    """A recurrence over bands, both ways.

    Raises:
        ValueError: The kernels don't serve it.
    """
    cell, order = layer.cell, scan_order(layer)
    pairs = cell.backward[::2] == cell.backward[1::2]
    check_served(pairs, layer.result, "groups that do not run in pairs")
    groups, _, units, inputs = cell.input_weight.shape
    reading, gates = len(set(cell.firsts)), 3 * units
    rows = rows_of(layer.result)
    shape = engine.linear_shape(
        rows,
        reading,
        inputs,
        groups // reading * gates,
        "WIDE",
        of_four=4,
    )
    place = initializer(**{f"g{g}": order.index(g) for g in range(groups)})
    backward = initializer(**{f"g{g}": int(b) for g, b in enumerate(cell.backward)})
    engine.scratch["projected"] = ("int32_t", rows * groups * gates)
    project = engine.source.function(
        "projection",
        "const int16_t *x, const struct affine a, int shift, int32_t *projected, int group",
        f"const struct convolution shape = {shape};\n"
        "convolve(shape, x, a, shift, 0, 0, projected, group);",
    )
    function = engine.source.function(
        "scan_rows",
        "const struct affine hidden, int shift, const int32_t *projected, int16_t *states",
        f"const int place[{groups}] = {place}, backward[{groups}] = {backward};\n"
        f"scan({rows}, {groups}, shift, hidden, place, backward, projected,\n"
        "     tanh_table, states);",
    )
    given, hidden = _cell(engine, layer.values.state.name, cell, fixed, order, scanned=True)
    of_input, of_hidden = engine.shifts(fixed)
    for group in range(reading):
        engine.source.call(project, engine.at(layer.x), given, of_input, "k.projected", str(group))
    engine.source.call(function, hidden, of_hidden, "k.projected", engine.at(layer.result))


def write_recurrence(engine: "FixedEngine", layer: Recurrence, fixed: FixedCell) -> None:
    """A recurrence over time of every band.

    Raises:
        ValueError: The kernels don't serve it.
    """
    check_recurrence(layer)
    cell, rows = layer.cell, rows_of(layer.result)
    groups, _, units, inputs = cell.input_weight.shape
    whole = rows % ROWS_AT_ONCE == 0 and units % EIGHT == 0
    check_served(whole, layer.result, f"{rows} rows of {units} units")
    engine.state[identifier(layer.state)] = ("int16_t", rows * groups * units)
    shape = initializer(
        rows=rows,
        block=ROWS_AT_ONCE,
        groups=groups,
        inputs=inputs,
        units=units,
    )
    function = engine.source.function(
        "recurrence",
        "const struct affine input, int input_shift, const struct affine hidden,\n"
        "int hidden_shift, const int16_t *x, int32_t *projected, int16_t *state, int group",
        f"const struct recurrence shape = {shape};\n"
        "recur(shape, input, input_shift, hidden, hidden_shift, x, projected, state,\n"
        "      tanh_table, group);",
    )
    tables = _cell(engine, layer.values.state.name, cell, fixed, range(groups))
    maps = [part for both in zip(tables, engine.shifts(fixed), strict=True) for part in both]
    memory = engine.at(layer.x), "k.projected", engine.at(layer.result)
    for group in range(groups):
        engine.source.call(function, *maps, *memory, str(group))


def write_normalization(
    engine: "FixedEngine", layer: Normalization, fixed: FixedNormalizedLinear
) -> None:
    """A linear layer, its normalization, and what it is added to."""
    outputs, inputs = layer.weight.shape
    rows, count = rows_of(layer.result), layer.scale.size
    linear = engine.linear_shape(rows, 1, inputs, outputs, of_four=4)
    norm = fixed.normalization
    function = engine.source.function(
        "normalized_linear",
        "const int16_t *x, const int16_t *residual, const struct affine a, int a_shift,\n"
        "const struct normalization *n, const int16_t *scale, const int16_t *shift,\n"
        "int16_t *linear, int16_t *y",
        f"const struct convolution shape = {linear};\n"
        "convolve(shape, x, a, a_shift, 0, 0, linear, 0);\n"
        f"normalize({count}, n, linear, residual, scale, shift, y);",
    )
    name = layer.result.name
    number = engine.weights.number
    high, low = (
        number(k, part)
        for k, part in zip((EPSILON_HIGH, EPSILON), divmod(norm.epsilon, 2**31), strict=True)
    )
    epsilon = f"(int64_t){high} << 31 | {low}"
    numbers = [number(GAIN, norm.residual), number(GAIN, norm.step), number(BITS, norm.bits)]
    engine.source.call(
        function,
        engine.at(layer.x),
        engine.at(layer.residual),
        engine.affine(name, fixed.affine.weight.T, fixed.affine),
        number(SHIFT, fixed.affine.shift),
        engine.struct("normalization", name, [epsilon, *numbers]),
        engine.weights.table(f"{name}_scale", norm.scale.astype(np.int16)),
        engine.weights.table(f"{name}_shift", norm.shift.astype(np.int16)),
        engine.linear(count),
        engine.at(layer.result),
    )


def write_attention(engine: "FixedEngine", layer: Attention, fixed: FixedAttention) -> None:
    """Attention over time, and the channels that it multiplies.

    Raises:
        ValueError: The kernels don't serve it.
    """
    _, _, units, inputs = layer.cell.input_weight.shape
    row, rows = engine.shape_of(layer.passed.value).channels, rows_of(layer.x)
    whole = rows % ROWS_AT_ONCE == 0 and inputs % EIGHT == 0 and units % EIGHT == 0
    check_served(whole, layer.result, f"{rows} rows of {inputs} channels")
    engine.state[identifier(layer.state)] = ("int16_t", units)
    shape = initializer(
        rows=rows,
        channels=inputs,
        units=units,
        row=row,
    )
    function = engine.source.function(
        "attention",
        "const struct affine input, const struct affine hidden, const struct affine gate,\n"
        "const struct levels *levels, const int16_t *x, const int16_t *passed,\n"
        "int16_t *state, int16_t *y",
        f"const struct attention shape = {shape};\n"
        "attend(shape, levels, input, hidden, gate, x, passed, state, tanh_table, y);",
    )
    name = layer.result.name
    number = engine.weights.number
    levels = [
        *engine.shifts(fixed.cell),
        number(SHIFT, fixed.gate.shift),
        number(ENERGY, fixed.energy),
        number(ENERGY_SHIFT, fixed.energy_shift),
        number(GAIN, fixed.gain),
        number(GAIN, fixed.passed),
        number(BITS, fixed.bits),
    ]
    engine.source.call(
        function,
        *_cell(engine, layer.values.state.name, layer.cell, fixed.cell, [0]),
        engine.affine(f"{name}_gate", fixed.gate.weight.T, fixed.gate),
        engine.struct("levels", name, levels),
        engine.at(layer.x),
        moved(engine.at(layer.passed.value), layer.passed.first),
        f"s->{identifier(layer.state)}",
        engine.at(layer.result),
    )
