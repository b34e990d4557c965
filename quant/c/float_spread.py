"""What the float engine writes for the layers that UL-UNAS has and GTCRN has not."""

import numpy as np

from quant.c.cells import halved
from quant.c.engine import LayerEngine, Tables, elements, moved
from quant.c.layers import (
    AffineRectifier,
    AttentionBothWays,
    Cell,
    Floats,
    Sigmoid,
    Spread,
    rows_of,
)
from quant.c.source import identifier, initializer

QUAD = 4
ROWS = "ROWS_AT_ONCE"


def write_spread(engine: LayerEngine, tables: Tables, layer: Spread) -> None:
    """A convolution over frames and bands.

    Raises:
        ValueError: The kernels don't serve it.
    """
    phases, frames, taps, inputs, outputs = layer.weight.shape
    if layer.depthwise:
        kernel, channels = "spread_channels", outputs
    elif outputs == 1:
        kernel, channels = "spread_to_one", inputs
    elif (inputs, frames, phases) == (1, 3, 1):
        _write_stacked(engine, tables, layer)
        return
    else:
        raise ValueError(f"{layer.result.name} is a convolution of all channels over frames")
    if channels % QUAD:
        raise ValueError(f"{layer.result.name} is of {channels} channels")
    shape = initializer(
        positions=layer.positions,
        block=ROWS,
        stride=layer.stride,
        frames=frames,
        taps=taps,
        channels=channels,
        phases=phases,
    )
    rows, (before, after) = rows_of(layer.x), layer.margins
    x = engine.at(layer.x)
    weight = [
        # phase, frame, tap, channel
        tables(f"{layer.result.name}_weight", layer.weight.reshape(phases, frames, taps, channels)),
        tables(f"{layer.result.name}_bias", layer.bias),
    ]
    given = "const float *weight, const float *bias"
    calling = f"const struct spread shape = {shape};\n{kernel}(shape, frames, weight, bias, y);"
    if layer.state is None:
        function = engine.source.function(
            "spread",
            f"const float *x, {given}, float *y",
            f"const float *frames[] = {{x}};\n{calling}",
        )
        first = moved(x, -before * channels)
        engine.source.call(function, first, *weight, engine.at(layer.result))
        return
    frame, name = (before + rows + after) * channels, identifier(layer.state)
    engine.state[name] = ("float", frames * frame)
    engine.state[f"{name}_oldest"] = ("int32_t", 1)
    function = engine.source.function(
        "spread_over_frames",
        f"float *history, int32_t *oldest, const float *x, {given}, float *y",
        f"const float *frames[{frames}];\n"
        f"keep_frame({frames}, {frame}, {before * channels}, {rows * channels}, "
        f"history, oldest, x, frames);\n{calling}",
    )
    state = [f"s->{name}", f"&s->{name}_oldest"]
    engine.source.call(function, *state, x, *weight, engine.at(layer.result))


def _write_stacked(engine: LayerEngine, tables: Tables, layer: Spread) -> None:
    """The first convolution: three frames of one channel are three channels of one frame."""
    assert layer.state is not None, "it is one over frames"
    _, frames, taps, _, outputs = layer.weight.shape
    rows, (before, after) = rows_of(layer.x), layer.margins
    name = identifier(layer.state)
    engine.state[name] = ("float", (before + rows + after) * QUAD)
    sizes = (layer.positions, outputs, layer.stride * QUAD, taps, frames, QUAD)
    shape = engine.shape(*sizes)
    function = engine.source.function(
        "spread_stacked",
        "float *stacked, const float *x, const float *weight, const float *bias, float *y",
        f"const struct convolution shape = {shape};\n"
        f"stack_frames({rows}, x, stacked + {before * QUAD});\n"
        "convolve(shape, stacked, weight, bias, 0, 0, 1, y);",
    )
    # tap, frame, output
    weight = layer.weight[0, :, :, 0].swapaxes(0, 1)
    engine.source.call(
        function,
        f"s->{name}",
        engine.at(layer.x),
        tables(f"{layer.result.name}_weight", weight),
        tables(f"{layer.result.name}_bias", layer.bias),
        engine.at(layer.result),
    )


def write_rectifier(engine: LayerEngine, tables: Tables, layer: AffineRectifier) -> None:
    """An affine PReLU."""
    count = elements(layer.result, engine.shape_of(layer.result))
    function = engine.source.function(
        "rectifier",
        "const float *x, const float *above, const float *below, const float *shift, float *y",
        f"rectify({count}, x, above, below, shift, y);",
    )
    names = ("above", "below", "shift")
    parts = [tables(f"{layer.result.name}_{name}", getattr(layer, name)) for name in names]
    engine.source.call(function, engine.at(layer.x), *parts, engine.at(layer.result))


def write_sigmoid(engine: LayerEngine, _: Tables, layer: Sigmoid) -> None:
    """A sigmoid of each value."""
    count = elements(layer.result, engine.shape_of(layer.result))
    engine.source.call("sigmoid", str(count), engine.at(layer.x), engine.at(layer.result))


def write_attention(engine: LayerEngine, tables: Tables, layer: AttentionBothWays) -> None:
    """Gates of channels over time and of bands over each other."""
    name, rows, channels = layer.result.name, rows_of(layer.x), layer.x.shape[-1]
    groups, _, units, inputs = layer.cell.input_weight.shape
    if groups != 1 or layer.band_cell.backward != (False, True) or channels % QUAD not in (0, 1):
        raise ValueError(f"{name} has recurrent units of another kind")
    full_units, full_inputs = (-(-size // QUAD) * QUAD for size in (units, inputs))
    engine.state[identifier(layer.state)] = ("float", full_units)
    shape = initializer(
        rows=rows,
        channels=channels,
        inputs=full_inputs,
        units=full_units,
        groups=-(-rows // QUAD),
    )
    function = engine.source.function(
        "attention_both_ways",
        "const struct cell *cell, const struct cell *bands, const struct gates *gates,\n"
        "const float *x, float *state, float *y",
        f"const struct both_ways shape = {shape};\n"
        "attend_both_ways(shape, cell, bands, gates, x, state, y);",
    )
    gate_weight = np.zeros((full_units, full_inputs), np.float32)
    gate_weight[:units, :inputs] = layer.gate_weight.T
    gates = [
        tables(f"{name}_gate_weight", gate_weight / 2),
        tables(f"{name}_gate_bias", np.pad(layer.gate_bias, (0, full_inputs - inputs)) / 2),
        tables(f"{name}_band_weight", layer.band_weight.T / 2),
        tables(f"{name}_band_bias", layer.band_bias / 2),
    ]
    cells = {
        "cell": [tables(f"{name}_{part}", content) for part, content in _by_quads(layer.cell)],
        "bands": [
            tables(f"{name}_bands_{p}", content) for p, content in _of_bands(layer.band_cell)
        ],
        "gates": gates,
    }
    variables = []
    for kind, content in cells.items():
        variable = identifier(f"{name}_{kind}")
        struct = "gates" if kind == "gates" else "cell"
        engine.source.say(f"const struct {struct} {variable} = {{{', '.join(content)}}};")
        variables.append(f"&{variable}")
    state = f"s->{identifier(layer.state)}"
    engine.source.call(function, *variables, engine.at(layer.x), state, engine.at(layer.result))


def _by_quads(cell: Cell) -> list[tuple[str, Floats]]:
    """The unit over frames, filled up to multiples of four, for `recur_once`."""
    _, _, units, inputs = cell.input_weight.shape
    more_units, more_inputs = (0, -units % QUAD), (0, -inputs % QUAD)

    def quads(gates: Floats) -> Floats:
        """[n, 3, units] as [quad, n, 3, 4]."""
        padded = np.pad(gates, ((0, 0), (0, 0), more_units))
        return padded.reshape(len(gates), 3, -1, QUAD).transpose(2, 0, 1, 3)

    weight = halved(cell.input_weight[0].transpose(2, 0, 1))
    hidden = cell.hidden_weight[0].transpose(2, 0, 1) / 2
    return [
        ("input", quads(np.pad(weight, (more_inputs, (0, 0), (0, 0))))),
        ("input_bias", quads(halved(cell.input_bias))),
        ("hidden", quads(np.pad(hidden, (more_units, (0, 0), (0, 0))))),
        ("hidden_bias", np.pad(cell.candidate_bias[0] / 2, more_units)),
    ]


def _of_bands(cell: Cell) -> list[tuple[str, Floats]]:
    """Both ways over groups of bands, for `scan`: inputs are projected for both at once."""
    return [
        # input, group, gate, unit
        ("input", halved(cell.input_weight.transpose(3, 0, 1, 2))),
        ("input_bias", halved(cell.input_bias)),
        ("hidden", cell.hidden_weight.transpose(0, 3, 1, 2) / 2),
        ("hidden_bias", cell.candidate_bias / 2),
    ]
